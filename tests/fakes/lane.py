"""What passes between two hosts, step by step, as their links would do it: pushed, or taken by a visit.

Each may be mixed into a world of its own, or stand between two hosts of a longer way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tests.fakes.witness import Witness
from tests.unit.custody.pair import Host, Pair, settlement

from handoffd.custody.engine import Engine
from handoffd.custody.message import (
    Answer,
    Arrival,
    Attempt,
    Batch,
    Debts,
    Hello,
    Landing,
    Lookup,
    Mirror,
    Offer,
    Principal,
    Settlement,
    StatesQuery,
)
from handoffd.custody.visit import Bring, Lease, Parcel, Telling, Untold, Welcome, Wishes
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.record import Record

Result = TypeVar("Result")


class Ground(Protocol):
    """The world that a lane lies in: every act may be its host's last."""

    witness: Witness

    def at(self, host: Host, act: Callable[[], Result]) -> Result | None: ...


# ---------------------------------------------------------------- pushed


class Pushing:
    """`source` posts to `target`, and asks it what became of that."""

    source: Host
    target: Host
    wire: Pair
    witness: Witness
    at: Callable[..., Any]

    def push(self, *, answers_arrive: bool = True) -> None:
        """One POST of all that is to be sent; a crash on either side loses the answer."""
        self.at(self.source, lambda: self.source.engine.hello([Hello(self.target.name, self.target.engine.epoch)]))
        engine = self.source.engine
        offers = self.at(self.source, lambda: self.wire.offers(self.source, self.target))
        if not offers:
            return
        answers = self.at(self.target, lambda: self.wire.post(self.source, self.target, offers))
        self.witness.answered(answers or [], self.target)
        if self.source.engine is not engine:
            return
        told = settlements(offers, answers if answers_arrive else None)
        self.at(self.source, lambda: self.source.engine.settle(told))

    def follow(self) -> None:
        """A full sweep of states, artefacts, forgets; revokes whenever custody owes them."""
        debts = self.pay_revokes()
        news = self.at(
            self.target, lambda: self.target.engine.states([StatesQuery(self.source.name, dict(debts.known), None)])
        )
        if news:
            mirrors = [Mirror(self.target.name, record, 0) for record in news[0].records]
            self.at(self.source, lambda: self.source.engine.mirror(mirrors))
            self.at(self.source, lambda: self.source.engine.lost([Batch(self.target.name, news[0].lost)]))
        for tid in self.pay_revokes().fetch:
            self._fetch(tid)
        owed = self.pay_revokes().forget
        asked = Batch(self.source.name, owed)
        if owed and self.at(self.target, lambda: self.target.engine.forget([asked])) is not None:
            self.at(self.source, lambda: self.source.engine.forgotten([Batch(self.target.name, owed)]))

    def pay_revokes(self) -> Debts:
        """Ask what is owed, and pay the revokes of it: custody counts them as asked."""
        found = self.at(self.source, lambda: self.source.engine.debts([self.target.name]))
        if not found:
            return Debts()
        asked = Batch(self.source.name, found[0].revoke)
        records = self.at(self.target, lambda: self.target.engine.revoke([asked])) if asked.tids else None
        told = [Mirror(self.target.name, record, 0) for record in (records[0] if records else ()) if record]
        self.at(self.source, lambda: self.source.engine.mirror(told))
        return found[0]

    def _fetch(self, tid: Any) -> None:
        wanted = Lookup(self.wire.principal(self.source), tid, artefact=True)
        answers = self.at(self.target, lambda: self.target.engine.lookup([wanted]))
        if answers is not None and answers[0].status != 503:
            self.at(self.source, lambda: self.source.engine.land([Landing(tid, answers[0].data)]))


class PushLane(Pushing):
    """A pushed lane between two hosts of a way."""

    def __init__(self, ground: Ground, source: Host, target: Host) -> None:
        self.source, self.target, self.wire = source, target, Wire(source, target)
        self.witness, self.at = ground.witness, ground.at

    def carry(self) -> None:
        self.push()
        self.follow()


class Wire(Pair):
    """The wire of a pair that exists already."""

    def __init__(self, a: Host, b: Host) -> None:
        self.a, self.b = a, b
        self.cursors = {}
        if HostName(b.name) not in a.settings.pulls:
            self.greet(a, b)

    def principal(self, source: Host) -> Principal:
        """Whoever is passed on is one that the target lets the source send."""
        sends = self.b.settings.peers[source.name] if source is self.a else frozenset()
        return Principal(source.name, None, super().principal(source).sends | sends)


def settlements(offers: list[Offer], answers: list[Answer] | None) -> list[Settlement]:
    if answers is None:
        return [Settlement(offer.peer, offer.tid, Attempt.UNKNOWN) for offer in offers]
    return [settlement(offer.peer, offer, answer) for offer, answer in zip(offers, answers, strict=True)]


# ---------------------------------------------------------------- taken by a visit

PAGES = 50


@dataclass
class Visit:
    """What the visitor's link remembers; new with either process."""

    session: str = ""
    lender: Engine | None = None
    visitor: Engine | None = None
    since: int = 0
    again: dict[TransferId, None] = field(default_factory=dict)
    extra: list[Record] = field(default_factory=list)


class Visiting:
    """`visitor` dials `lender` and takes what is its own."""

    lender: Host
    visitor: Host
    witness: Witness
    at: Callable[..., Any]
    visit: Visit
    sessions: int

    def call_on(self) -> None:
        """One whole visit: hello if need be, then tellings until there is nothing more."""
        if not self._in_session() and not self.hello():
            return
        for _ in range(PAGES):
            more = self.poll()
            if more is None or not more:
                return

    def _in_session(self) -> bool:
        same = self.visit.lender is self.lender.engine and self.visit.visitor is self.visitor.engine
        return bool(self.visit.session) and same

    def hello(self) -> bool:
        """The second hello: a new session, in which all is told again."""
        self.sessions += 1
        name, lender, visitor = f"s{self.sessions}", self.lender.engine, self.visitor.engine
        welcomed = self.at(self.lender, lambda: lender.welcome([Welcome(self.visitor.name, visitor.epoch, name)]))
        if not welcomed or not welcomed[0] or self.lender.engine is not lender:
            return False
        self.visit = Visit(name, lender, visitor)
        return True

    def poll(self) -> bool | None:
        """Tell a page and do what is asked for; True: there is more. None: it came to nothing."""
        visit, lender = self.visit, self.lender
        asked = Untold(lender.name, visit.since, tuple(visit.again))
        tidings = self.at(self.visitor, lambda: self.visitor.engine.tidings([asked]))
        if tidings is None:
            return None
        records = (*tidings[0].records, *visit.extra)
        for record in records:
            if record.artefact is not None and record.final:
                self.bring(record)
        wishes = self.tell(records, more=tidings[0].more)
        if wishes is None or self.visitor.engine is not visit.visitor:
            return None
        visit.since, visit.extra = tidings[0].number, []
        visit.again = {record.tid: None for record in records if record.final and record.tid not in wishes.forget}
        self.heed(wishes)
        return tidings[0].more

    def tell(self, records: tuple[Record, ...], *, more: bool = False) -> Wishes | None:
        visit, lender = self.visit, self.lender
        telling = Telling(self.visitor.name, self.visitor.engine.epoch, visit.session, records, more)
        answers = self.at(lender, lambda: lender.engine.tell([telling]))
        if answers is None or answers[0].failed:
            return None
        if answers[0].refused:
            self.visit = Visit()
            return None
        return answers[0]

    def bring(self, record: Record) -> None:
        wanted = Lookup(Principal(self.lender.name, None, frozenset()), record.tid, artefact=True)
        found = self.at(self.visitor, lambda: self.visitor.engine.lookup([wanted]))
        if found and found[0].data is not None:
            brought = Bring(self.visitor.name, self.visitor.engine.epoch, record.tid, found[0].data)
            self.at(self.lender, lambda: self.lender.engine.bring([brought]))

    def heed(self, wishes: Wishes) -> None:
        if wishes.forget:
            self.at(self.visitor, lambda: self.visitor.engine.forget([Batch(self.lender.name, wishes.forget)]))
        if wishes.verdict:
            told = self.at(self.visitor, lambda: self.visitor.engine.verdict([Batch(self.lender.name, wishes.verdict)]))
            self.visit.extra += told[0] if told else ()
        if wishes.take:
            self.take(wishes.take)

    def take(self, tids: tuple[TransferId, ...]) -> None:
        wanted = self.at(self.visitor, lambda: self.visitor.engine.wanted([Batch(self.lender.name, tids)]))
        if wanted and wanted[0]:
            self.admit(self.lease(wanted[0]))

    def lease(self, tids: tuple[TransferId, ...]) -> tuple[Parcel, ...]:
        asked = Lease(self.visitor.name, self.visitor.engine.epoch, tids)
        leased = self.at(self.lender, lambda: self.lender.engine.lease([asked]))
        parcels = leased[0].parcels if leased and not leased[0].refused else ()
        for parcel in parcels:
            if parcel.answer.data is not None:
                self.witness.leased(parcel.answer, self.visitor)
        return parcels

    def admit(self, parcels: tuple[Parcel, ...]) -> None:
        principal = Principal(self.lender.name, None, self.visitor.settings.peers[self.lender.name])
        arrivals = [
            Arrival(principal, parcel.answer.data, parcel.answer.tid, path=parcel.path)
            for parcel in parcels
            if parcel.answer.data is not None
        ]
        received = self.at(self.visitor, lambda: self.visitor.engine.receive(arrivals)) if arrivals else None
        self.visit.extra += [one.told for one in received or () if one.told is not None]

    def lose_a_lease(self) -> None:
        """The visitor asks for all there is and never sees the answer."""
        wishes = self.tell(())
        if wishes is not None and wishes.take:
            self.lease(wishes.take)


class PullLane(Visiting):
    """A lane of a way whose far host dials the near one."""

    def __init__(self, ground: Ground, lender: Host, visitor: Host) -> None:
        self.lender, self.visitor = lender, visitor
        self.witness, self.at = ground.witness, ground.at
        self.visit, self.sessions = Visit(), 0
        self.hello()

    def carry(self) -> None:
        self.call_on()
        self.call_on()  # to tell what became of what was leased

    def push(self, *, answers_arrive: bool = True) -> None:
        """Nothing is pushed to a host that cannot be reached; an answer that is lost is a lease's."""
        if answers_arrive:
            self.call_on()
        else:
            self.lose_a_lease()

    def follow(self) -> None:
        self.call_on()
