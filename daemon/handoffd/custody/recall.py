"""Recall: the janitor and revokes take a token back before an agent has it (docs/custody.md section 7).

It owns the pull. It competes with agents by the same rename and loses to a claim. The rule that must stay true (R4):
the token is out of the agents' reach, durably, before an outcome says that they cannot have it.
"""

from collections.abc import Iterable

from handoffd.custody import layout
from handoffd.custody.admit import Admitter
from handoffd.custody.closing import Close, Closing
from handoffd.custody.ending import Ending
from handoffd.custody.ledger import Facts, Place, Receipt
from handoffd.custody.message import Batch
from handoffd.custody.observe import Observer
from handoffd.custody.send import Sender
from handoffd.custody.tree import BadOutcome, Tree
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import Delivered, Reason
from handoffd.protocol.record import Record
from handoffd.protocol.timing import EXPIRY_GRACE_S


class Recall:
    """Takes tokens back."""

    def __init__(
        self, tree: Tree, closing: Closing, observer: Observer, admitter: Admitter, sender: Sender, ending: Ending
    ) -> None:
        self._tree = tree
        self._closing = closing
        self._observer = observer
        self._admitter = admitter
        self._sender = sender
        self._ending = ending

    def janitor(self) -> None:
        """Withdraw what is past expires_at + EXPIRY_GRACE_S, unless the clock has just jumped."""
        pulled = [r for r in self._tree.ledger.receipts.values() if r.place == Place.PULLED]
        due = [] if self._tree.expiry_rests() else [r for r in self._waiting() if self._is_late(r)]
        self.pull(due + pulled, Reason.EXPIRED)

    def _waiting(self) -> list[Receipt]:
        return [r for r in self._tree.ledger.receipts.values() if r.place in (Place.NEW, Place.OFFERED)]

    def _is_late(self, receipt: Receipt) -> bool:
        return self._tree.clock.wall() > receipt.facts.expires_at + EXPIRY_GRACE_S

    def pull(self, receipts: Iterable[Receipt], reason: Reason, detail: str = "") -> None:
        """Take back and close what no agent has; what an agent has is observed instead."""
        back: list[Receipt] = []
        lost: list[Receipt] = []
        for receipt in receipts:
            try:
                (back if self._take_back(receipt, reason) else lost).append(receipt)
            except OSError as error:  # this one waits for the next tick; the others must not
                words = f"cannot be taken back: {error.strerror}"
                self._tree.note_edge("parked", receipt.facts, role=receipt.role, peer=receipt.peer, detail=words)
        self._closing.close(
            Close(receipt, receipt.ends_as or reason, detail, flush=(layout.inbox(receipt.peer), layout.HANDOFF))
            for receipt in back
        )
        self._observer.settle(lost)

    def _take_back(self, receipt: Receipt, reason: Reason) -> bool:
        if receipt.place != Place.PULLED and not self._move_back(receipt, reason):
            return False
        if self._is_token(receipt):
            return True
        receipt.place, receipt.ends_as = Place.OFFERED, None  # not there any more: what became of it is observed
        return False

    def _move_back(self, receipt: Receipt, reason: Reason) -> bool:
        own = layout.inbox(receipt.peer)
        source, name = (own, f"{receipt.name}.new") if receipt.place == Place.NEW else (layout.HANDOFF, receipt.name)
        try:
            self._tree.fs.move(source, name, own, f"{receipt.name}.pulled")
        except FileNotFoundError:
            return False  # an agent was first: that is a claim
        # Kept, for the disk may refuse the outcome: it must not become another one by being tried again.
        receipt.place, receipt.ends_as = Place.PULLED, reason
        return True

    def _is_token(self, receipt: Receipt) -> bool:
        """Tell whether what was pulled is the token; a copy that took its place means that an agent has the token."""
        own, name = layout.inbox(receipt.peer), f"{receipt.name}.pulled"
        seen = self._tree.fs.stat(own, name)
        if seen is None or receipt.inode in (0, seen.inode):
            return True
        self._tree.quarantine(own, name, "not the file that was published", receipt.facts)
        return False

    # ------------------------------------------------------------ a peer's revoke

    def revoke(self, asked: Batch) -> tuple[Record | None, ...]:
        """Answer each T with a final record, or with `claimed`; None for a T that came from somebody else."""
        mine = [self._own_receipt(asked, tid) for tid in asked.tids]
        waiting = [r for r in mine if r is not None and r.place in (Place.NEW, Place.OFFERED, Place.PULLED)]
        self.pull(waiting, Reason.REVOKED, f"revoked by {asked.peer}")
        self._pass_on([r for r in mine if r is not None and r.place == Place.FORWARDED], f"revoked by {asked.peer}")
        self._entomb(asked)
        return tuple(self._answer(asked, tid) for tid in asked.tids)

    def _pass_on(self, forwarded: Iterable[Receipt], detail: str) -> None:
        """End alone what has not left this host; ask the next one for an end of the rest (section 11.6)."""
        for receipt in forwarded:
            sending = self._tree.ledger.sendings.get(receipt.tid)
            if sending is not None:
                self._sender.recall(sending, detail)
        self._ending.flush()

    def _own_receipt(self, asked: Batch, tid: TransferId) -> Receipt | None:
        receipt = self._tree.ledger.receipts.get(tid)
        return receipt if receipt is not None and receipt.peer == asked.peer else None

    def _entomb(self, asked: Batch) -> None:
        """Unknown: a tombstone that a late POST will meet."""
        tree = self._tree
        unknown = [
            tid
            for tid in asked.tids
            if tid not in tree.ledger.receipts and tid not in tree.ledger.sendings and not tree.has_outcome(tid)
        ]
        unknown = [tid for tid in unknown if tree.may_bury(asked.peer)]
        tree.write_outcomes(
            [
                tree.ending(Facts(tid), Reason.REVOKED, Delivered.NOT_DELIVERED, asked.peer, None, "never came here")
                for tid in unknown
            ]
        )

    def _answer(self, asked: Batch, tid: TransferId) -> Record | None:
        receipt = self._own_receipt(asked, tid)
        if receipt is not None:
            return self._admitter.record(receipt)
        if self._tree.ledger.goes_round(tid, asked.peer):
            return self.circle(tid, asked.peer)
        try:
            record = self._tree.outcome(tid)
        except BadOutcome:
            return None  # no verdict that we could give
        return record if record is not None and record.peer == asked.peer else None

    def circle(self, tid: TransferId, peer: str, why: str = "") -> Record:
        """Return what a peer is told of a T that this host sends itself: it stands in no file, for that is the
        sending's to end (section 11.3)."""
        detail = why or f"came round in a circle: {self._tree.settings.host} sends the same bytes itself"
        return self._tree.ending(Facts(tid), Reason.UNROUTABLE, Delivered.NOT_DELIVERED, peer, None, detail)
