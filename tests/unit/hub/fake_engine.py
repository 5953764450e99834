"""An engine in memory that keeps the contract of custody's methods, a desk with a real thread, and people.

It keeps no files and flushes nothing; what it answers is what docs/custody.md says of a receiver.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from handoffd.custody.desk import DeskClosed
from handoffd.custody.ledger import Facts
from handoffd.custody.message import (
    Accept,
    Answer,
    Arrival,
    Batch,
    Changed,
    Finish,
    Lookup,
    Poll,
    Principal,
    StatesNews,
    StatesQuery,
    Waiting,
)
from handoffd.protocol.admission import Inadmissible, admit
from handoffd.protocol.name import AgentName, HostName, Nonce, TransferId
from handoffd.protocol.payload import Envelope, route, transfer_id
from handoffd.protocol.reason import HTTP_STATUS, PROBLEM_STATUS, RANK, STATE_OF, Problem, Reason, State
from handoffd.protocol.record import Artefact, Record

NOW_S = 1_790_000_000.0
NOW = "2026-09-21T14:13:20.000Z"


@dataclass
class Held:
    """One transfer in the fake's memory. `peer` is where it came from."""

    record: Record
    data: bytes
    peer: str
    expires_at: float
    winner: tuple[AgentName, Nonce | None] | None = None
    artefact: bytes | None = None
    version: int = 0


class FakeEngine:
    """The receiving half of custody, in memory."""

    epoch = "e-fake"

    def __init__(self, homes: Iterable[str], agents: Iterable[str], max_payload_bytes: int = 1 << 20) -> None:
        self.homes = frozenset(homes)
        self.agents = frozenset(agents)
        self.limit_bytes = max_payload_bytes
        self.held: dict[TransferId, Held] = {}
        self.tombs: dict[TransferId, Record] = {}
        self.forgotten: list[TransferId] = []
        self.now_s = NOW_S
        self.version = 0
        self.news: list[Changed | Waiting] = []
        self.disk_trouble = ""

    def try_disk(self, items: list[None]) -> list[str]:
        return [self.disk_trouble] * len(items)

    # ------------------------------------------------------------ b1 to b7

    def admit(self, items: list[Arrival]) -> list[Answer]:
        return [self._admit(item) for item in items]

    def _admit(self, item: Arrival) -> Answer:
        tid = transfer_id(item.data)
        if item.claimed_tid is not None and item.claimed_tid != tid:
            return problem(Problem.BAD_REQUEST, tid, "Idempotency-Key is not the SHA-256 of the body")
        try:
            seen = admit(item.data, agents=self.agents, max_ttl_s=86_400.0, limit_bytes=self.limit_bytes)
        except Inadmissible as error:
            way = route(item.data)
            if way is not None and way.sender not in item.principal.sends:
                return problem(Problem.FORBIDDEN, tid)
            return Answer(422, tid, reason=Reason.REFUSED_POLICY, detail=error.detail, final=True)
        if seen.sender not in item.principal.sends:
            return problem(Problem.FORBIDDEN, tid)
        if seen.to not in self.homes:
            return problem(Problem.NOT_HERE, tid)
        return self._known(tid) or self._take(item, seen)

    def _known(self, tid: TransferId) -> Answer | None:
        record = self.tombs.get(tid) or (self.held[tid].record if tid in self.held else None)
        if record is None:
            return None
        return ended(record) if record.final else Answer(200, tid, record)

    def _take(self, item: Arrival, seen: Envelope) -> Answer:
        tid = seen.tid
        if self.now_s > seen.expires_at:
            self.tombs[tid] = self._record(tid, State.EXPIRED, reason=Reason.EXPIRED)
            return ended(self.tombs[tid])
        record = self._record(tid, State.PUBLISHED, handoff_id=seen.handoff_id, sender=seen.sender, to=seen.to)
        self.held[tid] = Held(record, item.data, item.principal.peer, seen.expires_at)
        self.news.append(Waiting(seen.to, f"{tid}.json", Facts(tid, to=seen.to)))
        return Answer(201, tid, record)

    def _record(self, tid: TransferId, state: State, **more: Any) -> Record:
        return Record(tid=tid, state=state, by="hub-vm", at=NOW, **more)

    # ------------------------------------------------------------ claims over HTTP

    def poll(self, items: list[Poll]) -> list[Answer]:
        return [self._poll(item) for item in items]

    def _poll(self, item: Poll) -> Answer:
        for tid, held in self.held.items():
            if held.record.to == item.agent and held.record.state is State.PUBLISHED:
                return Answer(200, tid, held.record, data=held.data)
        return Answer(204)

    def accept(self, items: list[Accept]) -> list[Answer]:
        return [self._accept(item) for item in items]

    def _accept(self, item: Accept) -> Answer:
        mine = self._mine(item.agent, item.ident)
        again = [held for held in mine if held.winner == (item.agent, item.nonce) and item.nonce is not None]
        open_ones = [held for held in mine if held.record.state is State.PUBLISHED]
        held = next(iter(again or open_ones or mine), None)
        if held is None:
            return problem(Problem.NOT_FOUND, TransferId(""))
        if held not in again and held not in open_ones:
            return problem(Problem.ALREADY_CLAIMED, held.record.tid)
        if held in open_ones:
            if self.now_s > held.expires_at:
                return Answer(410, held.record.tid, reason=Reason.EXPIRED)
            held.winner = (item.agent, item.nonce)
            self._rise(held, State.CLAIMED)
        return Answer(200, held.record.tid, held.record, data=held.data, safe_to_retry=item.nonce is not None)

    def finish(self, items: list[Finish]) -> list[Answer]:
        return [self._finish(item) for item in items]

    def _finish(self, item: Finish) -> Answer:
        held = next(iter(self._mine(item.agent, item.ident)), None)
        reason = Reason.REJECTED_BY_AGENT if item.reject else Reason.COMPLETED
        if held is None:
            return problem(Problem.NOT_FOUND, TransferId(""))
        if held.winner is None or (held.record.final and held.record.reason is not reason):
            return problem(Problem.NOT_CLAIMED_BY_YOU, held.record.tid)
        if not held.record.final:
            self._rise(held, STATE_OF[reason], reason=reason, detail=item.words)
            if item.artefact is not None and item.artefact != held.data:
                held.artefact = item.artefact
                shown = Artefact("1-bob-alice.json", sha256(item.artefact).hexdigest(), len(item.artefact))
                held.record = replace(held.record, artefact=shown)
        return Answer(200, held.record.tid, held.record)

    def _mine(self, agent: AgentName, ident: str) -> list[Held]:
        return [h for h in self.held.values() if h.record.to == agent and ident in (h.record.tid, h.record.handoff_id)]

    def _rise(self, held: Held, state: State, **more: Any) -> None:
        self.version += 1
        held.version = self.version
        held.record = replace(held.record, state=state, **more)
        self.news.append(Changed(held.peer))

    # ------------------------------------------------------------ reading

    def lookup(self, items: list[Lookup]) -> list[Answer]:
        return [self._lookup(item) for item in items]

    def _lookup(self, item: Lookup) -> Answer:
        who = item.principal
        for held in reversed(self.held.values()):
            party = held.peer == who.peer or who.agent in (held.record.to, held.record.sender)
            if party and item.ident in (held.record.tid, held.record.handoff_id):
                return self._show(held, item.artefact)
        # A tid beside it, as a careless engine might leave there: the hub must not let it out.
        return problem(Problem.NOT_FOUND, TransferId("f" * 64), f"no {item.ident}")

    def _show(self, held: Held, artefact: bool) -> Answer:
        record = held.record
        if not artefact:
            return Answer(200, record.tid, record)
        if held.artefact is None:
            return problem(Problem.NOT_FOUND, record.tid)
        return Answer(200, record.tid, record, data=held.artefact, artefact_name='1-bob"\r\n-älice.json')

    # ------------------------------------------------------------ peers

    def states(self, items: list[StatesQuery]) -> list[StatesNews]:
        return [self._states(item) for item in items]

    def _states(self, item: StatesQuery) -> StatesNews:
        since = item.since
        known = since is None or (since.isascii() and since.isdigit() and int(since[:9]) <= self.version)
        after = int(since[:9]) if since is not None and known else None
        mine = [held for held in self.held.values() if held.peer == item.peer]
        if after is not None:
            risen = [held.record for held in mine if held.version > after]
        else:
            risen = [h.record for h in mine if h.record.tid in item.known and self._is_higher(h, item)]
        lost = tuple(tid for tid in item.known if tid not in self.held)
        return StatesNews(tuple(risen), str(self.version), reset=not known, lost=lost)

    def _is_higher(self, held: Held, item: StatesQuery) -> bool:
        return RANK[held.record.state] > RANK[item.known[held.record.tid]]

    def revoke(self, items: list[Batch]) -> list[tuple[Record | None, ...]]:
        return [tuple(self._revoke(item.peer, tid) for tid in item.tids) for item in items]

    def _revoke(self, peer: str, tid: TransferId) -> Record:
        held = self.held.get(tid)
        if held is None or held.peer != peer:
            return self.tombs.setdefault(tid, self._record(tid, State.REVOKED, reason=Reason.REVOKED))
        if held.record.state is State.PUBLISHED:
            self._rise(held, State.REVOKED, reason=Reason.REVOKED)
        return held.record

    def forget(self, items: list[Batch]) -> list[tuple[Record | None, ...]]:
        return [tuple(self._forget(tid) for tid in item.tids) for item in items]

    def _forget(self, tid: TransferId) -> Record | None:
        held = self.held.get(tid)
        if held is not None and held.record.final:
            self.forgotten.append(tid)
        return None if held is None else held.record

    # ------------------------------------------------------------ operators

    def withdraw(self, items: list[TransferId]) -> list[Record | None]:
        return [self._revoke(self.held[tid].peer, tid) if tid in self.held else None for tid in items]

    def resolve(self, items: list[TransferId]) -> list[Record | None]:
        for tid in items:
            if tid in self.held:
                self._rise(self.held[tid], State.UNKNOWN, reason=Reason.OUTCOME_UNKNOWN)
        return [self.held[tid].record if tid in self.held else None for tid in items]


def problem(kind: Problem, tid: TransferId, detail: str = "") -> Answer:
    """Return a refusal that leaves nothing behind."""
    return Answer(PROBLEM_STATUS[kind], tid, problem=kind, detail=detail)


def ended(record: Record) -> Answer:
    """Return what is said of a T that has an outcome."""
    assert record.reason is not None
    return Answer(HTTP_STATUS[record.reason], record.tid, record, reason=record.reason, final=True)


class ThreadDesk:
    """Runs the methods on one thread and tells news after each, as the real desk does. `gate` holds it back."""

    def __init__(self, engine: FakeEngine, on_news: Callable[[list[Changed | Waiting]], None]) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.groups: list[int] = []
        self.waiting = 0
        self._engine = engine
        self._on_news = on_news
        self._thread = ThreadPoolExecutor(1)
        self._closed = False

    def submit(self, method: Callable[[list[Any]], list[Any]], item: Any) -> "Future[Any]":
        return self._queue(lambda: self._run(method, [item])[0])

    def submit_many(self, method: Callable[[list[Any]], list[Any]], items: list[Any]) -> "Future[list[Any]]":
        return self._queue(lambda: self._run(method, items))

    def stop(self) -> None:
        """Serve what is queued, then end the thread."""
        self._closed = True
        self.gate.set()
        self._thread.shutdown()

    def _queue(self, work: Callable[[], Any]) -> "Future[Any]":
        if self._closed:
            raise DeskClosed("the custody thread has stopped")
        return self._thread.submit(work)

    def _run(self, method: Callable[[list[Any]], list[Any]], items: list[Any]) -> list[Any]:
        self.waiting += 1
        self.gate.wait()
        self.waiting -= 1
        self.groups.append(len(items))
        results = method(items)
        news, self._engine.news = self._engine.news, []
        if news:
            self._on_news(news)
        return results


# ---------------------------------------------------------------- people

BOB, ALICE, SVEN = AgentName("bob"), AgentName("alice"), AgentName("sven")
PEER = HostName("bob-vm")
TOKENS: dict[str, Principal] = {
    "token-of-alice": Principal("@alice", ALICE, frozenset({ALICE})),
    "token-of-sven": Principal("@sven", SVEN, frozenset({SVEN})),
    "token-of-bob-vm": Principal(PEER, None, frozenset({BOB})),
    "token-of-gordon-vm": Principal("gordon-vm", None, frozenset({AgentName("gordon")})),
}
OPERATOR_TOKEN = "token-of-the-operator"


def digest(token: str) -> str:
    """Return what a token is kept as."""
    return sha256(token.encode()).hexdigest()
