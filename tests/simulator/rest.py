"""Coming to rest: nothing goes wrong any more, everybody does their work, and every handoff must come to its end.

It owns the order of the last rounds. A round in which no name changed anywhere is followed by a longer pause, for then
something waits for its time.
"""

from tests.simulator.agent import WRITES
from tests.simulator.host import SimHost
from tests.simulator.visit import HEARD, Visit
from tests.simulator.wire import Wire
from tests.simulator.witness import Broken
from tests.simulator.world import World

PAUSES_S = (1.0, 4.0, 16.0, 61.0)
WORDS = 4
"""A hello, all there is to tell, what is wanted; and what became of that."""
ROUNDS = 120
"""An hour's step back of a clock, and the longest lifetime after it, take 75 of the longest pauses."""


def come_to_rest(world: World) -> None:
    """Let nothing go wrong any more until all has ended; then say what is wrong. Raises Broken."""
    for host in world.hosts:
        host.faults.clear()
    for wire in world.wires:
        for request in wire.requests:
            wire.settle(request, lost=True)
    idle = 0
    for _ in range(ROUNDS):
        before = world.witness.tally.changes
        _round(world, PAUSES_S[min(idle, len(PAUSES_S) - 1)])
        idle = idle + 1 if world.witness.tally.changes == before else 0
        if not world.witness.open() and not world.witness.left_over():
            break
    world.witness.final()


def _round(world: World, seconds: float) -> None:
    for host in world.hosts:
        if _tidy(world, host):
            world.look(host)
        world.tick(host, seconds)
    for host in world.hosts:
        world.send(host, idly=False)
    for wire in world.wires:
        _carry(wire)
        _follow(wire)
    for visit in world.visits:
        _visit(visit)


def _carry(wire: Wire) -> None:
    while wire.requests:
        request = wire.requests.pop()
        if request.asker is not None:
            wire.deliver(request)
            wire.settle(request, lost=False)


def _follow(wire: Wire) -> None:
    """Hear what became of everything, and pay what is owed, once before and once after."""
    wire.learnt.clear()
    debts = wire.debts()
    if debts is None:
        raise Broken(f"{wire.source.name} died, and nothing went wrong")
    wire.pay_off(debts)
    if debts.known:
        wire.query(debts)
    if wire.learnt:
        for record in wire.learnt:
            wire.learn(record)
        wire.learnt.clear()
        wire.pay()


def _visit(visit: Visit) -> None:
    """Tell all there is, do what is wanted, and tell what became of it."""
    while visit.parcels:
        visit.receive(lost=False)
    for _ in range(WORDS):
        visit.say(HEARD)
        if visit.takes:
            visit.ask()
            visit.lend(-1)
        while visit.parcels:
            visit.receive(lost=False)
        if visit.is_quiet:
            return  # it would say and hear the same again


def _tidy(world: World, host: SimHost) -> bool:
    """Let agents go on with what they have; tell whether the watch has anything to tell of."""
    agents = world.agents
    for one in world.witness.given:
        if one.target is host and one.published in agents.nonces:
            agents.accept(one)
            agents.finish(one, reject=False)
    held, claimable = agents.held(host), agents.claimable(host)
    for one in held:
        agents.end(one, WRITES)
    for one in claimable:
        agents.claim(one)
    return bool(held or claimable)
