"""A portion of schedules: played one after the other in one process, and what they came to.

It owns the counting. The rule that must stay true: what is reported can be compared byte for byte with another run.
"""

import gc
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from tests.simulator.schedule import NAMES, draw, play
from tests.simulator.world import World

SECOND_LOOK = 100
"""One schedule in so many is played again in another process, and must come out the same to the last byte."""


@dataclass
class Report:
    """What a portion came to. `failures`: seed and words; `prints`: seed and fingerprint of those played again."""

    played: int = 0
    steps: int = 0
    handoffs: int = 0
    processor_s: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    prints: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Report") -> None:
        """Count another portion in."""
        self.played += other.played
        self.steps += other.steps
        self.handoffs += other.handoffs
        self.processor_s += other.processor_s
        self.happened.update(other.happened)
        self.told.update(other.told)
        self.endings.update(other.endings)
        self.failures += other.failures
        self.prints.update(other.prints)

    def summary(self, hosts: int) -> str:
        """Return the first line of what is told."""
        return (
            f"{self.played} schedules of {hosts} hosts, {self.steps / self.played:.0f} steps and"
            f" {self.handoffs / self.played:.1f} handoffs each on average; broken: {len(self.failures)};"
        )

    def table(self) -> str:
        """Return how often what was played, so that a generator that has become weak shows."""
        acts = Counter({name: self.happened[name] for name in NAMES})
        faults = Counter({name: number for name, number in self.happened.items() if name not in acts})
        groups = (
            ("acts that did something", acts),
            ("what went wrong", faults),
            ("in the journals", self.told),
            ("ends", self.endings),
        )
        lines = []
        for title, counter in groups:
            lines.append(f"{title}:")
            lines += [f"  {number:10} {name}" for name, number in counter.most_common()]
        digest = sha256("".join(self.prints[seed] for seed in sorted(self.prints)).encode())
        lines.append(f"played again in other processes: {len(self.prints)}; their histories: {digest.hexdigest()[:16]}")
        return "\n".join(lines)


def run(portion: tuple[int, int, int]) -> Report:
    """Play the schedules of the seeds from the first to below the second number, for so many hosts."""
    first, last, hosts = portion
    report, began = Report(), time.process_time()
    # A played world is a circle of objects. What is young when it has been played is that world alone: looking there
    # costs little, and the next world is made in memory that the processor still has at hand.
    gc.disable()
    for seed in range(first, last):
        _run_one(seed, hosts, report)
        gc.collect(0)
    gc.enable()
    report.processor_s = time.process_time() - began
    return report


def _run_one(seed: int, hosts: int, report: Report) -> None:
    schedule = draw(seed, hosts)
    report.played += 1
    report.steps += len(schedule.steps)
    try:
        world = play(schedule)
    except Exception as error:
        report.failures.append((seed, f"{type(error).__name__}: {error}"))
        return
    report.handoffs += len(world.witness.given)
    report.happened.update(world.happened)
    report.told.update(world.told)
    report.endings.update(_endings(world))
    if seed % SECOND_LOOK == 0:
        report.prints[seed] = fingerprint(world)
    world.close()


def again(portion: tuple[int, int, int]) -> dict[int, str]:
    """Return the fingerprints of those schedules of a portion that are played again."""
    first, last, hosts = portion
    report = Report()
    for seed in range(first, last):
        if seed % SECOND_LOOK == 0:
            _run_one(seed, hosts, report)
    return report.prints


def fingerprint(world: World) -> str:
    """Return a hash of every name and byte on all disks."""
    digest = sha256()
    for host in world.hosts:
        for directory, folder in sorted(host.disk.folders.items()):
            for name, node in sorted(folder.now.items()):
                digest.update(f"{host.name}/{directory}/{name} {node.number} {node.mtime_ns}\n".encode())
                digest.update(node.data)
    return digest.hexdigest()


def _endings(world: World) -> Iterator[str]:
    for one in world.witness.given:
        end = world.witness.end(one.source, one)
        yield "taken back by a power cut" if end is None else str(end["reason"])
