"""Custody as small as the link can be tested against: payloads and attempts in memory, one thread, the same answers.

It keeps the rules the link relies on: an offer opens one attempt, which must be settled exactly once; nothing is
offered before the epoch is noted.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

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
    Want,
)
from handoffd.custody.visit import Received, Tidings, Untold
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import State
from handoffd.protocol.record import Record

PEER = HostName("alice-vm")
FAR_FUTURE_S = 4_000_000_000.0


@dataclass
class Entry:
    """One payload in outbox/."""

    data: bytes
    expires_at: float
    open: bool = False
    over: bool = False


@dataclass
class FakeEngine:
    """What was said to custody stands in the lists; what is owed is set by the test."""

    entries: dict[TransferId, Entry] = field(default_factory=dict)
    settled: list[Settlement] = field(default_factory=list)
    epochs: list[str] = field(default_factory=list)
    mirrored: list[Mirror] = field(default_factory=list)
    landed: list[Landing] = field(default_factory=list)
    confirmed: list[TransferId] = field(default_factory=list)
    owed: Debts = field(default_factory=Debts)
    missing: list[TransferId] = field(default_factory=list)
    news: list[Record] = field(default_factory=list)
    page: int = 100
    received: dict[TransferId, Arrival] = field(default_factory=dict)
    is_full: bool = False
    circle: Record | None = None
    ends: dict[TransferId, Record] = field(default_factory=dict)
    """What a verdict tells that stands in no file."""
    arrivals: list[Arrival] = field(default_factory=list)
    verdicts: list[TransferId] = field(default_factory=list)
    forgets: list[TransferId] = field(default_factory=list)
    artefacts: dict[str, bytes] = field(default_factory=dict)
    notes_epochs: bool = True
    on_hello: Callable[[Hello], None] = lambda hello: None

    def take(self, data: bytes, expires_at: float = FAR_FUTURE_S) -> Offer:
        """Take a payload and open its first attempt."""
        return self._enter(Entry(data, expires_at, open=True))

    def put(self, data: bytes, expires_at: float = FAR_FUTURE_S) -> Offer:
        """Have a payload in the backlog."""
        return self._enter(Entry(data, expires_at))

    def _enter(self, entry: Entry) -> Offer:
        # Whole at once: the test's thread enters while custody's may be offering.
        tid = TransferId(sha256(entry.data).hexdigest())
        self.entries[tid] = entry
        return Offer(PEER, tid, entry.data, entry.expires_at)

    def offers(self, wants: list[Want]) -> list[tuple[Offer, ...]]:
        return [self._offer(want) for want in wants]

    def _offer(self, want: Want) -> tuple[Offer, ...]:
        due = [(tid, entry) for tid, entry in list(self.entries.items()) if not (entry.open or entry.over)]
        due.sort(key=lambda pair: pair[1].expires_at)
        for _, entry in due[: want.items]:
            entry.open = True
        return tuple(Offer(want.peer, tid, entry.data, entry.expires_at) for tid, entry in due[: want.items])

    def settle(self, settlements: list[Settlement]) -> list[None]:
        for one in settlements:
            entry = self.entries[one.tid]
            assert entry.open, f"{one.tid} was settled without an open attempt"
            entry.open = False
            entry.over |= one.attempt in (Attempt.ADMITTED, Attempt.ENDED)
            self.settled.append(one)
        return [None] * len(settlements)

    def hello(self, hellos: list[Hello]) -> list[bool]:
        for hello in hellos:
            self.on_hello(hello)
            self.epochs.append(hello.epoch)
        return [self.notes_epochs] * len(hellos)

    def noted(self, peers: list[HostName]) -> list[str]:
        return [(self.epochs or [""])[-1]] * len(peers)

    def mirror(self, mirrors: list[Mirror]) -> list[Record | None]:
        self.mirrored += mirrors
        return [mirror.record if mirror.record.artefact is not None else None for mirror in mirrors]

    def lost(self, batches: list[Batch]) -> list[None]:
        for batch in batches:
            self.missing += batch.tids
        return [None] * len(batches)

    def land(self, landings: list[Landing]) -> list[None]:
        self.landed += landings
        return [None] * len(landings)

    def debts(self, peers: list[HostName]) -> list[Debts]:
        owed, self.owed = self.owed, Debts(known=self.owed.known, next_s=self.owed.next_s)
        return [owed] * len(peers)

    def forgotten(self, batches: list[Batch]) -> list[None]:
        for batch in batches:
            self.confirmed += batch.tids
        return [None] * len(batches)

    # ---------------------------------------------------------------- a peer that lends

    def pushed_to(self, peers: list[HostName]) -> list[None]:
        return [None] * len(peers)

    def tidings(self, asked: list[Untold]) -> list[Tidings]:
        """Tell what the test put into `news`, page by page; numbers count records."""
        return [self._tidings(one) for one in asked]

    def _tidings(self, asked: Untold) -> Tidings:
        page = self.news[asked.since : asked.since + self.page]
        again = [one for one in self.news if one.tid in asked.again and one not in page]
        number = asked.since + len(page)
        return Tidings((*page, *again), number, more=number < len(self.news))

    def wanted(self, batches: list[Batch]) -> list[tuple[TransferId, ...]]:
        return [tuple(tid for tid in batch.tids if tid not in self.received) for batch in batches]

    def receive(self, arrivals: list[Arrival]) -> list[Received]:
        for one in arrivals:
            assert one.claimed_tid is not None
            self.arrivals.append(one)
            if not self.is_full:
                self.received[TransferId(one.claimed_tid)] = one
        return [Received(TransferId(one.claimed_tid or ""), self.circle, later=self.is_full) for one in arrivals]

    def verdict(self, batches: list[Batch]) -> list[tuple[Record, ...]]:
        self.verdicts += [tid for batch in batches for tid in batch.tids]
        return [tuple(self.ends[tid] for tid in batch.tids if tid in self.ends) for batch in batches]

    def forget(self, batches: list[Batch]) -> list[tuple[Record | None, ...]]:
        self.forgets += [tid for batch in batches for tid in batch.tids]
        return [(None,) * len(batch.tids) for batch in batches]

    def lookup(self, asked: list[Lookup]) -> list[Answer]:
        return [Answer(200, data=self.artefacts.get(one.ident)) for one in asked]

    def attempts(self, tid: TransferId) -> list[Attempt]:
        """How the attempts of one payload ended, in order."""
        return [one.attempt for one in self.settled if one.tid == tid]

    def state(self, tid: TransferId) -> State | None:
        """The last state mirrored of a transfer."""
        told = [mirror.record.state for mirror in self.mirrored if mirror.record.tid == tid]
        return told[-1] if told else None


class FakeDesk:
    """One thread that runs the engine's methods; its deaths are kept for the test to look at."""

    def __init__(self) -> None:
        self.deaths: list[BaseException] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="custody")

    def submit(self, method: Callable[[list[Any]], list[Any]], item: Any) -> Future[Any]:
        return self._run(lambda: method([item])[0])

    def submit_many(self, method: Callable[[list[Any]], list[Any]], items: list[Any]) -> Future[list[Any]]:
        return self._run(lambda: method(items))

    def stop(self) -> None:
        """End the thread; what is queued runs before."""
        self._thread.shutdown(wait=True)

    def _run(self, work: Callable[[], Any]) -> Future[Any]:
        future = self._thread.submit(work)
        future.add_done_callback(self._note_death)
        return future

    def _note_death(self, future: Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self.deaths.append(error)
