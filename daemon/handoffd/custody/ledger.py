"""What the engine remembers of open transfers: an index over the directories, never a truth of its own.

It owns the entries, the lookup by T, handoff_id and inode, the signed identities (S) and each peer's list of
changes. Everything here is rebuilt from the directories at start. The rule that must stay true: nothing in here
outlives its transfer by more than the times of protocol/timing.py, so memory follows open work, not history.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from handoffd.custody.household import SHARED
from handoffd.custody.layout import SENT
from handoffd.custody.memory import Forgettable, Signatures
from handoffd.custody.tiding import Unforgotten
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import (
    CANARY_AGENT,
    AgentName,
    BadName,
    FileName,
    Nonce,
    TransferId,
    agent_name,
    routed_name,
)
from handoffd.protocol.name import handoff_id as legal_id
from handoffd.protocol.payload import Envelope, Route, glance, identity_of
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Record

FEED_LIMIT = 20_000
"""Changes kept for one peer; one that is further behind pages through its own list instead (a11)."""
RECENT_LIMIT = 10_000
"""Ended transfers that are still found by their handoff_id; older ones are found by T."""
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Facts:
    """What is reported of a payload; None where its bytes (or an agent's rewrite of them) do not say."""

    tid: TransferId
    handoff_id: str | None = None
    identity: str | None = None
    sender: str | None = None
    to: str | None = None
    expires_at: float = 0.0
    expires_text: str | None = None
    hmac: str | None = None

    @property
    def is_canary(self) -> bool:
        """Whether it is a daemon's test of a link: never in an agents' directory, soon forgotten (section 18)."""
        return self.to == CANARY_AGENT


def facts_of(envelope: Envelope) -> Facts:
    """Return the facts of an admitted payload."""
    return Facts(
        tid=envelope.tid,
        handoff_id=envelope.handoff_id,
        identity=envelope.identity,
        sender=envelope.sender,
        to=envelope.to,
        expires_at=envelope.expires_at,
        expires_text=envelope.expires_text,
        hmac=envelope.hmac,
    )


def facts_in(tid: TransferId, data: bytes) -> Facts:
    """Return what parses of bytes that may be anything (custody.md section 3, last paragraph)."""
    return facts_seen(tid, *glance(data))


def facts_seen(tid: TransferId, way: Route | None, text: str | None, hmac: str | None) -> Facts:
    """Return the facts of what `glance` saw, as far as a record may hold them."""
    if way is None or hmac is None:
        return Facts(tid)
    try:
        sender, to, handoff_id = agent_name(way.sender), agent_name(way.to), legal_id(text)
    except BadName:
        return Facts(tid, expires_at=way.expires_at or 0.0)  # a record with such names could not be read again
    return Facts(
        tid=tid,
        handoff_id=handoff_id,
        identity=identity_of(sender, to, handoff_id, hmac),
        sender=sender,
        to=to,
        expires_at=way.expires_at or 0.0,
        expires_text=None if way.expires_at is None else format_moment(way.expires_at),
        hmac=hmac,
    )


@dataclass(slots=True)
class Sending:
    """One transfer in our custody as its sender. Times named `_b` are CLOCK_BOOTTIME seconds.

    `since_ns`: POSIX nanoseconds of its file's writing, as views show its age.
    """

    facts: Facts
    peer: str
    file: FileName
    place: str
    since_ns: int
    state: State = State.QUEUED
    flying: int = 0
    doubtful: int = 0
    tries: int = 0
    due_b: float = 0.0
    asked_b: float | None = None
    refusal: str = ""
    view: FileName | None = None
    withdrawn: bool = False
    doubt_told: bool = False
    edges: dict[str, str] = field(default_factory=dict)
    """When it reached which state, by the clock of the host that `edges_by` names, else of this one."""
    edges_by: dict[str, str] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=dict)
    """How many milliseconds the clocks of those hosts are ahead of ours, where that was measured."""
    outcome: Record | None = None
    posted_s: float | None = None
    told_in: str | None = None
    """The session in which a peer that pulls told of it last. In memory only."""
    promised: bool = False
    """A peer that pulls has told this process that it has it from us: what it lacks later, it has lost."""
    listed_b: dict[str, float] = field(default_factory=dict)
    """When each peer that may lease it was last told to take it."""
    behind: "Receipt | None" = None
    """What this host only forwards: the receiver's half of the same transfer."""

    @property
    def tid(self) -> TransferId:
        """T."""
        return self.facts.tid

    @property
    def name(self) -> str:
        """The file's name in outbox/ or sent/."""
        return f"{self.facts.tid}~{self.file}"

    @property
    def role(self) -> str:
        """What this host is to it, as the journal says it."""
        return "sender" if self.behind is None else "relay"

    @property
    def path(self) -> tuple[str, ...]:
        """The hosts that handed it on before this one; in memory only."""
        return self.behind.path if self.behind is not None else ()

    def came_from(self, peer: str) -> bool:
        """Tell whether this peer handed it on to this host: it would refuse it as a loop."""
        return self.behind is not None and self.behind.peer == peer

    @property
    def maybe_sent(self) -> bool:
        """Whether a byte of it may have left this host."""
        return self.flying + self.doubtful > 0

    @property
    def may_be_there(self) -> bool:
        """Whether the peer may have it: then this host may not end it alone."""
        return self.maybe_sent or self.place.startswith(SENT)


class Place:
    """Where a receipt's token was last seen."""

    NEW: Final = "new"
    OFFERED: Final = "offered"
    ACCEPTED: Final = "accepted"
    AWAY: Final = "away"
    PULLED: Final = "pulled"
    FORWARDED: Final = "forwarded"
    """In outbox/ or sent/ of the peer it goes on to; the sending knows where."""


@dataclass(slots=True)
class Receipt:
    """One transfer admitted here and not ended: its token is the one thing that can be claimed."""

    facts: Facts
    peer: str
    name: FileName
    inode: int
    place: str
    state: State = State.STORED
    winner: tuple[AgentName, Nonce] | None = None
    edges: dict[str, str] = field(default_factory=dict)
    edges_by: dict[str, str] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=dict)
    """These three as a sending has them; what is only forwarded shares them with its sending."""
    published_ns: int = 0
    away: tuple[str, str] | None = None
    missed_b: float | None = None
    looks: int = 0
    ends_as: Reason | None = None
    stale_told: bool = False
    routed: bool = False
    """This host only forwards it: it is never published here, whatever the configuration says later."""
    path: tuple[str, ...] = ()
    """Hosts it came through, for the next one; in memory only."""

    @property
    def tid(self) -> TransferId:
        """T."""
        return self.facts.tid

    @property
    def role(self) -> str:
        """What this host is to it, as the journal says it."""
        return "relay" if self.routed else "receiver"

    @property
    def receipt_name(self) -> str:
        """The name of the receipt itself, in inbox/<peer>/."""
        return routed_name(self.name) if self.routed else self.name

    @property
    def accepted_name(self) -> str:
        """The token's name after a claim over HTTP; only with a winner."""
        assert self.winner is not None
        return f"{self.name}.accepted~{self.winner[0]}~{self.winner[1]}"


class Feed:
    """What changed for one peer, newest last; a cursor is a place in it."""

    def __init__(self, salt: str) -> None:
        self._salt = salt
        self._last = 0
        self._dropped = 0
        self._numbers: OrderedDict[TransferId, int] = OrderedDict()

    def note(self, tid: TransferId) -> None:
        """Put T last."""
        self._last += 1
        self._numbers.pop(tid, None)
        self._numbers[tid] = self._last
        if len(self._numbers) > FEED_LIMIT:
            self._dropped = self._numbers.popitem(last=False)[1]

    def drop(self, tid: TransferId) -> None:
        """Forget T."""
        self._numbers.pop(tid, None)

    def since(self, cursor: str | None, limit: int) -> tuple[list[TransferId], str] | None:
        """Return at most `limit` T that changed after the cursor and the next cursor; None: the cursor is unknown."""
        if cursor is None:
            return [], f"{self._salt}.{self._last}"
        salt, _, text = cursor.partition(".")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
        if salt != self._salt or not self._dropped <= number <= self._last:
            return None
        return self._after(number, limit)

    def _after(self, number: int, limit: int) -> tuple[list[TransferId], str]:
        newest: list[tuple[TransferId, int]] = []
        for tid in reversed(self._numbers):
            if self._numbers[tid] <= number:
                break
            newest.append((tid, self._numbers[tid]))
        page = newest[::-1][:limit]
        last = page[-1][1] if len(newest) > limit else self._last
        return [tid for tid, _ in page], f"{self._salt}.{last}"


class Ledger:
    """All entries of this host, by T, by handoff_id and by inode."""

    def __init__(self, salt: str) -> None:
        """`salt`: 32 fresh hex digits; peers see the first 12 in cursors, the others are nobody's business."""
        self.sendings: dict[TransferId, Sending] = {}
        self.receipts: dict[TransferId, Receipt] = {}
        self.signatures = Signatures()
        self.forgettable = Forgettable(salt[_SHOWN:])
        self.aside: set[TransferId] = set()
        """What this process touches no more, because its files contradict the rules (guard.py)."""
        self.called: dict[TransferId, None] = {}
        """Peers' canaries that wait for this daemon's answer (custody.md section 18)."""
        self._salt = salt[:_SHOWN]
        self._by_peer: dict[str, dict[TransferId, Sending]] = {}
        self._by_inode: dict[int, Receipt] = {}
        self._pending: Counter[str] = Counter()
        self._by_label: dict[str, TransferId | dict[TransferId, None]] = {}
        """A T alone, as nearly every handoff_id has it: a dict of one costs 200 bytes."""
        self._recent: OrderedDict[TransferId, str] = OrderedDict()
        self._feeds: dict[str, Feed] = {}
        self._unforgotten: dict[str, Unforgotten] = {}

    def add_sending(self, sending: Sending) -> None:
        """Enter a transfer we send."""
        self.sendings[sending.tid] = sending
        self._by_peer.setdefault(sending.peer, {})[sending.tid] = sending
        self._label(sending.facts)

    def drop_sending(self, sending: Sending) -> None:
        """Strike a transfer that has ended."""
        self.sendings.pop(sending.tid, None)
        self._by_peer.get(sending.peer, {}).pop(sending.tid, None)
        self._ended(sending.facts)

    def sendings_to(self, peer: str) -> Iterable[Sending]:
        """Return the open transfers to a peer, or to whichever home of `@agent` leases them first."""
        return self._by_peer.get(peer, {}).values()

    def hand_to(self, sending: Sending, peer: str) -> None:
        """Enter that one of several homes has leased it, or that only this one is left."""
        self._by_peer.get(sending.peer, {}).pop(sending.tid, None)
        sending.peer = peer
        self._by_peer.setdefault(peer, {})[sending.tid] = sending

    def shared(self) -> list[str]:
        """Return every `@agent` for whose homes something waits."""
        return [peer for peer, sendings in self._by_peer.items() if sendings and peer.startswith(SHARED)]

    def add_receipt(self, receipt: Receipt) -> None:
        """Enter a transfer we received."""
        if receipt.tid not in self.receipts:
            self._pending[receipt.peer] += 1
        self.receipts[receipt.tid] = receipt
        self._by_inode[receipt.inode] = receipt
        if receipt.facts.is_canary:
            self.called[receipt.tid] = None
        self._label(receipt.facts)

    def sends(self, tid: TransferId) -> bool:
        """Tell whether T is on its way out of here; what has ended is not, though its last moves may wait."""
        sending = self.sendings.get(tid)
        return sending is not None and sending.outcome is None

    def goes_round(self, tid: TransferId, peer: str) -> bool:
        """Tell whether a T that this peer offers or asks about is one we send on ourselves, and did not get from it."""
        receipt = self.receipts.get(tid)
        return self.sends(tid) and (receipt is None or receipt.peer != peer)

    def drop_receipt(self, receipt: Receipt) -> None:
        """Strike a transfer that has ended."""
        if self.receipts.pop(receipt.tid, None) is not None:
            self._pending[receipt.peer] -= 1
        self._by_inode.pop(receipt.inode, None)
        self.called.pop(receipt.tid, None)
        self._ended(receipt.facts)

    def set_aside(self, receipt: Receipt) -> None:
        """Strike a transfer that no step of this process may touch any more."""
        self.aside.add(receipt.tid)
        self.drop_receipt(receipt)

    def pending(self, peer: str) -> int:
        """Return how many transfers of a peer, or of an agent that speaks HTTP, are open here."""
        return self._pending[peer]

    def receipt_of_inode(self, inode: int) -> Receipt | None:
        """Return the open receipt whose file this is."""
        return self._by_inode.get(inode)

    def labelled(self, handoff_id: str) -> list[TransferId]:
        """Return the T that bear this handoff_id, oldest first: the open ones and the recently ended."""
        found = self._by_label.get(handoff_id, {})
        return list(found) if isinstance(found, dict) else [found]

    def labels(self) -> Iterator[str]:
        """Return the handoff_ids known."""
        return iter(self._by_label)

    def feed(self, peer: str) -> Feed:
        """Return the list of changes kept for a peer."""
        if peer not in self._feeds:
            self._feeds[peer] = Feed(self._salt)
        return self._feeds[peer]

    def note(self, peer: str, tid: TransferId) -> None:
        """Enter that T, which came from this peer, has changed."""
        self.feed(peer).note(tid)
        if peer in self._unforgotten:
            self._unforgotten[peer].note(tid)

    def keep_for_telling(self, peer: str) -> Unforgotten:
        """Keep, from now on, what this peer is to be told until it forgets it: it may be one that we dial."""
        if peer not in self._unforgotten:
            kept = self._unforgotten[peer] = Unforgotten()
            for receipt in self.receipts.values():
                if receipt.peer == peer:
                    kept.note(receipt.tid)
        return self._unforgotten[peer]

    def keep_no_more(self, peer: str) -> None:
        """Keep nothing for telling: this peer asks for states itself."""
        self._unforgotten.pop(peer, None)

    def is_kept_for(self, peer: str) -> bool:
        """Tell whether changes are kept for telling this peer."""
        return peer in self._unforgotten

    def forget_telling(self, peer: str, tid: TransferId) -> None:
        """The peer needs to be told of T no more."""
        if peer in self._unforgotten:
            self._unforgotten[peer].drop(tid)

    def has_gone(self, tid: TransferId) -> None:
        """The outcome of T was deleted: there is nothing left to tell."""
        for kept in self._unforgotten.values():
            kept.drop(tid)

    def remember(self, tid: TransferId, handoff_id: str) -> None:
        """Let a transfer that ended before the last start be found by its handoff_id."""
        self._name(tid, handoff_id)
        self._keep_recent(tid, handoff_id)

    def _label(self, facts: Facts) -> None:
        if facts.handoff_id is not None:
            self._name(facts.tid, facts.handoff_id)

    def _ended(self, facts: Facts) -> None:
        if facts.handoff_id is not None:
            self._keep_recent(facts.tid, facts.handoff_id)

    def _keep_recent(self, tid: TransferId, handoff_id: str) -> None:
        self._recent[tid] = handoff_id
        if len(self._recent) > RECENT_LIMIT:
            tid, handoff_id = self._recent.popitem(last=False)
            self._unname(tid, handoff_id)

    def _name(self, tid: TransferId, handoff_id: str) -> None:
        found = self._by_label.setdefault(handoff_id, tid)
        if isinstance(found, dict):
            found[tid] = None
        elif found != tid:
            self._by_label[handoff_id] = {found: None, tid: None}

    def _unname(self, tid: TransferId, handoff_id: str) -> None:
        found = self._by_label.get(handoff_id)
        if isinstance(found, dict):
            found.pop(tid, None)
        if found in (tid, {}):
            del self._by_label[handoff_id]
