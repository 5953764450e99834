"""Closings at the receiver: from "the end is seen" to "outcome durable, token out of the way" (section 6 and 7).

It owns the group in which receipts end. It does not decide that one ends. The rules that must stay true: pull, then
outcome (R4); outcome, then moves (R5); only then the sender hears of it (R3).
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from handoffd.custody import layout
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.forward import next_host
from handoffd.custody.guard import Guard
from handoffd.custody.lastmove import LastMoves
from handoffd.custody.ledger import Place, Receipt
from handoffd.custody.tree import Tree
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import is_file_name
from handoffd.protocol.reason import Reason, delivered_after
from handoffd.protocol.record import Artefact, Record, with_course


@dataclass(frozen=True, slots=True)
class Close:
    """One receipt that ends. `flush`: directories to be flushed before the outcome is written."""

    receipt: Receipt
    reason: Reason
    detail: str = ""
    artefact: Artefact | None = None
    flush: tuple[str, ...] = ()


class Closing:
    """Ends receipts in groups."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._guard = Guard(tree)
        self.last: LastMoves[Receipt] = LastMoves(tree, self._clear)

    def close(self, closes: Iterable[Close]) -> None:
        """Flush what must be durable, write the outcomes, then clear up and tell the peers."""
        group = list({one.receipt.tid: one for one in closes}.values())
        if not group:
            return
        self._tree.fs.sync_directories(sorted({directory for one in group for directory in one.flush}))
        wanted = [(one, self._record(one)) for one in group]
        ending = [(one, record) for one, record in wanted if self._guard.may_end(one.receipt, record)]
        written = self._tree.write_outcomes([record for _, record in ending])
        for (one, _), record in zip(ending, written, strict=True):
            if record is not None:
                self.clear_or_keep(one.receipt, record)
                self._tell(one.receipt, record)

    def clear_or_keep(self, receipt: Receipt, record: Record) -> None:
        """Make the last moves of a receipt that has its outcome, now or on a later tick; never raises OSError."""
        if not self.last.make(receipt, record):
            self._tree.ledger.drop_receipt(receipt)  # the outcome is durable, and all that counts from here on

    def _record(self, one: Close) -> Record:
        receipt = one.receipt
        delivered = delivered_after(one.reason, claim_seen="claimed" in receipt.edges, sent=True)
        record = self._tree.ending(receipt.facts, one.reason, delivered, receipt.peer, receipt.name, one.detail)
        onward = next_host(self._tree.settings, receipt.facts.to or "", receipt.peer) if receipt.routed else None
        record = replace(record, artefact=one.artefact, onward=onward)
        return with_course(record, record.by, receipt.edges, receipt.edges_by, receipt.clocks)

    def _clear(self, receipt: Receipt, record: Record) -> None:
        """Repeatable last moves: the token to where it is looked for, then the receipt goes."""
        directory = layout.inbox(receipt.peer)
        if receipt.facts.is_canary:
            self._discard(directory, receipt)
        elif receipt.place == Place.PULLED and receipt.routed:
            self._pass_by(receipt)
        elif receipt.place == Place.PULLED:
            self._tree.reject(directory, f"{receipt.name}.pulled", receipt.name, record)
        elif receipt.place == Place.ACCEPTED:
            self._clear_accepted(receipt, record)
        self._tree.fs.unlink(directory, receipt.receipt_name)
        self._tree.ledger.drop_receipt(receipt)

    def _discard(self, directory: str, receipt: Receipt) -> None:
        """A canary is nobody's payload: neither archive/ nor rejected/ ever has it."""
        accepted = [receipt.accepted_name] if receipt.winner is not None else []
        for name in (f"{receipt.name}.new", f"{receipt.name}.pulled", *accepted):
            self._tree.fs.unlink(directory, name)

    def _pass_by(self, receipt: Receipt) -> None:
        """What was to be forwarded ends beside its record: no agent of this host has to do with it."""
        directory, name = layout.inbox(receipt.peer), f"{receipt.name}.pulled"
        try:
            self._tree.fs.move(directory, name, layout.OUTCOME, layout.passed_payload(receipt.tid))
        except FileExistsError:
            self._tree.fs.unlink(directory, name)
        except FileNotFoundError:
            return  # moved before a crash

    def _clear_accepted(self, receipt: Receipt, record: Record) -> None:
        """The winner's file, by the end it gave it; the view at claimed/N goes first."""
        directory, name = layout.inbox(receipt.peer), receipt.accepted_name
        self._remove_view(receipt)
        if record.artefact is not None:
            home = layout.ARCHIVE if record.reason is Reason.COMPLETED else layout.REJECTED
            self._tree.place(directory, name, home, f"{record.artefact.name}{layout.ORIGINAL}", receipt.tid)
        elif record.reason is Reason.COMPLETED:
            self._tree.place(directory, name, layout.ARCHIVE, archive_name(receipt, record), receipt.tid)
        else:
            self._tree.reject(directory, name, receipt.name, record)

    def _remove_view(self, receipt: Receipt) -> None:
        """Remove the copy at claimed/N if it is still ours: a file with the payload's bytes, or with a beginning of
        them, which a power cut may have left, because views are not flushed."""
        fs = self._tree.fs
        with suppress(FileNotFoundError, NotRegular):
            shown, _ = fs.read(layout.CLAIMED, receipt.name)
            payload, _ = fs.read(layout.inbox(receipt.peer), receipt.receipt_name)
            if payload.startswith(shown):
                fs.unlink(layout.CLAIMED, receipt.name)

    def _tell(self, receipt: Receipt, record: Record) -> None:
        assert record.reason is not None
        self._tree.note_edge(
            record.state.value,
            receipt.facts,
            role=receipt.role,
            peer=receipt.peer,
            file=receipt.name,
            state=record.state.value,
            reason=record.reason.value,
            detail=record.detail,
        )
        self._tree.changed(receipt.peer, receipt.tid)


def archive_name(receipt: Receipt, record: Record) -> str:
    """Return the name agents archive under: `{unix}-{from}-{to}-{handoff_id}.json` (overview.md section 3).

    The time is the claim's: it stays the same when the act is repeated.
    """
    claimed = record.edges.get("claimed") or record.at
    facts = receipt.facts
    name = f"{int(parse_moment(claimed))}-{facts.sender}-{facts.to}-{facts.handoff_id}.json"
    return name if is_file_name(name) else receipt.name
