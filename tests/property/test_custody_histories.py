"""Random histories of two hosts: messages late, twice or never, agents at any moment, crashes, cuts, wrong clocks.

After every step a witness looks at both roots for the invariants of docs/custody.md section 14. At the end the
network is well again, agents finish what they hold, and every handoff must have come to one outcome on both hosts.
"""

import json
import os
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.fakes import agents
from tests.fakes.lane import settlements
from tests.fakes.world import World
from tests.property.misfortune import HANDOFFS, History, play, which
from tests.unit.custody.pair import Host, payload

from handoffd.custody.engine import Engine
from handoffd.custody.message import (
    Accept,
    Answer,
    Arrival,
    Batch,
    Finish,
    Hello,
    Landing,
    Lookup,
    Mirror,
    Offer,
    StatesQuery,
)
from handoffd.protocol.name import Nonce, TransferId
from handoffd.protocol.record import Record

# Half a minute to a minute and a half, if nobody else wants the two cores.
pytestmark = pytest.mark.timeout(900)
hosts = st.sampled_from(["a", "b"])


@dataclass
class Request:
    """A POST on its way, and whether A still waits for its answer. `asker`: A's process at that time."""

    offers: list[Offer]
    epoch: str
    asker: Engine
    answers: list[Answer] | None = None
    waiting: bool = True


class Histories(History):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.directory)
        self.a, self.b = self.world.a, self.world.b
        self.requests: list[Request] = []
        self.records: list[Record] = []
        self.accepted: dict[TransferId, Nonce] = {}
        self.numbers = 0

    def host(self, name: str) -> Host:
        return self.a if name == "a" else self.b

    # ------------------------------------------------------------ the writer

    @precondition(lambda self: len(self.world.witness.handoffs) < HANDOFFS)
    @rule(ttl_s=st.sampled_from([6.0, 60.0, 900.0]), way=st.integers(0, 7))
    def bob_writes(self, ttl_s: float, way: int) -> None:
        """And daemons and alice see to it at once, up to here or there."""
        data = payload(at=self.a.clock.wall(), ttl_s=ttl_s)
        self.world.hand_over(f"0011223344556677-{len(self.world.witness.handoffs)}.json", data)
        if way > 0:
            self.world.tick(self.a)
        if way > 1:
            self.a_sends()
        if way > 2 and self.requests:
            self.a_post_arrives(len(self.requests) - 1)
            self.a_hears(0, lost=way == 3)
        if way > 4:
            self.alice_claims_one(["rename", "listen", "accept"][way - 5])

    @rule(number=which)
    def bob_withdraws(self, number: int) -> None:
        tids = list(self.world.witness.handoffs)
        if tids and number % 4 == 0:
            self.world.at(self.a, lambda: self.a.engine.withdraw([tids[number % len(tids)]]))

    # ------------------------------------------------------------ daemons and the wire

    @rule(name=hosts, seconds=st.sampled_from([0.0, 1.0, 3.0, 11.0]))
    def time_passes(self, name: str, seconds: float) -> None:
        self.host(name).clock.advance(seconds)
        self.world.tick(self.host(name))

    @rule()
    def a_sends(self) -> None:
        epoch = self.b.engine.epoch
        self.world.at(self.a, lambda: self.a.engine.hello([Hello(self.b.name, epoch)]))
        offers = self.world.at(self.a, lambda: self.world.pair.offers(self.a, self.b))
        if offers:
            self.requests.append(Request(offers, epoch, self.a.engine))

    @precondition(lambda self: self.requests)
    @rule(number=which)
    def a_post_arrives(self, number: int) -> None:
        """At any time, and any number of times."""
        request = self.requests[number % len(self.requests)]
        principal = self.world.pair.principal(self.a)
        arrivals = [Arrival(principal, one.data, one.tid, request.epoch, ("host-a",)) for one in request.offers]
        answers = self.world.at(self.b, lambda: self.b.engine.admit(arrivals))
        self.world.witness.answered(answers or [])
        request.answers = answers or request.answers

    @precondition(lambda self: any(one.waiting for one in self.requests))
    @rule(number=which, lost=st.booleans())
    def a_hears(self, number: int, lost: bool) -> None:
        waiting = [one for one in self.requests if one.waiting]
        if not waiting:
            return
        request = waiting[number % len(waiting)]
        request.waiting = False
        if self.a.engine is request.asker:
            told = settlements(request.offers, None if lost else request.answers)
            self.world.at(self.a, lambda: self.a.engine.settle(told))

    @rule(revoke=st.booleans())
    def a_asks(self, revoke: bool) -> None:
        """For states, or for verdicts; what B says may be heard late, or never."""
        found = self.world.at(self.a, lambda: self.a.engine.debts([self.b.name]))
        if not found:
            return
        if revoke and found[0].revoke:
            asked = Batch(self.a.name, found[0].revoke)
            records = self.world.at(self.b, lambda: self.b.engine.revoke([asked]))
            self.records += [record for record in (records[0] if records else ()) if record]
            return
        query = StatesQuery(self.a.name, dict(found[0].known), None)
        news = self.world.at(self.b, lambda: self.b.engine.states([query]))
        if news:
            self.records += news[0].records
            self.world.at(self.a, lambda: self.a.engine.lost([Batch(self.b.name, news[0].lost)]))

    @precondition(lambda self: self.records)
    @rule(number=which, newest=st.booleans())
    def a_learns(self, number: int, newest: bool) -> None:
        """Records come late, repeated and out of order."""
        record = self.records[-1] if newest else self.records[number % len(self.records)]
        self.world.at(self.a, lambda: self.a.engine.mirror([Mirror(self.b.name, record, 0)]))

    @rule(arrives=st.booleans())
    def a_fetches_and_forgets(self, arrives: bool) -> None:
        found = self.world.at(self.a, lambda: self.a.engine.debts([self.b.name]))
        for tid in found[0].fetch if found else ():
            wanted = Lookup(self.world.pair.principal(self.a), tid, artefact=True)
            answers = self.world.at(self.b, lambda one=wanted: self.b.engine.lookup([one]))
            data = answers[0].data if answers and arrives else None
            self.world.at(self.a, lambda tid=tid, data=data: self.a.engine.land([Landing(tid, data)]))
        if found and arrives:
            owed = Batch(self.a.name, found[0].forget)
            if self.world.at(self.b, lambda: self.b.engine.forget([owed])):
                self.world.at(self.a, lambda: self.a.engine.forgotten([Batch(self.b.name, owed.tids)]))

    # ------------------------------------------------------------ what befalls hosts

    @rule(name=hosts, power=st.booleans())
    def a_host_goes_down(self, name: str, power: bool) -> None:
        self.world.power = power
        self.world.restart(self.host(name))
        self.world.power = False

    @rule(name=hosts, changes=st.integers(1, 12))
    def a_host_will_go_down(self, name: str, changes: int) -> None:
        faults = self.host(name).faults
        faults.crash_after = {faults.changes + changes}

    @rule(name=hosts)
    def a_host_is_stopped_in_order(self, name: str) -> None:
        self.world.stop(self.host(name))

    @rule(name=hosts, seconds=st.sampled_from([-3600.0, -7.0, 4.0, 7.0, 3600.0]))
    def a_clock_is_set(self, name: str, seconds: float) -> None:
        self.host(name).clock.wall_s += seconds
        self.world.tick(self.host(name))

    # ------------------------------------------------------------ alice

    @rule(kind=st.sampled_from(["rename", "listen", "accept"]))
    def alice_claims_one(self, kind: str) -> None:
        names = [name for name in self.b.names("handoff") if not name.startswith(".")]
        if not names:
            return
        root, name = self.b.root, names[0]
        if kind == "accept":
            self._accept(next(one.tid for one in self.world.witness.handoffs.values() if one.published == name))
            return
        hidden = root / "claimed" / f".{name}.alice.0123456789abcdef.listen"
        os.rename(root / "handoff" / name, hidden if kind == "listen" else root / "claimed" / name)
        if kind == "listen":
            self.world.witness.claimed(name)
            os.link(hidden, root / "claimed" / name)
        else:
            self.world.claimed(name)
        self.world.witness.look()

    def _accept(self, tid: TransferId) -> None:
        nonce = self.accepted.get(tid, Nonce(f"n{len(self.accepted)}"))
        answers = self.world.at(self.b, lambda: self.b.engine.accept([Accept(agents.ALICE, tid, nonce)]))
        if answers is None or answers[0].status == 503:
            self.accepted[tid] = nonce  # perhaps it is hers
        elif answers[0].status == 200:
            self.accepted[tid] = nonce
            one = self.world.witness.handoffs[tid]
            assert answers[0].data == one.data
            if not one.claims:
                self.world.witness.claimed(one.published)

    @rule(end=st.sampled_from(["move", "rewrite", "reject", "delete"]), told=st.booleans())
    def alice_ends_one(self, end: str, told: bool) -> None:
        held = [name for name in agents.held(self.world) if not self._is_accepted(name)]
        if held:
            self._end(held[0], end)
            if told:
                self.world.at(self.b, lambda: self.b.engine.look([{"archive": set(), "rejected": set()}]))

    def _is_accepted(self, published: str) -> bool:
        return any(self.world.witness.handoffs[tid].published == published for tid in self.accepted)

    def _end(self, name: str, end: str) -> None:
        root = self.b.root
        data = (root / "claimed" / name).read_bytes()
        (root / "claimed" / name).unlink()
        hidden = root / "claimed" / f".{name}.alice.0123456789abcdef.listen"
        if end == "move":
            source = hidden if hidden.exists() else None
            target = root / "archive" / (agents.archived_name(data) if source else name)
            source.rename(target) if source else agents.write(target, data)
        else:
            hidden.unlink(missing_ok=True)
        if end == "rewrite":
            final = json.dumps({**json.loads(data), "transcript": [{"role": "user", "text": "bye"}]}).encode()
            agents.write(root / "archive" / agents.archived_name(data), final)
        if end == "reject":
            agents.write(root / "rejected" / name, json.dumps({**json.loads(data), "error": "busy"}).encode())
        if end in ("move", "rewrite"):
            agents.mark_archived(self.world, name)

    @rule(reject=st.booleans())
    def alice_finishes_over_http(self, reject: bool) -> None:
        for tid in list(self.accepted)[:1]:
            self._finish(tid, reject)

    def _finish(self, tid: TransferId, reject: bool) -> None:
        one = self.world.witness.handoffs[tid]
        if not one.claims:
            return  # the answer to her accept was lost, or it was another's
        one.archived = one.archived or not reject
        asked = Finish(agents.ALICE, tid, reject, b'{"end": true}')
        self.world.at(self.b, lambda: self.b.engine.finish([asked]))

    # ------------------------------------------------------------ in the end

    def come_to_rest(self) -> None:
        for host in (self.a, self.b):
            host.faults.crash_after = set()
        for request in self.requests:
            if request.waiting and self.a.engine is request.asker:
                told = settlements(request.offers, None)
                self.world.at(self.a, lambda told=told: self.a.engine.settle(told))
        self.world.until_quiet(self._tidy, rounds=25, seconds=3.0)

    def _tidy(self, world: World) -> None:
        for tid in list(self.accepted):
            self._accept(tid)
            self._finish(tid, reject=False)
        for name in agents.held(world):
            if not self._is_accepted(name):
                self._end(name, "rewrite")
        agents.claim_all(world)


TestHistories = Histories.TestCase
TestHistories.settings = play(200)
