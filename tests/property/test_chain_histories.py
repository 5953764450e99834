"""Random histories of hosts in a row: on every lane requests late, twice or never; crashes, cuts, wrong clocks.

After every step a witness looks at all roots for the invariants of docs/custody.md section 14. At the end the network
is well again, agents finish what they hold, and every handoff must have come to one outcome on all hosts that had it.
"""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.fakes import agents
from tests.fakes.chain import Chain
from tests.fakes.lane import PushLane, settlements
from tests.property.misfortune import HANDOFFS, Misfortunes, play, which
from tests.unit.custody.pair import payload

from handoffd.custody.engine import Engine
from handoffd.custody.message import Answer, Arrival, Batch, Hello, Landing, Lookup, Mirror, Offer, StatesQuery
from handoffd.protocol.record import Record

# Half a minute to a minute and a half, if nobody else wants the two cores.
pytestmark = pytest.mark.timeout(900)


@dataclass
class Request:
    """A POST on its way over a lane. `asker`: the process that sent it, which may be gone when the answer comes."""

    lane: PushLane
    offers: list[Offer]
    epoch: str
    asker: Engine
    answers: list[Answer] | None = None
    waiting: bool = True


class ChainHistories(Misfortunes):
    """One machine for every row; which one, `lanes` says."""

    lanes = "push push"

    def __init__(self) -> None:
        super().__init__()
        self.world = Chain(self.directory, self.lanes)
        self.requests: list[Request] = []
        self.records: list[tuple[PushLane, Record]] = []

    def pushed(self, number: int) -> PushLane:
        lanes = [lane for lane in self.world.lanes if isinstance(lane, PushLane)]
        return lanes[number % len(lanes)]

    # ------------------------------------------------------------ the writer

    @precondition(lambda self: len(self.world.witness.handoffs) < HANDOFFS)
    @rule(ttl_s=st.sampled_from([6.0, 60.0, 900.0]), rounds=st.integers(0, 3))
    def bob_writes(self, ttl_s: float, rounds: int) -> None:
        data = payload(at=self.world.a.clock.wall(), ttl_s=ttl_s)
        self.world.hand_over(f"0011223344556677-{len(self.world.witness.handoffs)}.json", data)
        for _ in range(rounds):
            self.world.tick(self.world.a)
            self.world.carry()

    @rule(number=which)
    def bob_withdraws(self, number: int) -> None:
        tids = list(self.world.witness.handoffs)
        if tids and number % 4 == 0:
            self.world.at(self.world.a, lambda: self.world.a.engine.withdraw([tids[number % len(tids)]]))

    # ------------------------------------------------------------ lanes, whole and step by step

    @rule(number=which, arrive=st.booleans())
    def a_lane_carries(self, number: int, arrive: bool) -> None:
        lane = self.world.lanes[number % len(self.world.lanes)]
        lane.push(answers_arrive=arrive)
        lane.follow()

    @rule(number=which)
    def a_post_leaves(self, number: int) -> None:
        lane = self.pushed(number)
        source, epoch = lane.source, lane.target.engine.epoch
        self.world.at(source, lambda: source.engine.hello([Hello(lane.target.name, epoch)]))
        offers = self.world.at(source, lambda: lane.wire.offers(source, lane.target))
        if offers:
            self.requests.append(Request(lane, offers, epoch, source.engine))

    @precondition(lambda self: self.requests)
    @rule(number=which)
    def a_post_arrives(self, number: int) -> None:
        """At any time, and any number of times."""
        request = self.requests[number % len(self.requests)]
        source, target = request.lane.source, request.lane.target
        principal = request.lane.wire.principal(source)
        arrivals = [
            Arrival(principal, one.data, one.tid, request.epoch, (*one.path, source.name)) for one in request.offers
        ]
        answers = self.world.at(target, lambda: target.engine.admit(arrivals))
        self.world.witness.answered(answers or [], target)
        request.answers = answers or request.answers

    @precondition(lambda self: any(one.waiting for one in self.requests))
    @rule(number=which, lost=st.booleans())
    def an_answer_is_heard(self, number: int, lost: bool) -> None:
        waiting = [one for one in self.requests if one.waiting]
        self._settle(waiting[number % len(waiting)], lost=lost)

    def _settle(self, request: Request, *, lost: bool) -> None:
        request.waiting = False
        source = request.lane.source
        if source.engine is request.asker:
            told = settlements(request.offers, None if lost else request.answers)
            self.world.at(source, lambda: source.engine.settle(told))

    @rule(number=which, revoke=st.booleans())
    def a_host_asks(self, number: int, revoke: bool) -> None:
        """For states, or for verdicts; what it is told may be heard late, or never."""
        lane = self.pushed(number)
        source, target = lane.source, lane.target
        found = self.world.at(source, lambda: source.engine.debts([target.name]))
        if not found:
            return
        if revoke and found[0].revoke:
            asked = Batch(source.name, found[0].revoke)
            records = self.world.at(target, lambda: target.engine.revoke([asked]))
            self.records += [(lane, record) for record in (records[0] if records else ()) if record]
            return
        query = StatesQuery(source.name, dict(found[0].known), None)
        news = self.world.at(target, lambda: target.engine.states([query]))
        if news:
            self.records += [(lane, record) for record in news[0].records]
            self.world.at(source, lambda: source.engine.lost([Batch(target.name, news[0].lost)]))

    @precondition(lambda self: self.records)
    @rule(number=which, newest=st.booleans())
    def a_host_learns(self, number: int, newest: bool) -> None:
        """Records come late, repeated and out of order."""
        lane, record = self.records[-1] if newest else self.records[number % len(self.records)]
        self.world.at(lane.source, lambda: lane.source.engine.mirror([Mirror(lane.target.name, record, 0)]))

    @rule(number=which, arrives=st.booleans())
    def a_host_fetches(self, number: int, arrives: bool) -> None:
        lane = self.pushed(number)
        source, target = lane.source, lane.target
        found = self.world.at(source, lambda: source.engine.debts([target.name]))
        for tid in found[0].fetch if found else ():
            wanted = Lookup(lane.wire.principal(source), tid, artefact=True)
            answers = self.world.at(target, lambda one=wanted: target.engine.lookup([one]))
            if answers and answers[0].status != 503:
                data = answers[0].data if arrives else None
                self.world.at(source, lambda tid=tid, data=data: source.engine.land([Landing(tid, data)]))

    def come_to_rest(self) -> None:
        for host in self.world.hosts:
            host.faults.crash_after = set()
        for request in self.requests:
            if request.waiting:
                self._settle(request, lost=True)
        self.world.until_quiet(agents.talks, rounds=25, seconds=3.0)


class DialledChainHistories(ChainHistories):
    lanes = "pull push"


class LongChainHistories(ChainHistories):
    lanes = "push push pull"


TestChainHistories = ChainHistories.TestCase
TestDialledChainHistories = DialledChainHistories.TestCase
TestLongChainHistories = LongChainHistories.TestCase
SETTINGS = play(60)
TestChainHistories.settings = TestDialledChainHistories.settings = TestLongChainHistories.settings = SETTINGS
