"""Several simulated hosts and what befalls them; every act is one step of a schedule.

It owns the hosts, what their writing agents and daemons do, and their misfortunes. Every act on an engine may be that
process's last one: then its answer is lost and the host starts again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import ClassVar, TypeVar

from tests.simulator.agent import WRITES, Agents
from tests.simulator.disk import Crash, Tally
from tests.simulator.given import Given
from tests.simulator.host import SimHost, payload, variant
from tests.simulator.shape import MESH, STAR, inhabitants, principal, settings
from tests.simulator.visit import Visit
from tests.simulator.wire import Wire
from tests.simulator.witness import Broken, Witness

from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.layout import ARCHIVE, CLAIMED, HANDOFF, REJECTED
from handoffd.custody.message import Offer

Item = TypeVar("Item")
Result = TypeVar("Result")
WHOLE: dict[str, set[str]] = {HANDOFF: set(), CLAIMED: set(), ARCHIVE: set(), REJECTED: set()}


class World:
    """`count` hosts, each with one agent, connected in some shape; `random` decides what the schedule leaves open.

    `happened` counts the faults that did strike, `told` what the daemons wrote into their journals.
    """

    host_type: ClassVar[type[SimHost]] = SimHost

    def __init__(self, count: int, random: Random, shape: str = MESH) -> None:
        self.random = random
        self.happened: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        tally, named = Tally(), inhabitants(count)
        self.hosts = [
            self.host_type(each, principal(number, named, shape), random, tally, self.told)
            for number, each in enumerate(settings(named, shape))
        ]
        for host in self.hosts:
            host.power_failed, host.stopped = self._power_failed, self._switched_off
        self.witness = Witness(self.hosts, tally)
        for host in self.hosts:
            host.moved = self.witness.moved
        self.agents = Agents(self)
        self.wires: list[Wire] = []
        """Those on which anything is to be said."""
        self.visits = [Visit(self, leaf, self.hosts[0]) for leaf in self.hosts[1:] if shape == STAR]
        self._numbers = 0

    def at(
        self, host: SimHost, verb: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]
    ) -> list[Result] | None:
        """Let a host's engine act; None if it did not live to answer."""
        answer: list[Result] | None
        try:
            answer = verb(items)
            if host.view.flush_failed:
                raise Broken(f"R7: a directory could not be flushed, and {host.name} goes on")
        except Crash:
            if not host.faults.power_is_off():
                self.happened["a process ended between two changes"] += 1
            self._revive(host)
            answer = None
        except FlushFailed:
            self.happened["a directory could not be flushed"] += 1
            self._revive(host)
            answer = None
        if host.journal.bug:
            raise Broken(f"a bug met a bulkhead at {host.name}: {host.journal.bug}")
        self.witness.look()
        return answer

    def loosen(self) -> None:
        """From now on a power cut may leave both names of a move between two directories."""
        self.witness.loose = True
        for host in self.hosts:
            host.disk.splits_moves = True

    def close(self) -> None:
        """Let go of everything: what holds each other in a circle waits for the collector, which takes its time."""
        for host in self.hosts:
            host.disk.close()
        self.hosts.clear()
        self.wires.clear()
        self.visits.clear()

    def _revive(self, host: SimHost) -> None:
        host.faults.failing = 0
        host.crash()
        self.witness.started(host)

    # ------------------------------------------------------------ writing agents

    def write(self, source: SimHost, target: SimHost, ttl_s: float) -> Given:
        """An agent hands something over."""
        self._numbers += 1
        data = payload(self._numbers, source.agent, target.agent, source.clock.wall_s, ttl_s)
        file = f"{self._numbers:016x}-0.json"
        source.disk.write(HANDOFF, file, data)
        way = self._way(source, target)
        self._connect(source, way[0])
        return self.witness.gave(file, data, source, target, way)

    def write_again(self, one: Given) -> None:
        """An agent writes the same bytes once more, under another name."""
        self._numbers += 1
        file = f"{self._numbers:016x}-0.json"
        one.source.disk.write(HANDOFF, file, one.data)
        one.copies.append(file)

    def write_variant(self, one: Given) -> None:
        """An agent signs other bytes as if they were the same handoff."""
        self._numbers += 1
        data, file = variant(one.data), f"{self._numbers:016x}-0.json"
        one.source.disk.write(HANDOFF, file, data)
        self.witness.gave(file, data, one.source, one.target, one.way, twin=one)

    def _way(self, source: SimHost, target: SimHost) -> list[SimHost]:
        """Return the hosts that a handoff comes to, the last one its target."""
        direct = target.name in source.settings.peers
        return [target] if direct else [self.hosts[0], target]

    def _connect(self, source: SimHost, target: SimHost) -> None:
        """Open the wire if there is none; who dials in is sent nothing."""
        known = any(wire.source is source and wire.target is target for wire in self.wires)
        if not known and target.name not in source.settings.pulls:
            self.wires.append(Wire(self, source, target))

    def meddle_soon(self, host: SimHost, calls: int) -> None:
        """After so many calls that a host's daemon makes of its disk its agent claims or ends something, meanwhile."""
        host.faults.meddle_in = calls
        host.faults.meddle = partial(self._meddle, host)

    def _meddle(self, host: SimHost) -> None:
        claimable, held = self.agents.claimable(host), self.agents.held(host)
        if claimable or held:
            self.happened["an agent came between two calls"] += 1
        with self.witness.blinking():
            if claimable:
                self.agents.claim(claimable[0])
            elif held:
                self.agents.end(held[0], WRITES)

    def withdraw(self, one: Given) -> None:
        """The operator takes a handoff back."""
        self.at(one.source, one.source.engine.withdraw, [one.tid])

    # ------------------------------------------------------------ daemons

    def look(self, host: SimHost) -> None:
        """Kernel events arrive."""
        self.at(host, host.engine.look, [WHOLE])

    def tick(self, host: SimHost, seconds: float) -> None:
        """Time passes at one host, and its scan comes."""
        host.clock.wall_s += seconds
        host.clock.boot_s += seconds
        self.at(host, host.engine.tick, [0.0])

    def send(self, source: SimHost, *, idly: bool = True) -> None:
        """A daemon says hello to whom it owes payloads, and posts them; `idly`: also where there is nothing to say."""
        engine, fresh = source.engine, collect(source)
        for wire in self.wires:
            if source.engine is not engine:
                return
            if wire.source is source and (idly or not wire.has_nothing_to_post()):
                wire.post(engine, fresh.get(wire.target.name, ()))

    # ------------------------------------------------------------ what befalls hosts

    def crash(self, host: SimHost) -> None:
        """The daemon is killed."""
        host.crash()
        self._started(host)

    def cut_power(self, host: SimHost, *, failing: int = 0) -> None:
        """The power fails at one host, and its disk refuses so many calls of the start after it."""
        self._cut_power(host)
        host.faults.failing = failing
        host.crash()
        self._started(host)

    def _power_failed(self, host: SimHost) -> None:
        self.happened["the power failed between two changes"] += 1
        self._cut_power(host)

    def _cut_power(self, host: SimHost) -> None:
        """Have the disk as the next boot will find it. What ended there, or may have, is no longer certain."""
        for one in self.witness.given:
            if one.target is host:
                one.excused = True
        still_theirs = self.witness.not_in_custody(host)
        if host.cut_power():
            self.happened["a power cut undid changes"] += 1
        self.witness.power_failed(still_theirs)

    def _switched_off(self, host: SimHost) -> None:
        """A machine is switched off after an orderly stop: what the daemon's clean mark vouches for is there again."""
        if self.random.randrange(2):
            return
        for one in self.agents.claimable(host):
            self.agents.claim(one)
        host.disk.flush_bytes()
        still_theirs = self.witness.not_in_custody(host)
        if host.cut_power():
            self.happened["a machine switched off after an orderly stop undid changes"] += 1
        self.witness.power_failed(still_theirs)

    def lose_tree(self, host: SimHost) -> None:
        """A host loses what its daemon remembers, or remembers what was true some time ago."""
        self.happened["an old relay/ came back" if host.backup else "relay/ was lost"] += 1
        self.witness.forgot(host)
        host.lose_tree()
        self._started(host)

    def stop(self, host: SimHost) -> None:
        """The daemon is stopped in order, and the machine boots."""
        host.stop()
        self._started(host)

    def _started(self, host: SimHost) -> None:
        self.witness.look()
        self.witness.started(host)


def collect(host: SimHost) -> dict[str, list[Offer]]:
    """Take an engine's news: fresh offers by peer."""
    fresh: dict[str, list[Offer]] = {}
    for item in host.engine.drain_news():
        if isinstance(item, Offer):
            fresh.setdefault(item.peer, []).append(item)
    return fresh
