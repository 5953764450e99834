"""Forward: the publish step of what this host only passes on (docs/custody.md section 11).

It owns the move of a token from the receiver's half to the sender's: `inbox/A/N.new` to `outbox/B/T~N`. When it leaves
from there is the sender's or the lender's matter. The rules that must stay true: a token is forwarded only under a
receipt that says so (`N.routed`), never back to the peer it came from, and not sent before outbox/ is flushed.
"""

from collections.abc import Sequence
from math import inf

from handoffd.custody import layout
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.ledger import Ledger, Place, Receipt, Sending
from handoffd.custody.message import Offer
from handoffd.custody.tree import Settings, Tree
from handoffd.protocol.name import HostName, outbox_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import State, rises


def next_host(settings: Settings, to: str, came_from: str) -> str | None:
    """Return the `<peer>` that an agent's handoffs are passed on to; None: this host does not pass them on."""
    peer = settings.homes.get(to)
    return None if peer is None or came_from in settings.homes.takers(peer) else peer


def told_state(ledger: Ledger, receipt: Receipt) -> State:
    """Return what its sender is told of an open receipt: `stored` only while no byte can be beyond this host."""
    sending = ledger.sendings.get(receipt.tid) if receipt.place == Place.FORWARDED else None
    left = sending is not None and sending.may_be_there
    return State.LEASED if left and rises(receipt.state, State.LEASED) else receipt.state


class Forwarder:
    """Passes tokens on."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._moved: list[Sending] = []
        """Forwarded since outbox/ was flushed last; none of these may leave."""

    def forward(self, receipt: Receipt) -> bool:
        """Hand the token to the sender's half; False while there is nobody to take it, or no room."""
        peer = next_host(self._tree.settings, receipt.facts.to or "", receipt.peer)
        if peer is None:
            return False
        try:
            self._move(receipt, peer)
        except OSError as error:
            detail = f"not yet forwarded: {error.strerror}"
            self._tree.note_edge("stored", receipt.facts, role=receipt.role, peer=receipt.peer, detail=detail)
            return False
        sending = self.join(receipt, peer, layout.outbox(peer))
        sending.due_b = inf
        self._tree.ledger.add_sending(sending)
        self._moved.append(sending)
        return True

    def let_go(self) -> None:
        """Flush what was moved, one flush for each next host, and only then let it leave (section 11.5).

        A lease has a flush of its own, so nothing is flushed for a peer that pulls.
        """
        moved = list(self._moved)
        pushed = [one for one in moved if not self._tree.settings.is_leased(one.peer)]
        self._tree.fs.sync_directories(dict.fromkeys(one.place for one in pushed))
        del self._moved[: len(moved)]
        for one in moved:
            one.due_b = 0.0
        launch(self._tree, [(one, offer) for one in pushed if (offer := self._offer(one)) is not None])
        for peer in {one.peer: None for one in moved}:
            self._tree.owe(peer)

    def _offer(self, sending: Sending) -> Offer | None:
        """Return what goes out at once; None: the sender looks when it is due what is wrong with it."""
        late = self._tree.clock.wall() > sending.facts.expires_at
        if late or sending.withdrawn or sending.outcome is not None:
            return None
        try:
            data, _ = self._tree.fs.read(sending.place, sending.name)
        except (OSError, NotRegular):
            return None
        if transfer_id(data) != sending.tid:
            return None
        return Offer(HostName(sending.peer), sending.tid, data, sending.facts.expires_at, path=sending.path)

    def _move(self, receipt: Receipt, peer: str) -> None:
        fs, own, target = self._tree.fs, layout.inbox(receipt.peer), layout.outbox(peer)
        name = outbox_name(receipt.tid, receipt.name)
        try:
            fs.move(own, f"{receipt.name}.new", target, name)
        except FileExistsError:
            there = fs.stat(target, name)
            if there is not None and there.inode == receipt.inode:
                fs.unlink(own, f"{receipt.name}.new")  # both names of one rename
                return
            self._tree.quarantine(target, name, "a file under a name that only this daemon makes", receipt.facts)
            fs.move(own, f"{receipt.name}.new", target, name)

    def join(self, receipt: Receipt, peer: str, place: str, *, doubtful: int = 0) -> Sending:
        """Make the sender's half of a transfer whose receiver's half this is; both show one state and one story.

        `doubtful`: attempts of an earlier process that may have reached the peer.
        """
        receipt.place = Place.FORWARDED
        receipt.state = State.LEASED if doubtful or place == layout.sent(peer) else State.STORED
        return Sending(
            receipt.facts,
            peer,
            receipt.name,
            place,
            receipt.published_ns or int(self._tree.clock.wall() * 1e9),
            state=receipt.state,
            doubtful=doubtful,
            edges=receipt.edges,
            edges_by=receipt.edges_by,
            clocks=receipt.clocks,
            behind=receipt,
        )


def launch(tree: Tree, offers: Sequence[tuple[Sending, Offer]]) -> None:
    """Let payloads that have just become ours go: at once to a peer that we push to, on demand to one that pulls.

    One that seems late, for a clock has just jumped, opens no attempt (a9); it is due if the clock is set right.
    """
    now = tree.clock.wall()
    in_time = (pair for pair in offers if pair[1].expires_at > now)
    at_once = [(sending, offer) for sending, offer in in_time if not tree.settings.is_leased(sending.peer)]
    for sending, _ in at_once:
        sending.flying = 1
    for _, offer in at_once:
        tree.tell(offer)
    for peer in {sending.peer for sending, _ in offers if tree.settings.is_leased(sending.peer)}:
        tree.owe(peer)
