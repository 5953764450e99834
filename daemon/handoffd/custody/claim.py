"""Claims over HTTP: poll, accept, complete, reject (docs/custody.md section 10).

It owns the rename that picks and records an HTTP winner; file-based agents compete through the same name. The rule
that must stay true: the winner's bytes leave only after the rename is flushed, and only the winner ends the claim.
"""

from handoffd.custody import layout
from handoffd.custody.admit import Admitter, ended, problem
from handoffd.custody.closing import Close, Closing, archive_name
from handoffd.custody.ledger import Facts, Place, Receipt
from handoffd.custody.message import Accept, Answer, Finish, Poll
from handoffd.custody.observe import Observer
from handoffd.custody.tree import Tree
from handoffd.protocol.name import Nonce, TransferId, accepted_name, is_transfer_id
from handoffd.protocol.payload import label, transfer_id
from handoffd.protocol.reason import Problem, Reason
from handoffd.protocol.record import Artefact, Record

NOWHERE = TransferId("")


class Claims:
    """Serves agents that have no directory."""

    def __init__(self, tree: Tree, closing: Closing, observer: Observer, admitter: Admitter) -> None:
        self._tree = tree
        self._closing = closing
        self._observer = observer
        self._admitter = admitter

    # ------------------------------------------------------------ poll

    def poll(self, asked: Poll) -> Answer:
        """Return the oldest pending payload of an agent; seeing is not claiming."""
        now = self._tree.clock.wall()
        for receipt in self._of(asked.agent):
            if receipt.place == Place.OFFERED and now <= receipt.facts.expires_at:
                data = self._bytes(layout.HANDOFF, receipt.name, receipt.tid)
                if data is not None:
                    return Answer(200, tid=receipt.tid, record=self._admitter.record(receipt), data=data)
        return Answer(204)

    def _of(self, agent: str) -> list[Receipt]:
        return [r for r in self._tree.ledger.receipts.values() if r.facts.to == agent]

    def _bytes(self, directory: str, name: str, tid: TransferId) -> bytes | None:
        try:
            data, _ = self._tree.fs.read(directory, name)
        except OSError:
            return None
        return data if transfer_id(data) == tid else None

    # ------------------------------------------------------------ accept

    def accept(self, asked: Accept) -> Answer:
        """Claim for an agent: 200 with the exact bytes, 409 for a loser, 410 past expires_at, 404 otherwise."""
        receipt = self._wanted(asked)
        if receipt is None:
            return self._not_open(asked.agent, asked.ident)
        if receipt.place == Place.ACCEPTED:
            return self._again(receipt, asked)
        if receipt.place == Place.NEW:
            return problem(Problem.UNAVAILABLE, receipt.tid, "stored, not yet published; try again")
        if receipt.place != Place.OFFERED:
            return problem(Problem.ALREADY_CLAIMED, receipt.tid, "another claimed it first")
        if self._tree.clock.wall() > receipt.facts.expires_at:
            return Answer(410, tid=receipt.tid, reason=Reason.EXPIRED, detail="past expires_at", final=False)
        return self._win(receipt, asked)

    def _wanted(self, asked: Accept) -> Receipt | None:
        """{id} is T or a handoff_id: the one accepted with this nonce, else the oldest pending."""
        mine = [r for r in self._of(asked.agent) if asked.ident in (r.tid, r.facts.handoff_id)]
        same_nonce = [r for r in mine if r.winner == (asked.agent, asked.nonce)]
        pending = [r for r in mine if r.place == Place.OFFERED]
        return next(iter(same_nonce or pending or mine), None)

    def _win(self, receipt: Receipt, asked: Accept) -> Answer:
        fs, own = self._tree.fs, layout.inbox(receipt.peer)
        nonce = asked.nonce or Nonce(self._tree.salt()[:32])
        try:
            fs.move(layout.HANDOFF, receipt.name, own, accepted_name(receipt.name, asked.agent, nonce))
        except FileNotFoundError:
            self._observer.settle([receipt])
            return problem(Problem.ALREADY_CLAIMED, receipt.tid, "another claimed it first")
        receipt.winner, receipt.place = (asked.agent, nonce), Place.ACCEPTED
        fs.sync_directories((own, layout.HANDOFF))
        # The file's own time, which a restart reads as well: the archive's name is made of it.
        self._observer.mark_claimed(receipt, fs.stat(own, receipt.accepted_name))
        return self._hand_out(receipt, safe_to_retry=asked.nonce is not None)

    def _hand_out(self, receipt: Receipt, *, safe_to_retry: bool) -> Answer:
        data = self._bytes(layout.inbox(receipt.peer), receipt.accepted_name, receipt.tid)
        if data is None:
            return problem(Problem.UNAVAILABLE, receipt.tid, "its file cannot be read; see the daemon's log")
        self._tree.show(layout.CLAIMED, receipt.name, data, durable=False)
        record = self._admitter.record(receipt)
        return Answer(200, tid=receipt.tid, record=record, data=data, safe_to_retry=safe_to_retry)

    def _again(self, receipt: Receipt, asked: Accept) -> Answer:
        if asked.nonce is not None and receipt.winner == (asked.agent, asked.nonce):
            return self._hand_out(receipt, safe_to_retry=True)
        return problem(Problem.ALREADY_CLAIMED, receipt.tid, "claimed with another nonce")

    def _not_open(self, agent: str, ident: str) -> Answer:
        record = self.past(agent, ident)
        if record is None:
            return problem(Problem.NOT_FOUND, NOWHERE, "no such handoff for this token")
        if record.reason in (Reason.COMPLETED, Reason.REJECTED_BY_AGENT):
            return problem(Problem.ALREADY_CLAIMED, record.tid, f"it has ended: {record.reason.value}")
        return ended(record)

    def past(self, agent: str, ident: str) -> Record | None:
        """Return the newest ended transfer to this agent under T or a handoff_id."""
        tids = [TransferId(ident)] if is_transfer_id(ident) else reversed(self._tree.ledger.labelled(ident))
        records = (self._tree.outcome(tid) for tid in tids)
        return next((record for record in records if record is not None and record.to == agent), None)

    # ------------------------------------------------------------ complete and reject

    def finish(self, asked: Finish) -> Answer:
        """End a claim of one's own: 200, again 200; another agent's claim is 409, a foreign one 404."""
        mine = [r for r in self._of(asked.agent) if asked.ident in (r.tid, r.facts.handoff_id)]
        won = [r for r in mine if r.winner is not None and r.winner[0] == asked.agent]
        if won:
            return self._finish_one(won[0], asked)
        if mine:
            by_file = mine[0].place == Place.AWAY
            words = "it was claimed as a file, and ends as one" if by_file else "not claimed over HTTP; accept it first"
            return problem(Problem.NOT_CLAIMED_BY_YOU, mine[0].tid, words)
        record = self.past(asked.agent, asked.ident)
        if record is None:
            return problem(Problem.NOT_FOUND, NOWHERE, "no such handoff for this token")
        same = record.reason is (Reason.REJECTED_BY_AGENT if asked.reject else Reason.COMPLETED)
        return Answer(200, tid=record.tid, record=record) if same else ended_otherwise(record)

    def _finish_one(self, receipt: Receipt, asked: Finish) -> Answer:
        reason = Reason.REJECTED_BY_AGENT if asked.reject else Reason.COMPLETED
        home = layout.REJECTED if asked.reject else layout.ARCHIVE
        artefact: Artefact | None = None
        flush: tuple[str, ...] = ()
        if asked.artefact and transfer_id(asked.artefact) != receipt.tid:
            if _names_another(asked.artefact, receipt.facts):
                words = "the final bytes bear another handoff's handoff_id or hmac; nothing has ended"
                return problem(Problem.BAD_REQUEST, receipt.tid, words)
            artefact = self._store_artefact(receipt, home, asked.artefact)
            if artefact is None:
                return problem(Problem.UNAVAILABLE, receipt.tid, "the artefact was not stored; send it again")
            flush = (home,)
        self._closing.close([Close(receipt, reason, asked.words, artefact, flush)])
        record = self._tree.outcome(receipt.tid)
        if record is None:
            return problem(Problem.UNAVAILABLE, receipt.tid, "the outcome was not stored; send it again")
        return Answer(200, tid=receipt.tid, record=record)

    def _store_artefact(self, receipt: Receipt, home: str, data: bytes) -> Artefact | None:
        """Durable under its final name before the outcome names it; a retry finds its own."""
        digest = transfer_id(data)
        wanted = archive_name(receipt, self._admitter.record(receipt))
        for name in (wanted, receipt.name):
            if self._tree.show(home, name, data) or self._bytes(home, name, digest) is not None:
                return Artefact(name, digest, len(data))
        return None


def _names_another(artefact: bytes, facts: Facts) -> bool:
    handoff_id, hmac = label(artefact)
    return handoff_id not in (None, facts.handoff_id) or hmac not in (None, facts.hmac)


def ended_otherwise(record: Record) -> Answer:
    """Return the refusal of a second, different end."""
    assert record.reason is not None
    detail = f"it has ended already: {record.reason.value}"
    return Answer(409, tid=record.tid, record=record, problem=Problem.NOT_CLAIMED_BY_YOU, detail=detail)
