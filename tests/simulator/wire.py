"""The connection that one daemon calls another one by: payloads pushed, states asked for, debts paid.

A wire loses, delays, repeats and reorders what is said on it; whatever was once said may arrive at any later time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulator.host import SimHost
from tests.simulator.witness import Broken

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
    Settlement,
    StatesQuery,
    Want,
)
from handoffd.protocol.name import HostName
from handoffd.protocol.record import Record

if TYPE_CHECKING:
    from tests.simulator.world import World

STORED = (200, 201, 202)
"""Answers by which a host says that it has a payload."""


@dataclass(slots=True)
class Request:
    """A POST that is under way for ever. `asker`: the engine that waits for its answer, if it still does.

    What is heard is the answer to its first arrival, or none: later ones are copies, and nobody waits for theirs.
    """

    offers: list[Offer]
    epoch: str
    asker: Engine | None
    arrived: bool = False
    answers: list[Answer] | None = None


class Wire:
    """What one host says to another, and what it heard."""

    def __init__(self, world: "World", source: SimHost, target: SimHost) -> None:
        self.source, self.target = source, target
        self.requests: list[Request] = []
        self.learnt: list[Record] = []
        self._world = world
        self._greeted: tuple[Engine, str] | None = None
        self._opened_under: tuple[Engine, str] | None = None

    # ------------------------------------------------------------ payloads

    def post(self, engine: Engine, fresh: Sequence[Offer]) -> None:
        """Say hello, and post what is fresh and what is due; `engine` is the source's, if it still lives."""
        world, source, target = self._world, self.source, self.target
        self._ask_too_soon(engine)
        greeted = source.engine is engine and self._greet(engine)
        if source.engine is not engine:
            return
        if not greeted or self._is_for_an_old_tree(engine):
            if fresh:
                told = [Settlement(target.name, offer.tid, Attempt.NOT_SENT, detail="no hello") for offer in fresh]
                world.at(source, engine.settle, told)
            fresh = ()
        if not greeted or source.engine is not engine:
            return
        due = world.at(source, engine.offers, [Want(target.name, 100, 1 << 23)]) or [()]
        world.witness.offered(source, due[0])
        offers = [*fresh, *due[0]]
        if offers and source.engine is engine:
            self.requests.append(Request(offers, target.engine.epoch, engine))
            world.witness.leave(source, target, offers)

    def _ask_too_soon(self, engine: Engine) -> None:
        """a8: a link that does not wait for the first hello of all gets nothing to send."""
        if engine.noted([self.target.name])[0]:
            return
        offers = self._world.at(self.source, engine.offers, [Want(self.target.name, 100, 1 << 23)])
        if offers and offers[0]:
            raise Broken(f"a8: {self.source.name} offers, and knows no epoch of {self.target.name}")

    def _greet(self, engine: Engine) -> bool:
        """Say hello; tell whether it was taken up by an engine that still lives."""
        source, epoch = self.source, self.target.engine.epoch
        self.note_epoch(engine)
        greeted = self._world.at(source, engine.hello, [Hello(self.target.name, epoch)])
        if greeted != [True] or source.engine is not engine:
            return False
        self._greeted = (engine, epoch)
        return True

    def note_epoch(self, engine: Engine) -> None:
        """Remember for which tree an engine opens attempts; to be called before its first hello on any connection."""
        if self._opened_under is None or self._opened_under[0] is not engine:
            self._opened_under = (engine, engine.noted([self.target.name])[0] or self.target.engine.epoch)

    def _is_for_an_old_tree(self, engine: Engine) -> bool:
        """Tell whether what was opened until now has ended with the peer's old tree: it must not go to the new one."""
        before, now = self._opened_under, (engine, self.target.engine.epoch)
        self._opened_under = now
        return before is not None and before != now

    def _agree(self) -> bool:
        """Say hello if this engine has not, and tell whether the target serves what is asked under its epoch of then.

        To one that has got another tree since it says 412, and the next one says hello again.
        """
        engine, epoch = self._greeted or (None, "")
        if engine is not self.source.engine:
            return self._greet(self.source.engine)
        if epoch != self.target.engine.epoch:
            self._greeted = None
            return False
        return True

    def has_nothing_to_post(self) -> bool:
        """Tell whether a hello would tell nothing new and nothing waits to be sent."""
        waiting = self.source.outbox(self.target.name)
        return not waiting.now and self._greeted == (self.source.engine, self.target.engine.epoch)

    def deliver(self, request: Request) -> None:
        """A POST arrives, at any time and any number of times; but one that B refused was not, and will not be, heard
        of again: the connection between two daemons repeats nothing by itself, and the refusal closed the attempt."""
        source, target = self.source, self.target
        if request.answers is not None and any(_is_refusal(answer) for answer in request.answers):
            return
        again, request.arrived = request.arrived, True
        if again:
            self._world.happened["a request came again"] += 1
        arrivals = [
            Arrival(source.principal, offer.data, offer.tid, request.epoch, (source.name,)) for offer in request.offers
        ]
        answers = self._world.at(target, target.engine.admit, arrivals)
        if answers:
            self._world.witness.answered(source, target, answers)
        if answers and not again:
            request.answers = answers

    def settle(self, request: Request, *, lost: bool) -> None:
        """The asker hears the answer, or that there is none."""
        asker, request.asker = request.asker, None
        if asker is None or asker is not self.source.engine:
            return
        answers = None if lost else request.answers
        if answers is None:
            self._world.happened["an answer was lost"] += 1
        refuses = self.source.faults.failing
        told = settlements(self.target.name, request.offers, answers)
        if self._world.at(self.source, asker.settle, told) and not refuses:
            self._world.witness.settled(self.source, told)
        self._world.witness.shown(self.source)

    # ------------------------------------------------------------ states

    def ask(self) -> None:
        """A daemon asks what became of its handoffs; what it hears it may learn later."""
        debts = self.debts() if self._agree() else None
        if debts is not None and debts.known:
            self.query(debts)

    def query(self, debts: Debts) -> None:
        """Ask for the states of what is open."""
        source, target = self.source, self.target
        news = self._world.at(target, target.engine.states, [StatesQuery(source.name, debts.known, None)])
        if news:
            self._world.witness.told(target, source, news[0].records)
            self.learnt += news[0].records
            if news[0].lost:
                self._world.at(source, source.engine.lost, [Batch(target.name, news[0].lost)])

    def learn(self, record: Record) -> None:
        """A record is heard: late, repeated, out of order."""
        self._world.at(self.source, self.source.engine.mirror, [Mirror(self.target.name, record, 0)])
        self._world.witness.shown(self.source)

    # ------------------------------------------------------------ debts

    def pay(self) -> None:
        """Revokes, artefacts, forgets."""
        debts = self.debts() if self._agree() else None
        if debts is not None:
            self.pay_off(debts)

    def pay_off(self, debts: Debts) -> None:
        """Pay what is owed, each by its own request."""
        world, source, target = self._world, self.source, self.target
        if debts.revoke:
            records = world.at(target, target.engine.revoke, [Batch(source.name, debts.revoke)])
            self.learnt += [record for record in (records[0] if records else ()) if record is not None]
        for tid in debts.fetch:
            found = world.at(target, target.engine.lookup, [Lookup(source.principal, tid, True)])
            if found and found[0].status != 503:
                world.at(source, source.engine.land, [Landing(tid, found[0].data)])
        if debts.forget and world.at(target, target.engine.forget, [Batch(source.name, debts.forget)]):
            world.at(source, source.engine.forgotten, [Batch(target.name, debts.forget)])

    def debts(self) -> Debts | None:
        """Return what the source owes, None if it did not live to say so."""
        found = self._world.at(self.source, self.source.engine.debts, [self.target.name])
        return found[0] if found else None


def _is_refusal(answer: Answer) -> bool:
    return answer.status not in STORED and not answer.final


def settlements(peer: HostName, offers: list[Offer], answers: list[Answer] | None) -> list[Settlement]:
    """Return how attempts ended: the table of docs/custody.md a10."""
    if answers is None:
        return [Settlement(peer, offer.tid, Attempt.UNKNOWN) for offer in offers]
    return [_settlement(peer, offer, answer) for offer, answer in zip(offers, answers, strict=True)]


def _settlement(peer: HostName, offer: Offer, answer: Answer) -> Settlement:
    if answer.status in STORED:
        return Settlement(peer, offer.tid, Attempt.ADMITTED, answer.status, answer.record)
    if answer.final:
        return Settlement(peer, offer.tid, Attempt.ENDED, answer.status, answer.record, answer.reason, answer.detail)
    return Settlement(peer, offer.tid, Attempt.NOT_ADMITTED, answer.status, detail=answer.detail)
