"""Schedules: what happens, in which order, as plain numbers that can be repeated, shortened and kept as text.

It owns the choice of what may happen and knows no promise. A step is three numbers: which act, and two that the act
reads as it needs; an act that is not possible now is no step at all, so any part of a schedule is a schedule.
"""

import errno
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from tests.simulator.agent import DELETES, PUTS_BACK, REWRITES
from tests.simulator.rest import come_to_rest
from tests.simulator.shape import MESH, SHAPES
from tests.simulator.visit import ANSWER_LOST, HEARD, REQUEST_LOST
from tests.simulator.world import World

from handoffd.protocol.timing import CLOCK_JUMP_S

Step = tuple[int, int, int]
STEPS = 200
HANDOFFS = 3
LOOSE = 8
"""One schedule of each shape in so many has loose disks."""

SECONDS = (0.0, 0.3, 1.0, 3.0, 11.0)
SLEEPS = (45.0, 3600.0, 30_000.0)
SLEPT_ENOUGH_S = 40_000.0
"""Clocks further apart than a day are promised nothing: an end is forgotten before the other host has heard of it."""
LIFETIMES = (6.0, 60.0, 900.0)
JUMPS = (-3600.0, -7.0, 4.0, 7.0, 3600.0)
RARER = (REWRITES, PUTS_BACK, DELETES)
"""What an agent seldom does with what it holds."""
CALLS = 32
CODES = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`seed` decides what the steps leave open: names, jitter, what a power cut leaves.

    `loose`: a power cut may leave a move between two directories under both names, which R8 rules out.
    """

    seed: int
    hosts: int
    steps: tuple[Step, ...]
    shape: str = MESH
    loose: bool = False


def draw(seed: int, hosts: int = 2) -> Schedule:
    """Return the schedule of a seed."""
    random = Random(f"{seed}/{hosts}")
    # Most histories are short, and some have all the steps there may be.
    count = min(STEPS, int(random.expovariate(1 / 30)) + 8)
    shape = SHAPES[seed % len(SHAPES)]
    drawn = memoryview(random.randbytes(2 * count)).cast("H")
    table = _DRAWN[shape][random.randrange(len(ACTS))]
    acts = [ACTS.index(_write), *(table[number % len(table)] for number in drawn)]
    steps = tuple(zip(acts, random.randbytes(count + 1), random.randbytes(count + 1), strict=True))
    return Schedule(seed, hosts, steps, shape, loose=seed % LOOSE >= LOOSE - len(SHAPES))


def play(schedule: Schedule, make: Callable[[int, Random, str], World] = World) -> World:
    """Run a schedule and let all come to rest. Raises Broken, or whatever an engine raises."""
    world = make(schedule.hosts, Random(schedule.seed), schedule.shape)
    if schedule.loose:
        world.loosen()
    for act, first, second in schedule.steps:
        if ACTS[act](world, first, second):
            world.happened[NAMES[act]] += 1
            world.witness.look()
    come_to_rest(world)
    return world


def to_text(schedule: Schedule) -> str:
    """Return a schedule as it is kept: its seed and hosts, then one step a line."""
    disk = " disk loose" if schedule.loose else ""
    lines = [f"seed {schedule.seed} hosts {schedule.hosts} shape {schedule.shape}{disk}"]
    return "\n".join(lines + [f"{NAMES[act]} {first} {second}" for act, first, second in schedule.steps]) + "\n"


def from_text(text: str) -> Schedule:
    """Return a kept schedule; lines that begin with # are words for people. Raises ValueError."""
    head, *lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    words = head.split()
    said = dict(zip(words[::2], words[1::2], strict=True))
    numbers = {name: number for number, name in enumerate(NAMES)}
    steps = []
    for line in lines:
        word, first, second = line.split()
        if word not in numbers:
            raise ValueError(f"no such act: {word}")
        steps.append((numbers[word], int(first), int(second)))
    loose = said.get("disk") == "loose"
    return Schedule(int(said["seed"]), int(said["hosts"]), tuple(steps), said.get("shape", MESH), loose)


# ---------------------------------------------------------------- acts


def _write(world: World, first: int, second: int) -> bool:
    if len(world.witness.given) >= HANDOFFS:
        return False
    source = world.hosts[first % len(world.hosts)]
    others = [host for host in world.hosts if host is not source]
    world.write(source, others[second % len(others)], LIFETIMES[(first >> 4) % len(LIFETIMES)])
    return True


def _write_again(world: World, first: int, second: int) -> bool:
    given = world.witness.given
    if not given:
        return False
    one = given[first % len(given)]
    if second & 1:
        world.write_again(one)
    elif one.twin is None and len(given) < HANDOFFS:
        world.write_variant(one)
    else:
        return False
    return True


def _meddle_soon(world: World, first: int, second: int) -> bool:
    world.meddle_soon(world.hosts[first % len(world.hosts)], 1 + second % CALLS)
    return True


def _look(world: World, first: int, second: int) -> bool:
    world.look(world.hosts[first % len(world.hosts)])
    return True


def _tick(world: World, first: int, second: int) -> bool:
    world.tick(world.hosts[first % len(world.hosts)], SECONDS[second % len(SECONDS)])
    return True


def _send(world: World, first: int, second: int) -> bool:
    source = world.hosts[first % len(world.hosts)]
    world.send(source)
    return any(wire.source is source for wire in world.wires)


def _deliver(world: World, first: int, second: int) -> bool:
    wires = [wire for wire in world.wires if wire.requests]
    if not wires:
        return False
    wire = wires[first % len(wires)]
    # What has not arrived yet is the likeliest; old ones come again.
    fresh = [request for request in wire.requests if not request.arrived]
    requests = fresh if fresh and second < 192 else wire.requests
    wire.deliver(requests[-1 - second % len(requests)])
    return True


def _hear(world: World, first: int, second: int) -> bool:
    waiting = [(wire, request) for wire in world.wires for request in wire.requests if request.asker is not None]
    if not waiting:
        return False
    wire, request = waiting[first % len(waiting)]
    wire.settle(request, lost=second < 64 or request.answers is None)
    return True


def _ask(world: World, first: int, second: int) -> bool:
    if world.wires:
        world.wires[first % len(world.wires)].ask()
    return bool(world.wires)


def _learn(world: World, first: int, second: int) -> bool:
    wires = [wire for wire in world.wires if wire.learnt]
    if not wires:
        return False
    wire = wires[first % len(wires)]
    age = 0 if second < 160 else second
    wire.learn(wire.learnt[-1 - age % len(wire.learnt)])
    return True


def _pay(world: World, first: int, second: int) -> bool:
    if world.wires:
        world.wires[first % len(world.wires)].pay()
    return bool(world.wires)


def _visit(world: World, first: int, second: int) -> bool:
    if world.visits:
        fate = REQUEST_LOST if second < 16 else ANSWER_LOST if second < 48 else HEARD
        world.visits[first % len(world.visits)].say(fate)
    return bool(world.visits)


def _visit_again(world: World, first: int, second: int) -> bool:
    visits = [visit for visit in world.visits if visit.told]
    if visits:
        visit = visits[first % len(visits)]
        visit.hear(visit.told[second % len(visit.told)])
    return bool(visits)


def _lease(world: World, first: int, second: int) -> bool:
    waiting = [visit for visit in world.visits if visit.takes]
    if waiting:
        waiting[first % len(waiting)].ask()
    return bool(waiting)


def _lend(world: World, first: int, second: int) -> bool:
    visits = [visit for visit in world.visits if visit.leases]
    if visits:
        visit = visits[first % len(visits)]
        age = 0 if second < 192 else second
        visit.lend(-1 - age % len(visit.leases))
    return bool(visits)


def _receive(world: World, first: int, second: int) -> bool:
    visits = [visit for visit in world.visits if visit.parcels]
    if visits:
        visits[first % len(visits)].receive(lost=second < 40)
    return bool(visits)


def _claim(world: World, first: int, second: int) -> bool:
    agents = world.agents
    for host in world.hosts:
        found = agents.claimable(host)
        if found:
            one = found[first % len(found)]
            over_http = second < 64 or one.published in agents.nonces
            agents.accept(one) if over_http else agents.claim(one, renames=second > 224)
            return True
    return False


def _end(world: World, first: int, second: int) -> bool:
    agents = world.agents
    for host in world.hosts:
        found = agents.held(host)
        if found:
            agents.end(found[first % len(found)], second % 4 if second > 16 else RARER[second % len(RARER)])
            return True
    accepted = agents.accepted()
    if accepted:
        agents.finish(accepted[first % len(accepted)], reject=second < 64)
    return bool(accepted)


def _crash(world: World, first: int, second: int) -> bool:
    world.crash(world.hosts[first % len(world.hosts)])
    return True


def _crash_soon(world: World, first: int, second: int) -> bool:
    return _end_soon(world, first, second, cuts_power=False)


def _cut_power(world: World, first: int, second: int) -> bool:
    host = world.hosts[first % len(world.hosts)]
    host.faults.code = errno.ENOSPC
    world.cut_power(host, failing=second % 5 if second > 192 else 0)
    return True


def _cut_power_soon(world: World, first: int, second: int) -> bool:
    return _end_soon(world, first, second, cuts_power=True)


def _end_soon(world: World, first: int, second: int, *, cuts_power: bool) -> bool:
    faults = world.hosts[first % len(world.hosts)].faults
    faults.crash_in, faults.cuts_power = 1 + second % 12, cuts_power
    return True


def _stop(world: World, first: int, second: int) -> bool:
    world.stop(world.hosts[first % len(world.hosts)])
    return True


def _set_clock(world: World, first: int, second: int) -> bool:
    host = world.hosts[first % len(world.hosts)]
    jump = JUMPS[second % len(JUMPS)]
    host.clock.wall_s += jump
    if abs(jump) > CLOCK_JUMP_S:
        host.jumped_at_s = host.clock.boot_s
    world.tick(host, 0.0)
    return True


def _sleep(world: World, first: int, second: int) -> bool:
    """A lid is closed and opened again: of one host alone both clocks have gone on, and its scan comes."""
    host = world.hosts[first % len(world.hosts)]
    if host.clock.boot_s > SLEPT_ENOUGH_S:
        return False
    world.tick(host, SLEEPS[second % len(SLEEPS)])
    return True


def _fail(world: World, first: int, second: int) -> bool:
    faults = world.hosts[first % len(world.hosts)].faults
    faults.failing, faults.code = 1 + second % 5, CODES[(second >> 4) % len(CODES)]
    return True


def _back_up(world: World, first: int, second: int) -> bool:
    world.hosts[first % len(world.hosts)].back_up()
    return True


def _lose_tree(world: World, first: int, second: int) -> bool:
    world.lose_tree(world.hosts[first % len(world.hosts)])
    return True


def _withdraw(world: World, first: int, second: int) -> bool:
    given = world.witness.given
    if given:
        world.withdraw(given[first % len(given)])
    return bool(given)


Act = Callable[[World, int, int], bool]
_WEIGHTED: dict[Act, tuple[float, float]] = {
    _write: (4, 4),
    _write_again: (0.7, 0.7),
    _look: (8, 8),
    _tick: (10, 8),
    _send: (12, 7),
    _deliver: (14, 8),
    _hear: (10, 5),
    _ask: (8, 4),
    _learn: (10, 5),
    _pay: (5, 4),
    _visit: (0, 18),
    _visit_again: (0, 4),
    _lease: (0, 12),
    _lend: (0, 12),
    _receive: (0, 12),
    _claim: (10, 12),
    _end: (9, 12),
    _meddle_soon: (3, 3),
    _crash: (1, 1),
    _crash_soon: (1.5, 1.5),
    _cut_power: (1, 1),
    _cut_power_soon: (1, 1),
    _stop: (0.7, 0.7),
    _set_clock: (0.7, 0.7),
    _sleep: (0.5, 0.5),
    _fail: (0.7, 0.7),
    _withdraw: (0.5, 0.5),
    _back_up: (0.4, 0.4),
    _lose_tree: (0.3, 0.3),
}
"""How likely an act is in a mesh and in a star."""
ACTS = tuple(_WEIGHTED)
NAMES = tuple(act.__name__[1:] for act in ACTS)


OFTENER = 8
"""In every schedule one act is so many times as likely as usual: what is rare has histories in which it is not
(swarm testing: Groce et al., ISSTA 2012)."""


def _table(number: int, often: Act) -> bytes:
    weights = [each[number] * (OFTENER if act is often else 1) for act, each in _WEIGHTED.items()]
    sums = tuple(accumulate(weights))
    return bytes(bisect(sums, each / 4096 * sums[-1]) for each in range(4096))


_DRAWN = {shape: [_table(number, act) for act in ACTS] for number, shape in enumerate(SHAPES)}
"""Which act a drawn number stands for, by the act that is likelier than usual."""
