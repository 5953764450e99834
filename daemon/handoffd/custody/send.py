"""Send and follow: offers, their answers, the peer's states, doubt and giving up (docs/custody.md section 5, 7, 8).

It owns what an answer means for a file in outbox/ or sent/. It knows no HTTP: the link decodes answers. The rules
that must stay true: no payload leaves before the peer's epoch is durable (I4), states only rise (I6), and what may
have been sent is never ended by this host's clock alone (I5).
"""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from handoffd.custody import layout
from handoffd.custody.acquaintance import Acquaintances
from handoffd.custody.ending import Ending
from handoffd.custody.entry import DOUBT_AFTER_S
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.ledger import Receipt, Sending
from handoffd.custody.message import Attempt, Batch, Debts, Hello, Landing, Mirror, Offer, Owed, Settlement, Want
from handoffd.custody.tree import Tree
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Problem, Reason, State, rises
from handoffd.protocol.record import Record, as_heard
from handoffd.protocol.timing import (
    DEBTS_S,
    DOUBT_ASK_S,
    EXPIRY_GRACE_S,
    HOUR_S,
    REVOKE_AFTER_S,
    STATES_ITEMS,
    retry_delay_s,
)

LOST = "the peer no longer knows what it had stored"
PERMANENT = {403: Reason.REFUSED_POLICY, 413: Reason.TOO_LARGE, 421: Reason.UNROUTABLE}
"""Refusals that do not wait out the lifetime once every attempt is closed (section 5)."""


class Sender:
    """Carries what was taken."""

    def __init__(self, tree: Tree, ending: Ending, peers: Acquaintances, chance: Callable[[], float]) -> None:
        self._tree = tree
        self._ending = ending
        self._chance = chance
        self._peers = peers

    # ------------------------------------------------------------ the peer's epoch (section 8)

    def hello(self, told: Hello) -> bool:
        """Take up the epoch of a fresh /hello; tell whether payloads may go out under it."""
        self._peers.hear(told.peer)
        if self._peers.pulls(told.peer) or not self.take_up(told.peer, told.epoch):
            return False
        self._tree.tell(Owed(told.peer))
        return True

    def take_up(self, peer: str, epoch: str) -> bool:
        """Make this the peer's epoch: what its old tree may have had ends first. False: not now. Raises OSError."""
        if self._peers.has_changed(peer):
            self._peers.change_mode(peer)
        noted = self._peers.epoch(peer)
        if noted != epoch:
            if noted is not None and not self._end_lost(peer):
                return False
            self._peers.note(peer, epoch)
        return True

    def _end_lost(self, peer: str) -> bool:
        """The peer's tree is another one: end all it may have had, durably, before its new epoch is noted."""
        lost = [s for s in self._tree.ledger.sendings_to(peer) if s.outcome is None and s.may_be_there]
        for sending in lost:
            self._ending.alone(sending, Reason.PEER_LOST_STATE, "the peer's relay/ tree is a new one")
        return len(self._ending.flush()) == len(lost)

    # ------------------------------------------------------------ a9: offers

    def offers(self, want: Want) -> tuple[Offer, ...]:
        """Open an attempt for the due payloads with the oldest deadlines."""
        if not self._peers.agreed(want.peer) or self._peers.pulls(want.peer):
            return ()
        ready: list[tuple[Sending, bytes]] = []
        size = 0
        for sending in heapq.nsmallest(want.items, self._due(want.peer), key=lambda one: one.facts.expires_at):
            data = self.read_exact(sending)
            if data is None:
                continue
            size += len(data)
            if ready and size > want.limit_bytes:
                break
            ready.append((sending, data))
        self._ending.flush()
        # Opened last: an attempt that nobody hears of would stay open for ever.
        for sending, _ in ready:
            sending.flying += 1
        return tuple(Offer(want.peer, s.tid, data, s.facts.expires_at, s.tries, s.path) for s, data in ready)

    def _due(self, peer: str) -> Iterable[Sending]:
        now, now_b = self._tree.clock.wall(), self._tree.clock.boottime()
        return (
            one
            for one in self._tree.ledger.sendings_to(peer)
            if one.flying == 0
            and one.outcome is None
            and one.due_b <= now_b
            and one.facts.expires_at > now
            and not one.withdrawn
            and not is_sent(one)
        )

    def read_exact(self, sending: Sending) -> bytes | None:
        """Return the bytes of a file in outbox/; None if they cannot be read now, or are not T's: then it has ended."""
        try:
            data, _ = self._tree.fs.read(sending.place, sending.name)
        except (FileNotFoundError, NotRegular):
            data = b""
        except OSError:
            return None  # it cannot be read now; that says nothing of its bytes
        if transfer_id(data) == sending.tid:
            return data
        try:
            self._tree.quarantine(sending.place, sending.name, "bytes do not hash to T", sending.facts)
        except OSError:
            return None  # again when it is due again
        self._ending.alone(sending, Reason.CONTENT_CHANGED, "the file in outbox/ was changed on disk")
        return None

    # ------------------------------------------------------------ a10: what became of them

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Close attempts by the table of a10, as one group."""
        for told in settlements:
            sending = self._tree.ledger.sendings.get(told.tid)
            if sending is not None:
                self._settle_one(sending, told)
        self._ending.flush()

    def _settle_one(self, sending: Sending, told: Settlement) -> None:
        sending.flying = max(0, sending.flying - 1)
        if told.attempt in (Attempt.ADMITTED, Attempt.ENDED, Attempt.UNKNOWN):
            sending.doubtful += 1
        if sending.outcome is not None:
            return
        # Before anything that the disk may refuse: what stays in outbox/ must not be due again at once.
        sending.tries += 1
        sending.posted_s = told.posted_s or sending.posted_s
        sending.due_b = self._tree.clock.boottime() + retry_delay_s(sending.tries, self._chance())
        if sending.behind is not None and sending.maybe_sent:
            # Its sender hears that the next host may have it.
            self.rise(sending, State.LEASED, self._tree.now_text(), self._tree.settings.host)
        if told.attempt is Attempt.ADMITTED:
            self._admitted(sending, told)
        elif told.attempt is Attempt.ENDED:
            self._ended(sending, told)
        else:
            self._refused(sending, told)

    def _admitted(self, sending: Sending, told: Settlement) -> None:
        self._move_to_sent(sending)
        if told.record is None:
            self.rise(sending, State.STORED, None, sending.peer)
            return
        record = as_heard(told.record, sending.peer, told.clock_offset_ms)
        by = record.timed_by("stored")
        self.rise(sending, State.STORED, record.edges.get("stored"), by, record.ahead_ms(by))
        self.take_over(sending, record)

    def _move_to_sent(self, sending: Sending) -> None:
        if not is_sent(sending):
            place = layout.sent(sending.peer)
            self._tree.fs.move(sending.place, sending.name, place, sending.name)
            sending.place = place

    def _ended(self, sending: Sending, told: Settlement) -> None:
        if told.record is not None and told.record.tid == sending.tid and told.record.final:
            self._ending.as_peer_says(sending, as_heard(told.record, sending.peer, told.clock_offset_ms))
        elif told.reason is not None:
            self._ending.alone(sending, told.reason, told.detail)

    def _refused(self, sending: Sending, told: Settlement) -> None:
        if told.status or told.detail:
            sending.refusal = (f"{told.status}: {told.detail}" if told.status else told.detail)[:300]
        permanent = PERMANENT.get(told.status) if told.attempt is Attempt.NOT_ADMITTED else None
        # In a circle the peer never admitted T from us and never will, whatever became of other attempts (section 5).
        if permanent is not None and (told.problem is Problem.LOOP or not sending.maybe_sent):
            self._ending.alone(sending, permanent, told.detail)

    # ------------------------------------------------------------ a11, a12: following

    def mirror(self, told: Sequence[Mirror]) -> list[Record | None]:
        """Take over the peer's states; return, for each, the record whose artefact is to be fetched, or None."""
        for one in told:
            self._peers.hear(one.peer)
            sending = self._tree.ledger.sendings.get(one.record.tid)
            if sending is not None and sending.peer == one.peer and sending.outcome is None:
                self.take_over(sending, as_heard(one.record, one.peer, one.clock_offset_ms))
        self._ending.flush()
        return [self._fetchable(one.record.tid) for one in told]

    def _fetchable(self, tid: TransferId) -> Record | None:
        sending = self._tree.ledger.sendings.get(tid)
        return sending.outcome if sending is not None else None

    def take_over(self, sending: Sending, record: Record) -> None:
        """Take over what the peer says of a transfer, its clocks held against ours (`as_heard`).

        An end takes effect with the next flush of the endings.
        """
        # One that pulls may have been leased what it never received.
        said_so = sending.promised if self._peers.pulls(sending.peer) else is_sent(sending)
        if is_tombstone(record) and said_so:
            # A tombstone for what the peer said it had stored: it has lost something (section 8).
            self._ending.alone(sending, Reason.PEER_LOST_STATE, LOST)
        elif record.final:
            self._ending.as_peer_says(sending, record)
        else:
            self._climb(sending, record)

    def _climb(self, sending: Sending, record: Record) -> None:
        # Whoever can tell a state has it, whatever became of our POST's answer; only what is in sent/ is followed.
        self._move_to_sent(sending)
        for state in (State.STORED, State.LEASED, State.PUBLISHED, State.CLAIMED):
            at = record.edges.get(state.value) or (record.at if state is record.state else None)
            if at is not None and (state is record.state or rises(state, record.state)):
                by = record.timed_by(state.value)
                self.rise(sending, state, at, by, record.ahead_ms(by))
        if sending.state is State.CLAIMED:
            self._ending.show_view(sending)

    def rise(self, sending: Sending, state: State, at: str | None, by: str, ahead_ms: int | None = None) -> None:
        """Enter a higher state, seen by that host and timed by its clock; a relay tells it to the peer it came from."""
        if not rises(sending.state, state):
            return
        own = by == self._tree.settings.host
        sending.state = state
        if at is not None:
            sending.edges[state.value] = at
        if not own:
            sending.edges_by[state.value] = by
        if ahead_ms is not None:
            sending.clocks[by] = ahead_ms
        if sending.behind is not None:
            self._rise_behind(sending.behind, state)
        self._tree.note_edge(
            state.value,
            sending.facts,
            role=sending.role,
            peer=sending.peer,
            state=state.value,
            peer_at=None if own else at,
            timed_by=None if own or by == sending.peer else by,
            clock_offset_ms=ahead_ms,
        )

    def _rise_behind(self, receipt: Receipt, state: State) -> None:
        if rises(receipt.state, state):
            receipt.state = state
            self._tree.changed(receipt.peer, receipt.tid)

    def lost(self, told: Batch) -> None:
        """The peer, in the same epoch, does not know T in our sent/: it has lost something (section 8)."""
        for tid in told.tids:
            sending = self._tree.ledger.sendings.get(tid)
            if sending and sending.peer == told.peer and sending.outcome is None and is_sent(sending):
                self._ending.alone(sending, Reason.PEER_LOST_STATE, LOST)
        self._ending.flush()

    def land(self, landed: Landing) -> None:
        """a15: bring the artefact home, or go on without."""
        sending = self._tree.ledger.sendings.get(landed.tid)
        if sending is not None:
            self._ending.land(sending, landed.data)

    # ------------------------------------------------------------ section 7: expiry, revoke, doubt

    def expire(self) -> None:
        """End alone what never left; give up what nobody answers for (doubt_max). Runs on every tick."""
        self._peers.notice_sleep()
        self._end_withdrawn()
        if self._tree.expiry_rests():
            return
        now = self._tree.clock.wall()
        for sending in list(self._tree.ledger.sendings.values()):
            if sending.outcome is None and now > sending.facts.expires_at:
                self._expire_one(sending, now - sending.facts.expires_at)
        self._ending.flush()

    def _expire_one(self, sending: Sending, late_s: float) -> None:
        if not sending.may_be_there:
            self._ending.alone(sending, Reason.EXPIRED, sending.refusal or self._never_left(sending.peer))
        elif sending.facts.is_canary and late_s > EXPIRY_GRACE_S:
            self._ending.alone(sending, Reason.OUTCOME_UNKNOWN, "no word of it came home in its lifetime")
        elif late_s > self._doubt_max_s(sending.peer) and self._peers.is_silent(sending.peer):
            self._ending.alone(sending, Reason.OUTCOME_UNKNOWN, "the peer gave no verdict within doubt_max")
        elif late_s > DOUBT_AFTER_S.get(sending.state.value, math.inf) + EXPIRY_GRACE_S and not sending.doubt_told:
            sending.doubt_told = True
            self._tree.note_edge(
                "in_doubt", sending.facts, role=sending.role, peer=sending.peer, detail=sending.refusal
            )

    def _never_left(self, peer: str) -> str:
        takers = self._tree.settings.homes.takers(peer)
        if takers == (peer,):
            return f"never reached {peer}"
        return f"no home of {peer[1:]} came for it: {', '.join(takers) or 'it has none now'}"

    def _end_withdrawn(self) -> None:
        """End what was withdrawn while an attempt was open that then closed, or while the disk refused the outcome."""
        for sending in list(self._tree.ledger.sendings.values()):
            if sending.withdrawn and sending.outcome is None and not sending.may_be_there:
                self._ending.alone(sending, Reason.REVOKED, "withdrawn before it left")
        self._ending.flush()

    def withdraw(self, tid: TransferId) -> Record | None:
        """The writer takes it back: at once if it never left, else by asking the peer. Returns the record, or None.

        A record with a detail: the disk refused the wish, so a restart would forget it.
        """
        sending = self._tree.ledger.sendings.get(tid)
        if sending is None:
            return self._tree.outcome(tid)
        told = self._note_wish(sending) if sending.outcome is None else ""
        self.recall(sending, "withdrawn before it left")
        self._ending.flush()
        return sending.outcome or replace(self.record(sending), detail=told)

    def recall(self, sending: Sending, detail: str) -> None:
        """Want an end: at the next flush of the endings if it never left, else the peer is asked for it."""
        if sending.outcome is None:
            sending.withdrawn, sending.asked_b = True, None
            if not sending.may_be_there:
                self._ending.alone(sending, Reason.REVOKED, detail)
            self._tree.owe(sending.peer)

    def _note_wish(self, sending: Sending) -> str:
        """Make the wish durable; what never left needs none, its end is written at once. Return what went wrong."""
        detail = ""
        if sending.may_be_there and self._tree.fs.stat(layout.WISH, sending.tid) is None:
            try:
                self._tree.put_note(layout.WISH, sending.tid, b"")
            except OSError as error:  # asked for all the same
                detail = f"the wish is not written down, a restart would forget it: {error.strerror}"
        if detail or not sending.withdrawn:
            self._tree.note_edge(
                "withdraw_asked", sending.facts, role=sending.role, peer=sending.peer, file=sending.file, detail=detail
            )
        return detail

    def _doubt_max_s(self, peer: str) -> float:
        """How long past expires_at a silent peer is waited for: behind a relay may be a silent one (section 7)."""
        settings = self._tree.settings
        return settings.doubt_max_s + (HOUR_S if peer in settings.relays else 0.0)

    def record(self, sending: Sending) -> Record:
        """Return what is known of an open transfer."""
        return self._tree.current(sending, sending.file)

    def resolve(self, tid: TransferId) -> Record | None:
        """The operator gives up one in doubt: outcome_unknown. Returns the record, or None if T is not open."""
        sending = self._tree.ledger.sendings.get(tid)
        if sending is None:
            return None
        if sending.outcome is None:
            self._ending.alone(sending, Reason.OUTCOME_UNKNOWN, "given up by the operator")
            self._ending.flush()
        return sending.outcome

    def debts(self, peer: HostName) -> Debts:
        """Return what the link owes a peer now; revokes named here count as asked."""
        forget, fetch = self._ending.owed(peer, STATES_ITEMS)
        if not self._peers.epoch(peer):
            return Debts()
        now, now_b = self._tree.clock.wall(), self._tree.clock.boottime()
        revoke: list[TransferId] = []
        for sending in self._tree.ledger.sendings_to(peer):
            if len(revoke) < STATES_ITEMS and self.wants_verdict(sending, now, now_b):
                sending.asked_b = now_b
                revoke.append(sending.tid)
        known = {
            one.tid: one.state for one in self._tree.ledger.sendings_to(peer) if one.outcome is None and is_sent(one)
        }
        return Debts(tuple(revoke), forget, fetch, known, self._next_s(peer, now, now_b))

    def wants_verdict(self, sending: Sending, now: float, now_b: float) -> bool:
        """Tell whether the peer should be asked for an end of this one now."""
        if sending.outcome is not None or not sending.may_be_there or sending.flying:
            return False
        if sending.facts.is_canary:
            return False  # given up instead: a revoke would leave a tombstone at the peer for weeks
        if sending.asked_b is not None and now_b - sending.asked_b < DOUBT_ASK_S:
            return False
        if sending.withdrawn:
            return sending.state is not State.CLAIMED
        patience_s = REVOKE_AFTER_S if is_sent(sending) else 0.0
        late = now > sending.facts.expires_at + patience_s and not self._tree.expiry_rests()
        return late and sending.state is not State.CLAIMED

    def _next_s(self, peer: str, now: float, now_b: float) -> float:
        """Seconds until something may be owed: a retry that is due, an expiry, a verdict to be asked for again."""
        open_ones = (one for one in self._tree.ledger.sendings_to(peer) if one.outcome is None)
        waits = (self._wait_s(one, now, now_b) for one in open_ones)
        return max(0.05, min((wait for wait in waits if wait > 0.0), default=DEBTS_S))

    def _wait_s(self, one: Sending, now: float, now_b: float) -> float:
        late_s = now - one.facts.expires_at
        if one.asked_b is not None:
            return min(DEBTS_S, one.asked_b + DOUBT_ASK_S - now_b)
        if is_sent(one):
            return DEBTS_S if one.state is State.CLAIMED else min(DEBTS_S, REVOKE_AFTER_S - late_s)
        if late_s >= 0.0:
            return 1.0
        # One that is under way now may be in sent/ by then: its expiry is the next time to look.
        return min(DEBTS_S, one.due_b - now_b if one.due_b > now_b and not one.flying else max(1.0, -late_s))


def is_sent(sending: Sending) -> bool:
    """Tell whether the file lies in sent/."""
    return sending.place.startswith(layout.SENT)


def is_tombstone(record: Record) -> bool:
    """Tell whether a record says no more than that the peer was asked for an end of what it does not know."""
    return record.final and record.handoff_id is None and record.reason is Reason.REVOKED
