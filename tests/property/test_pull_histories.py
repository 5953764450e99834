"""Random histories with hosts that dial in: requests late, twice or never, crashes, cuts, wrong clocks.

After every step a witness looks at all roots for the invariants of docs/custody.md section 14. At the end the network
is well again, agents finish what they hold, and every handoff must have come to one outcome on all hosts that had it.
"""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.fakes import agents
from tests.fakes.star import Dialling, Several, Spoke, Star
from tests.property.misfortune import HANDOFFS, Misfortunes, play, which
from tests.unit.custody.pair import Host, payload

from handoffd.custody.engine import Engine
from handoffd.custody.message import Batch
from handoffd.custody.visit import Lease, Parcel, Telling, Untold
from handoffd.protocol.name import TransferId

# Half a minute to a minute and a half, if nobody else wants the two cores.
pytestmark = pytest.mark.timeout(900)


@dataclass
class Answered:
    """What the lender handed out, on its way to the process that asked for it."""

    parcels: tuple[Parcel, ...]
    asker: Engine


class PullHistories(Misfortunes):
    """One machine for every kind of world in which somebody dials in."""

    kind: type[Dialling] = Star

    def __init__(self) -> None:
        super().__init__()
        self.world = self.kind(self.directory)  # type: ignore[call-arg]
        self.tellings: list[tuple[Telling, Engine]] = []
        self.leases: list[tuple[Lease, Engine]] = []
        self.answers: list[Answered] = []

    @property
    def lender(self) -> Host:
        return self.world.lender

    @property
    def b(self) -> Host:
        return self.world.b

    # ------------------------------------------------------------ the writer

    @precondition(lambda self: len(self.world.witness.handoffs) < HANDOFFS)
    @rule(ttl_s=st.sampled_from([6.0, 60.0, 900.0]), rounds=st.integers(0, 2))
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

    # ------------------------------------------------------------ the first hop

    @rule(arrive=st.booleans())
    def a_sends(self, arrive: bool) -> None:
        if self.world.far is not self.b:
            self.world.push(answers_arrive=arrive)

    @rule()
    def a_follows(self) -> None:
        if self.world.far is not self.b:
            self.world.follow()

    # ------------------------------------------------------------ the visitor's requests, each for itself

    @rule()
    def b_says_hello(self) -> None:
        self.world.hello()

    @rule(more=st.booleans())
    def b_tells(self, more: bool) -> None:
        """All it has, on its way; `more` keeps it from counting as all."""
        asked = Untold(self.lender.name, 0)
        found = self.world.at(self.b, lambda: self.b.engine.tidings([asked]))
        if found:
            session = self.world.visit.session
            telling = Telling(self.b.name, self.b.engine.epoch, session, found[0].records, more or found[0].more)
            self.tellings.append((telling, self.b.engine))

    @precondition(lambda self: self.tellings)
    @rule(number=which, heard=st.booleans())
    def a_telling_arrives(self, number: int, heard: bool) -> None:
        """At any time, and any number of times; its answer comes, or does not."""
        telling, asker = self.tellings[number % len(self.tellings)]
        wishes = self.world.at(self.lender, lambda: self.lender.engine.tell([telling]))
        if not wishes or wishes[0].refused or not heard or self.b.engine is not asker:
            return
        told, lender = wishes[0], self.lender.name
        self.world.at(self.b, lambda: self.b.engine.forget([Batch(lender, told.forget)]))
        if told.verdict and self.b.engine is asker:
            self.world.at(self.b, lambda: self.b.engine.verdict([Batch(lender, told.verdict)]))
        if told.take and self.b.engine is asker:
            self._want(told.take)

    def _want(self, tids: tuple[TransferId, ...]) -> None:
        wanted = self.world.at(self.b, lambda: self.b.engine.wanted([Batch(self.lender.name, tids)]))
        if wanted and wanted[0]:
            self.leases.append((Lease(self.b.name, self.b.engine.epoch, wanted[0]), self.b.engine))

    @precondition(lambda self: self.leases)
    @rule(number=which)
    def a_lease_arrives(self, number: int) -> None:
        lease, asker = self.leases[number % len(self.leases)]
        leased = self.world.at(self.lender, lambda: self.lender.engine.lease([lease]))
        if leased and not leased[0].refused:
            for parcel in leased[0].parcels:
                if parcel.answer.data is not None:
                    self.world.witness.leased(parcel.answer, self.b)
            self.answers.append(Answered(leased[0].parcels, asker))

    @precondition(lambda self: self.answers)
    @rule(number=which)
    def payloads_come(self, number: int) -> None:
        """Late, or twice, as two requests for the same may be under way."""
        answered = self.answers[number % len(self.answers)]
        if self.b.engine is answered.asker:
            self.world.admit(answered.parcels)

    @rule()
    def b_visits(self) -> None:
        self.world.call_on()

    def come_to_rest(self) -> None:
        for host in self.world.hosts:
            host.faults.crash_after = set()
        self.world.until_quiet(self._tidy, rounds=25, seconds=3.0)

    @staticmethod
    def _tidy(world: Dialling) -> None:
        agents.talks(world)


class SpokeHistories(PullHistories):
    kind = Spoke


class SeveralHistories(PullHistories):
    """Alice lives on three hosts; each rule is about the one whose turn it is."""

    kind = Several

    @rule(number=which)
    def it_is_another_homes_turn(self, number: int) -> None:
        assert isinstance(self.world, Several)
        self.world.b = self.world.homes[number % len(self.world.homes)]

    @precondition(lambda self: len(self.leases) > 1)
    @rule(number=which)
    def leases_arrive_together(self, number: int) -> None:
        """In one group of the engine: only the rename decides."""
        first = number % (len(self.leases) - 1)
        pair = self.leases[first : first + 2]
        leased = self.world.at(self.lender, lambda: self.lender.engine.lease([lease for lease, _ in pair]))
        for (_, asker), told in zip(pair, leased or (), strict=False):
            if not told.refused:
                self.answers.append(Answered(told.parcels, asker))


TestStarHistories = PullHistories.TestCase
TestSpokeHistories = SpokeHistories.TestCase
TestSeveralHistories = SeveralHistories.TestCase
SETTINGS = play(50)
TestStarHistories.settings = TestSpokeHistories.settings = TestSeveralHistories.settings = SETTINGS
