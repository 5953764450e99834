"""One seed, one story, one host whose disk loses its power: once, or twice.

What a seed decides: link, story, host, before which step of that host the power goes, whether it goes again soon
after (often within the start), and how often other programs make the kernel write meanwhile.
"""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fakes import agents
from tests.fakes.scene import KINDS as IN_PEACE
from tests.fakes.scene import MANY_SCENES, PULL_SCENES, PUSH_SCENES, Scene
from tests.fakes.world import World
from tests.fault.cuts.disk import MEMORY, Disk
from tests.fault.cuts.world import KINDS, UNCERTAIN, Cuts, ground_with

SCENES = [*PUSH_SCENES, *MANY_SCENES, *PULL_SCENES]
SOON = 60
"""Steps within which the second cut falls: a start has about 40."""


@dataclass(frozen=True)
class Plan:
    """What happens in the run of one seed. `busy`: how likely, at each step, another program makes the kernel write."""

    seed: int
    scene: Scene
    before: tuple[int, ...]
    busy: float

    def __str__(self) -> str:
        steps = " and ".join(map(str, self.before))
        return f"seed {self.seed}: {self.scene}: cut before step {steps}"


@dataclass
class Tally:
    """What runs came to. `cuts` counts what really was cut; `endings` the outcomes at the sender's host."""

    runs: int = 0
    cuts: int = 0
    rewritten: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count others in."""
        self.runs += other.runs
        self.cuts += other.cuts
        self.rewritten += other.rewritten
        self.endings.update(other.endings)
        self.broken += other.broken


def plan(seed: int) -> Plan:
    """Return what happens in the run of a seed."""
    random = Random(seed)
    scene = random.choice(SCENES)
    first = random.randint(1, steps(scene) + 1)
    again = (first + random.randint(1, SOON),) if random.random() < 0.3 else ()
    return Plan(seed, scene, (first, *again), random.choice((0.0, 0.0, 0.05, 0.3)))


@cache
def steps(scene: Scene) -> int:
    """Return how many steps the disk of the scene's host makes without a fault."""
    with TemporaryDirectory(dir=MEMORY) as directory:
        world = IN_PEACE[scene.kind](Path(directory))
        try:
            scene.story.play(world)
            return int(getattr(world, scene.host).faults.steps)
        finally:
            world.close()


def run(plan: Plan, disk: Disk) -> Tally:
    """Play a plan on a disk to its end, and look whether every promise was kept."""
    tally, before = Tally(runs=1), disk.cuts
    with TemporaryDirectory(dir=MEMORY) as directory:
        ground = ground_with(disk, Path(directory) / f"run-{plan.seed}", plan.scene.host)
        world = KINDS[plan.scene.kind](ground)
        try:
            _suffer(world, plan, disk)
        except Exception as error:
            tally.broken.append(f"{plan}: {type(error).__name__}: {error}")
        finally:
            world.close()
        tally.endings.update(["forgotten"] if world.witness.forgotten else world.witness.reasons())
        tally.rewritten = world.rewritten  # type: ignore[attr-defined]
        shutil.rmtree(disk.path / ground.name)
    tally.cuts = disk.cuts - before
    return tally


def _suffer(world: World, plan: Plan, disk: Disk) -> None:
    assert isinstance(world, Cuts)
    host = getattr(world, plan.scene.host)
    world.strike(host, disk)
    host.faults.cut_before = set(plan.before)
    host.faults.meanwhile = Others(disk, Random(plan.seed), plan.busy)
    before = disk.cuts
    story = plan.scene.story
    story.play(world)
    if disk.cuts == before + story.restarts:  # the last step came, and all of the story with it
        world.restart(host)
        world.until_quiet(agents.archives)
    _judge(world, plan.scene)


def _judge(world: World, scene: Scene) -> None:
    if not world.witness.forgotten:
        world.witness.final()
        uncertain = (UNCERTAIN,) if scene.host == "b" else ()
        assert set(world.witness.reasons()) <= {scene.story.reason, *scene.story.also, *uncertain}, (
            f"ended {world.witness.reasons()}"
        )
    if scene.name != "stopped in order":
        assert world.witness.offers <= 1, "offered again after a power cut"


class Others:
    """Other programs of the host: now and then one flushes a file, or the kernel writes what is dirty."""

    def __init__(self, disk: Disk, random: Random, chance: float) -> None:
        self._disk, self._random, self._chance = disk, random, chance

    def __call__(self) -> None:
        if self._random.random() < self._chance:
            act = self._disk.write_back if self._random.random() < 0.3 else self._disk.commit
            act()
