"""Closings at the receiver: from "the end is seen" to "outcome durable, token out of the way" (section 6 and 7).

It owns the group in which receipts end. It does not decide that one ends. The rules that must stay true: pull, then
outcome (R4); outcome, then moves (R5); only then the sender hears of it (R3).
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from handoffd.custody import layout
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.ledger import Place, Receipt
from handoffd.custody.tree import Tree
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import TransferId, is_file_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, delivered_after
from handoffd.protocol.record import Artefact, Record


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
        self._uncleared: dict[TransferId, tuple[Receipt, Record]] = {}

    def close(self, closes: Iterable[Close]) -> None:
        """Flush what must be durable, write the outcomes, then clear up and tell the peers."""
        group = list({one.receipt.tid: one for one in closes}.values())
        if not group:
            return
        self._tree.fs.sync_directories(sorted({directory for one in group for directory in one.flush}))
        written = self._tree.write_outcomes([self._record(one) for one in group])
        for one, record in zip(group, written, strict=True):
            if record is not None:
                self.clear_or_keep(one.receipt, record)
                self._tell(one.receipt, record)

    def repeat(self) -> None:
        """Try again the last moves that the disk refused; runs on every tick, and every start repeats them too."""
        for receipt, record in list(self._uncleared.values()):
            with suppress(OSError):
                self.clear(receipt, record)
                del self._uncleared[receipt.tid]

    def clear_or_keep(self, receipt: Receipt, record: Record) -> None:
        """Make the last moves of a receipt that has its outcome, now or on a later tick; never raises OSError."""
        try:
            self.clear(receipt, record)
        except OSError as error:
            self._tree.ledger.drop_receipt(receipt)  # the outcome is durable, and all that counts from here on
            self._uncleared[receipt.tid] = (receipt, record)
            detail = f"ended; its files wait for the disk: {error.strerror}"
            self._tree.note_edge("parked", receipt.facts, role="receiver", peer=receipt.peer, detail=detail)

    def _record(self, one: Close) -> Record:
        receipt = one.receipt
        delivered = delivered_after(one.reason, claim_seen="claimed" in receipt.edges, sent=True)
        record = self._tree.ending(receipt.facts, one.reason, delivered, receipt.peer, receipt.name, one.detail)
        return replace(record, artefact=one.artefact, edges={**receipt.edges, **record.edges})

    def clear(self, receipt: Receipt, record: Record) -> None:
        """Repeatable last moves: the token to where it is looked for, then the receipt goes."""
        directory = layout.inbox(receipt.peer)
        if receipt.place == Place.PULLED:
            self._tree.reject(directory, f"{receipt.name}.pulled", receipt.name, record)
        elif receipt.place == Place.ACCEPTED:
            self._clear_accepted(receipt, record)
        self._tree.fs.unlink(directory, receipt.name)
        self._tree.ledger.drop_receipt(receipt)

    def _clear_accepted(self, receipt: Receipt, record: Record) -> None:
        """The winner's file, by the end it gave it; the view at claimed/N goes first."""
        directory, name = layout.inbox(receipt.peer), receipt.accepted_name
        self._remove_view(receipt)
        if record.artefact is not None:
            home = layout.ARCHIVE if record.reason is Reason.COMPLETED else layout.REJECTED
            self._tree.place(directory, name, home, f"{record.artefact.name}.original", receipt.tid)
        elif record.reason is Reason.COMPLETED:
            self._tree.place(directory, name, layout.ARCHIVE, archive_name(receipt, record), receipt.tid)
        else:
            self._tree.reject(directory, name, receipt.name, record)

    def _remove_view(self, receipt: Receipt) -> None:
        """Remove the copy at claimed/N if it is still ours: a file with the payload's bytes."""
        try:
            data, _ = self._tree.fs.read(layout.CLAIMED, receipt.name)
        except (FileNotFoundError, NotRegular):
            return
        if transfer_id(data) == receipt.tid:
            self._tree.fs.unlink(layout.CLAIMED, receipt.name)

    def _tell(self, receipt: Receipt, record: Record) -> None:
        assert record.reason is not None
        self._tree.note_edge(
            record.state.value,
            receipt.facts,
            role="receiver",
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
