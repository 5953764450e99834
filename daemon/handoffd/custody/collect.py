"""Collect: the receiver's half of a pull link: what to lease, what becomes of it, what to tell (section 11.2, 11.3).

It owns no admission of its own: leased bytes go the way of a POST. The rules that must stay true: every leased T comes
to an end that the lender is told, and a refusal is an outcome, durable before it is told, unless T is already in other
hands here.
"""

from collections.abc import Sequence

from handoffd.custody.admit import Admitter
from handoffd.custody.ledger import facts_in
from handoffd.custody.message import Answer, Arrival, Batch, Changed
from handoffd.custody.recall import Recall
from handoffd.custody.report import Reporter
from handoffd.custody.tree import BadOutcome, Tree
from handoffd.custody.visit import Received, Tidings, Untold
from handoffd.protocol.name import TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Problem, Reason, State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import TELL_ITEMS

REFUSALS = {Problem.FORBIDDEN: Reason.REFUSED_POLICY, Problem.NOT_HERE: Reason.UNROUTABLE}
"""What a POST is refused with and sent again for; a lease is answered once and for all."""


class Collector:
    """Serves our own link to a peer that we dial."""

    def __init__(self, tree: Tree, admitter: Admitter, recall: Recall, reporter: Reporter) -> None:
        self._tree = tree
        self._admitter = admitter
        self._recall = recall
        self._reporter = reporter

    # ------------------------------------------------------------ what to lease

    def wanted(self, asked: Batch) -> tuple[TransferId, ...]:
        """Return what is not known here; of the rest the peer is told again what became of it."""
        return tuple(tid for tid in asked.tids if not self._tell_again(asked.peer, tid))

    def _tell_again(self, peer: str, tid: TransferId) -> bool:
        ledger = self._tree.ledger
        known = (tid in ledger.receipts or self._tree.has_outcome(tid)) and not ledger.goes_round(tid, peer)
        if known:
            self._note(peer, tid)
        return known

    def _note(self, peer: str, tid: TransferId) -> None:
        self._tree.ledger.keep_for_telling(peer).note(tid)
        self._tree.tell(Changed(peer))

    # ------------------------------------------------------------ what leased bytes become

    def receive(self, arrivals: Sequence[Arrival]) -> list[Received]:
        """Admit leased bytes as a group, and end here what cannot be admitted."""
        answers = self._admitter.admit(arrivals)
        ends = [self._end(arrival, answer) for arrival, answer in zip(arrivals, answers, strict=True)]
        written = self._tree.write_outcomes([record for record in ends if record is not None])
        for record in written:
            if record is not None:
                self._tree.note_refusal(record)
        return [self._received(arrival, answer) for arrival, answer in zip(arrivals, answers, strict=True)]

    def _end(self, arrival: Arrival, answer: Answer) -> Record | None:
        """Return the outcome of a refusal that no POST would have made final; None: there is nothing to write."""
        tid, peer = transfer_id(arrival.data), arrival.principal.peer
        reason = REFUSALS.get(answer.problem) if answer.problem else None
        if answer.status == 422 and answer.record is None:
            too_large = len(arrival.data) > self._tree.settings.max_payload_bytes
            reason = Reason.TOO_LARGE if too_large else Reason.REFUSED_POLICY
        ledger = self._tree.ledger
        held = tid in ledger.sendings or tid in ledger.receipts or self._tree.has_outcome(tid)
        if reason is None or tid != arrival.claimed_tid or held or not self._tree.may_bury(peer):
            return None
        facts = facts_in(tid, arrival.data)
        return self._tree.ending(facts, reason, Delivered.NOT_DELIVERED, peer, None, answer.detail)

    def _received(self, arrival: Arrival, answer: Answer) -> Received:
        tid, peer = TransferId(arrival.claimed_tid or transfer_id(arrival.data)), arrival.principal.peer
        if self._tree.ledger.goes_round(tid, peer):
            return Received(tid, told=self._recall.circle(tid, peer, answer.detail))
        return Received(tid, later=not self._tell_again(peer, tid))

    # ------------------------------------------------------------ verdicts

    def verdict(self, asked: Batch) -> tuple[Record, ...]:
        """End what the peer wants an end of, or say that it is claimed; return what is told and stands in no file."""
        records = self._recall.revoke(asked)
        return tuple(
            record
            for tid, record in zip(asked.tids, records, strict=True)
            if record is not None and not self._tell_again(asked.peer, tid)
        )

    # ------------------------------------------------------------ what to tell

    def tidings(self, asked: Untold) -> Tidings:
        """Return a page of what the peer is to be told. Nothing in it could be undone by a power cut (R3)."""
        kept = self._tree.ledger.keep_for_telling(asked.peer)
        tids, number, more = kept.since(asked.since, TELL_ITEMS)
        records = []
        for tid in dict.fromkeys((*tids, *asked.again)):
            record = self._tellable(tid, asked.peer)
            if record is None:
                kept.drop(tid)
            else:
                records.append(record)
        return Tidings(tuple(records), number, more)

    def _tellable(self, tid: TransferId, peer: str) -> Record | None:
        try:
            return self._reporter.tellable(tid)
        except BadOutcome:
            # It stays, for the operator. That it is here is all that can be said; unsaid, the peer would call it lost.
            return Record(tid, State.STORED, self._tree.settings.host, self._tree.now_text(), peer=peer)

    def is_pushed_to(self, peer: str) -> None:
        """The peer calls us for states: nothing need be kept for telling it."""
        self._tree.ledger.keep_no_more(peer)
