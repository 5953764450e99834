"""Canaries: handoffs by which an operator tries a link, from daemon to daemon (docs/custody.md section 18).

It owns both ends of their way: sent without a file of an agent's, claimed and completed by the receiving daemon as if
by an agent that speaks HTTP. Between the two they are handoffs like all others. The rules that must stay true: no
canary is ever in a directory of agents, and each ends and is forgotten soon after its expires_at, whatever the peer.
"""

from collections import deque
from contextlib import suppress

from handoffd.custody import layout
from handoffd.custody.admit import problem
from handoffd.custody.closing import Close, Closing
from handoffd.custody.filesystem import NewFile
from handoffd.custody.ledger import Place, Receipt, Sending
from handoffd.custody.message import Answer, Journey, Launch
from handoffd.custody.observe import Observer
from handoffd.custody.origin import Origin
from handoffd.custody.tree import Tree
from handoffd.protocol.admission import Inadmissible, admit
from handoffd.protocol.name import CANARY_AGENT, HostName, Nonce, TransferId, accepted_name
from handoffd.protocol.payload import Envelope, transfer_id
from handoffd.protocol.reason import Problem, Reason
from handoffd.protocol.timing import CANARY_LIMIT_BYTES, CANARY_TTL_S

REMEMBERED = 8
"""Canaries to one peer whose course is told: who waits for the end of one may ask after the next ones were sent."""


class Canaries:
    """Sends canaries, at most one at a time to each peer, and answers those of peers."""

    def __init__(self, tree: Tree, closing: Closing, observer: Observer) -> None:
        self._tree = tree
        self._closing = closing
        self._observer = observer
        self._origin = Origin(tree)
        self._last: dict[HostName, deque[Sending]] = {}

    # ------------------------------------------------------------ ours

    def launch(self, asked: Launch) -> Answer:
        """Take custody of a canary and offer it: 201, or a refusal that leaves nothing behind."""
        tid = transfer_id(asked.data)
        try:
            envelope = admit(asked.data, agents={CANARY_AGENT}, max_ttl_s=CANARY_TTL_S, limit_bytes=CANARY_LIMIT_BYTES)
        except Inadmissible as error:
            return problem(Problem.BAD_REQUEST, tid, f"not a canary: {error.detail}")
        return self._refusal(envelope, asked.peer) or self._send(envelope, asked)

    def _refusal(self, envelope: Envelope, peer: HostName) -> Answer | None:
        tree, tid, now = self._tree, envelope.tid, self._tree.clock.wall()
        if peer not in tree.settings.peers:
            return problem(Problem.BAD_REQUEST, tid, f"{peer[:63]!r} is not a peer of the running daemon; reload it")
        if not now < envelope.expires_at <= now + CANARY_TTL_S:
            return problem(Problem.BAD_REQUEST, tid, f"a canary expires within {CANARY_TTL_S:g} s from now")
        if tid in tree.ledger.sendings or tree.has_outcome(tid):
            return problem(Problem.BAD_REQUEST, tid, "this canary was sent before; each is a new one")
        if any(one.facts.is_canary for one in tree.ledger.sendings_to(peer)):
            return problem(Problem.RATE_LIMITED, tid, f"a canary is on its way to {peer}; wait for its end")
        return None

    def _send(self, envelope: Envelope, asked: Launch) -> Answer:
        salt = self._tree.salt()
        (failure,) = self._tree.fs.create([NewFile(layout.TMP, salt, asked.data)])
        if failure is not None:
            return problem(Problem.UNAVAILABLE, envelope.tid, f"it cannot be written: {failure.strerror}")
        (sending,) = self._origin.take([(envelope, salt, asked.peer)])
        if sending is None:
            return problem(Problem.UNAVAILABLE, envelope.tid, "it cannot be put into outbox/; see the daemon's log")
        self._last.setdefault(asked.peer, deque(maxlen=REMEMBERED)).append(sending)
        self._origin.offer(sending, asked.data)
        return Answer(201, tid=sending.tid, record=self._origin.record(sending))

    def journey(self, tid: TransferId) -> Journey | None:
        """Tell how far one of the last canaries to a peer has come; None for any other T."""
        found = (one for last in self._last.values() for one in last if one.tid == tid)
        return next((Journey(self._origin.record(one), one.posted_s) for one in found), None)

    # ------------------------------------------------------------ a peer's

    def repeat(self) -> None:
        """Answer what a crash or a full disk left unanswered; runs on every tick."""
        for tid in list(self._tree.ledger.called):
            self.answer(tid)

    def answer(self, tid: TransferId) -> None:
        """Claim it, durably, then complete it; what is late is the janitor's. Again is harmless."""
        receipt = self._tree.ledger.receipts.get(tid)
        if receipt is None:
            return
        if receipt.place == Place.NEW and self._tree.clock.wall() <= receipt.facts.expires_at:
            with suppress(OSError):  # again on the next tick
                self._claim(receipt)
        if receipt.place == Place.ACCEPTED:
            self._closing.close([Close(receipt, Reason.COMPLETED, "answered by the daemon itself")])

    def _claim(self, receipt: Receipt) -> None:
        """The token's hidden name becomes that of a claim over HTTP, without having been in handoff/."""
        fs, own, nonce = self._tree.fs, layout.inbox(receipt.peer), Nonce(self._tree.salt()[:32])
        fs.move(own, f"{receipt.name}.new", own, accepted_name(receipt.name, CANARY_AGENT, nonce))
        receipt.winner, receipt.place = (CANARY_AGENT, nonce), Place.ACCEPTED
        fs.sync_directories((own,))
        self._observer.mark_claimed(receipt)
