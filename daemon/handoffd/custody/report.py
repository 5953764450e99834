"""Report: what peers and agents may read of transfers, and when a transfer is forgotten (section 10 and 12).

It owns the answers to states, lookups and artefact requests, and the deletion of old outcomes. The rules that must
stay true: unknown and foreign look the same, and an outcome is deleted only when no late request can need it.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from handoffd.custody import layout
from handoffd.custody.admit import Admitter, problem
from handoffd.custody.message import Answer, Batch, Lookup, Principal, StatesNews, StatesQuery
from handoffd.custody.passing import forget_copies
from handoffd.custody.send import Sender
from handoffd.custody.tree import BadOutcome, Tree
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import TransferId, is_transfer_id
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Problem, State, rises
from handoffd.protocol.record import Record, fitting
from handoffd.protocol.timing import HOUR_S, PAYLOAD_LIMIT_BYTES, RECORDS_LIMIT_BYTES, STATES_ITEMS

DELETES_PER_TICK = 200
"""Bulk deletes slow down creates in the same directory (ext4), so they come in small portions."""
SWEEP_EVERY_S = HOUR_S


class Reporter:
    """Reads for others, and forgets."""

    def __init__(self, tree: Tree, admitter: Admitter, sender: Sender) -> None:
        self._tree = tree
        self._admitter = admitter
        self._sender = sender
        self._unseen: list[str] | None = None
        """Outcomes that the sweep under way has yet to look at."""
        self._swept_b = 0.0

    # ------------------------------------------------------------ states (a11)

    def states(self, asked: StatesQuery) -> StatesNews:
        """Return what is higher than the peer knows, of what came from it; `lost` is what is not known here.

        What does not fit into an answer is left for the next: of `known` it is asked for again, and the cursor stands
        before it.
        """
        risen, lost = self._compare(asked)
        feed = self._tree.ledger.feed(asked.peer)
        changes = feed.since(asked.since, STATES_ITEMS)
        if changes is None:
            _, cursor = feed.since(None, 0) or ([], "")
            return StatesNews(self._first(risen), cursor, reset=True, lost=lost)
        changed, cursor = self._changed(asked, changes[0]), changes[1]
        told = self._first([*risen, *changed.values()])
        if left := list(changed)[max(0, len(told) - len(risen)) :]:
            before = changes[0][: changes[0].index(left[0])]
            cursor = (feed.since(asked.since, len(before)) or changes)[1] if before else asked.since or cursor
        return StatesNews(told, cursor, lost=lost)

    def _compare(self, asked: StatesQuery) -> tuple[list[Record], tuple[TransferId, ...]]:
        risen, lost = [], []
        for tid, state in asked.known.items():
            with suppress(BadOutcome):  # neither news nor a loss, and no reason to be silent about the others
                record = self._of_peer(asked.peer, tid)
                if record is None:
                    lost.append(tid)
                elif rises(state, record.state):
                    risen.append(record)
        return risen, tuple(lost)

    def _changed(self, asked: StatesQuery, tids: Iterable[TransferId]) -> dict[TransferId, Record]:
        found = {}
        for tid in tids:
            with suppress(BadOutcome):
                record = self._of_peer(asked.peer, tid) if tid not in asked.known else None
                if record is not None:
                    found[tid] = record
        return found

    @staticmethod
    def _first(records: list[Record]) -> tuple[Record, ...]:
        return tuple(records[: fitting(records, RECORDS_LIMIT_BYTES)])

    def _of_peer(self, peer: str, tid: TransferId) -> Record | None:
        receipt = self._tree.ledger.receipts.get(tid)
        if receipt is not None:
            return self._admitter.record(receipt) if receipt.peer == peer else None
        record = self._tree.outcome(tid)
        return record if record is not None and record.peer == peer else None

    # ------------------------------------------------------------ lookups

    def lookup(self, asked: Lookup) -> Answer:
        """Return the record, or the final artefact's bytes, to one of the two parties or the peer's daemon."""
        record = self._find(asked)
        if record is None:
            return problem(Problem.NOT_FOUND, TransferId(""), "no such handoff for this token")
        if not asked.artefact:
            return Answer(200, tid=record.tid, record=record)
        data = self._artefact(record)
        if data is None and self._is_coming(record):
            return problem(Problem.UNAVAILABLE, record.tid, "its artefact is on its way to this host; ask again")
        if data is None or record.artefact is None:
            return problem(Problem.NOT_FOUND, record.tid, "it has no artefact here")
        return Answer(200, tid=record.tid, record=record, data=data, artefact_name=record.artefact.name)

    def _find(self, asked: Lookup) -> Record | None:
        ident = asked.ident
        tids = [TransferId(ident)] if is_transfer_id(ident) else self._tree.ledger.labelled(ident)[::-1]
        records = (self.record(tid) for tid in tids)
        return next((r for r in records if r is not None and _may_read(asked.principal, r)), None)

    def record(self, tid: TransferId) -> Record | None:
        """Return what is known of T on this host, open or ended."""
        receipt, sending = self._tree.ledger.receipts.get(tid), self._tree.ledger.sendings.get(tid)
        if receipt is not None:
            return self._admitter.record(receipt)
        if sending is not None and sending.outcome is None:
            return self._sender.record(sending)
        return self._tree.outcome(tid)

    def tellable(self, tid: TransferId) -> Record | None:
        """Return what a peer that we dial is told of T: of an end not before its artefact is here to be brought along,
        until then that it is claimed."""
        record = self.record(tid)
        if record is None or not self._is_coming(record):
            return record
        at = record.edges.get(State.CLAIMED.value) or record.at
        return replace(record, state=State.CLAIMED, at=at, reason=None, delivered=None, artefact=None, detail="")

    def _is_coming(self, record: Record) -> bool:
        """Tell whether the artefact of what we only passed on has yet to come from the next host."""
        return record.artefact is not None and record.onward is not None and record.tid in self._tree.ledger.sendings

    def _artefact(self, record: Record) -> bytes | None:
        if record.artefact is None or record.artefact.size > PAYLOAD_LIMIT_BYTES:
            return None
        passed = (layout.OUTCOME, layout.passed_artefact(record.tid))
        own = ((directory, record.artefact.name) for directory in (layout.ARCHIVE, layout.REJECTED))
        for directory, name in (passed,) if record.onward is not None else own:
            try:
                data, _ = self._tree.fs.read(directory, name, PAYLOAD_LIMIT_BYTES)
            except (OSError, ValueError):
                continue
            if transfer_id(data) == record.artefact.sha256:
                return data
        return None

    # ------------------------------------------------------------ forgetting (section 12)

    def forget(self, asked: Batch) -> tuple[Record | None, ...]:
        """The peer has recorded these outcomes; remembered in memory only."""
        return tuple(self._forget_one(asked.peer, tid) for tid in asked.tids)

    def _forget_one(self, peer: str, tid: TransferId) -> Record | None:
        self._tree.ledger.forget_telling(peer, tid)
        try:
            record = self._tree.outcome(tid) if tid not in self._tree.ledger.receipts else None
        except BadOutcome:
            return None  # it stays, for the operator
        if record is None or record.peer != peer:
            return None
        self._tree.ledger.feed(peer).drop(tid)
        if record.onward is not None:
            forget_copies(self._tree, tid)
        self._tree.ledger.forgettable.add(tid, self._expiry(record) + self._tree.settings.forget_after_s)
        return record

    def _expiry(self, record: Record) -> float:
        """A tombstone does not say when T expires; at the latest max_ttl from now."""
        if record.expires_at is None:
            return self._tree.clock.wall() + self._tree.settings.max_ttl_s
        try:
            return parse_moment(record.expires_at)
        except ValueError:
            return self._tree.clock.wall() + self._tree.settings.max_ttl_s

    @property
    def sweeps(self) -> bool:
        """Whether outcomes are left to be looked at."""
        return self._unseen is not None

    def sweep(self) -> None:
        """Delete what is due among the next portion of the outcomes; runs on every tick, through all once an hour."""
        now, now_b = self._tree.clock.wall(), self._tree.clock.boottime()
        if self._tree.expiry_rests():
            if self._unseen is not None:
                self._unseen, self._swept_b = None, 0.0  # what is due by the clock as it is now, is to be asked anew
            return
        if self._unseen is None and now_b - self._swept_b > SWEEP_EVERY_S:
            self._swept_b = now_b
            self._tree.ledger.signatures.sweep(now)
            self._unseen = self._tree.fs.names(layout.OUTCOME)
            self._tree.ledger.forgettable.begin(now)
        if self._unseen is not None:
            self._delete(self._next_due(self._unseen, now))
            if not self._unseen:
                self._unseen = None
                self._tree.ledger.forgettable.end()

    def _next_due(self, unseen: list[str], now: float) -> list[str]:
        portion = unseen[-DELETES_PER_TICK:]
        del unseen[-DELETES_PER_TICK:]
        oldest_ns = int((now - self._tree.settings.retain_s) * 1e9)
        is_due = self._tree.ledger.forgettable.is_due
        return [name for name in portion if is_due(name.removesuffix(".json")) or self._is_old(name, oldest_ns)]

    def _is_old(self, name: str, oldest_ns: int) -> bool:
        """Tell whether an outcome is past its time, and not still waiting for its artefact."""
        seen, tid = self._tree.fs.stat(layout.OUTCOME, name), TransferId(name.removesuffix(".json"))
        if seen is None or seen.mtime_ns >= oldest_ns or tid in self._tree.ledger.sendings:
            return False
        try:
            record = self._tree.outcome(tid)
        except BadOutcome:
            return True
        # The written time alone would forget a T whose own time has not come: its bytes could be admitted again.
        return record is None or record.expires_at is None or self._expiry(record) * 1e9 < oldest_ns

    def _delete(self, names: list[str]) -> None:
        if not names:
            return
        # No old name of these T may come back without its outcome: flush what was moved away from first.
        kept = [directory for peer in self._tree.peers for directory in layout.directories_of(peer)]
        self._tree.fs.sync_directories([layout.HANDOFF, *kept])
        for name in names:
            self._tree.fs.unlink(layout.OUTCOME, name)
            self._tree.ledger.has_gone(TransferId(name.removesuffix(".json")))


def _may_read(principal: Principal, record: Record) -> bool:
    if principal.agent is not None:
        return principal.agent in (record.sender, record.to)
    return record.peer == principal.peer
