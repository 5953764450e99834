"""Send and follow: offers, their answers, the peer's states, doubt and giving up (docs/custody.md section 5, 7, 8).

It owns what an answer means for a file in outbox/ or sent/. It knows no HTTP: the link decodes answers. The rules
that must stay true: no payload leaves before the peer's epoch is durable (I4), states only rise (I6), and what may
have been sent is never ended by this host's clock alone (I5).
"""

import heapq
import json
from collections.abc import Callable, Iterable, Sequence

from handoffd.custody import layout
from handoffd.custody.ending import Ending
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.ledger import Sending
from handoffd.custody.message import Attempt, Batch, Debts, Hello, Landing, Mirror, Offer, Owed, Settlement, Want
from handoffd.custody.tree import Tree
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State, rises
from handoffd.protocol.record import Record
from handoffd.protocol.timing import DEBTS_S, DOUBT_ASK_S, EXPIRY_GRACE_S, REVOKE_AFTER_S, STATES_ITEMS, retry_delay_s

PERMANENT = {403: Reason.REFUSED_POLICY, 413: Reason.TOO_LARGE, 421: Reason.UNROUTABLE}
"""Refusals that do not wait out the lifetime once every attempt is closed (section 5)."""
NOTE_LIMIT_BYTES = 4096
DAMAGED = ""
"""Stands for the epoch of a note that cannot be read."""
SILENT_S = 3_600.0
"""A peer unheard for so long is silent (section 7); a link that works says hello every 25 s."""
WAKE_S = 60.0
"""After a start or a sleep of ours a peer has at least this long to be heard."""


class Sender:
    """Carries what was taken."""

    def __init__(self, tree: Tree, ending: Ending, chance: Callable[[], float]) -> None:
        self._tree = tree
        self._ending = ending
        self._chance = chance
        self._epochs: dict[str, str] = {}
        self._heard_b: dict[str, float] = {}
        self._ticked_b = tree.clock.boottime()

    # ------------------------------------------------------------ the peer's epoch (section 8)

    def load_epoch(self, peer: str) -> None:
        """Read the note of the peer's tree."""
        try:
            data, _ = self._tree.fs.read(layout.PEERS, f"{peer}.json", NOTE_LIMIT_BYTES)
            epoch = json.loads(data)["epoch"]
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            epoch = None
        # A damaged note is not first contact: no epoch equals it, so all the peer may have had ends first.
        self._epochs[peer] = epoch if isinstance(epoch, str) else DAMAGED

    def _hear(self, peer: str) -> None:
        self._heard_b[peer] = self._tree.clock.boottime()

    def _is_silent(self, peer: str) -> bool:
        """Tell whether the peer has said nothing for SILENT_S, counted from our start at the earliest."""
        now_b = self._tree.clock.boottime()
        return now_b - self._heard_b.setdefault(peer, now_b - SILENT_S + WAKE_S) > SILENT_S

    def _notice_sleep(self) -> None:
        """After a sleep of this host no peer can have been heard: each gets WAKE_S to speak."""
        now_b = self._tree.clock.boottime()
        before_b, self._ticked_b = self._ticked_b, now_b
        if now_b - before_b > WAKE_S:
            self._heard_b = {peer: max(at_b, now_b - SILENT_S + WAKE_S) for peer, at_b in self._heard_b.items()}

    def hello(self, told: Hello) -> bool:
        """Take up the epoch of a fresh /hello; tell whether payloads may go out under it."""
        self._hear(told.peer)
        noted = self._epochs.get(told.peer)
        if noted != told.epoch:
            if noted is not None and not self._end_lost(told.peer):
                return False
            note = json.dumps({"epoch": told.epoch, "mode": "push"}).encode() + b"\n"
            self._tree.put_note(layout.PEERS, f"{told.peer}.json", note)
            self._epochs[told.peer] = told.epoch
        self._tree.tell(Owed(told.peer))
        return True

    def _end_lost(self, peer: str) -> bool:
        """The peer's tree is another one: end all it may have had, durably, before its new epoch is noted."""
        lost = [s for s in self._tree.ledger.sendings_to(peer) if s.outcome is None and self._may_be_there(s)]
        for sending in lost:
            self._ending.alone(sending, Reason.PEER_LOST_STATE, "the peer's relay/ tree is a new one")
        return len(self._ending.flush()) == len(lost)

    def _may_be_there(self, sending: Sending) -> bool:
        return sending.maybe_sent or self._is_sent(sending)

    @staticmethod
    def _is_sent(sending: Sending) -> bool:
        return sending.place.startswith(layout.SENT)

    # ------------------------------------------------------------ a9: offers

    def offers(self, want: Want) -> tuple[Offer, ...]:
        """Open an attempt for the due payloads with the oldest deadlines."""
        if not self._epochs.get(want.peer):
            return ()
        ready: list[tuple[Sending, bytes]] = []
        size = 0
        for sending in heapq.nsmallest(want.items, self._due(want.peer), key=lambda one: one.facts.expires_at):
            data = self._read_exact(sending)
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
        return tuple(Offer(want.peer, s.tid, data, s.facts.expires_at, s.tries) for s, data in ready)

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
            and not self._is_sent(one)
        )

    def _read_exact(self, sending: Sending) -> bytes | None:
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
        sending.due_b = self._tree.clock.boottime() + retry_delay_s(sending.tries, self._chance())
        if told.attempt is Attempt.ADMITTED:
            self._admitted(sending, told)
        elif told.attempt is Attempt.ENDED:
            self._ended(sending, told)
        else:
            self._refused(sending, told)

    def _admitted(self, sending: Sending, told: Settlement) -> None:
        self._move_to_sent(sending)
        if told.record is None:
            self._raise(sending, State.STORED, None)
        else:
            offset_ms = told.record.clock_offset_ms
            self._raise(sending, State.STORED, told.record.edges.get("stored"), offset_ms)
            self._take_over(sending, told.record, offset_ms)

    def _move_to_sent(self, sending: Sending) -> None:
        if not self._is_sent(sending):
            place = layout.sent(sending.peer)
            self._tree.fs.move(sending.place, sending.name, place, sending.name)
            sending.place = place

    def _ended(self, sending: Sending, told: Settlement) -> None:
        if told.record is not None and told.record.tid == sending.tid and told.record.final:
            self._ending.as_peer_says(sending, told.record, told.record.clock_offset_ms)
        elif told.reason is not None:
            self._ending.alone(sending, told.reason, told.detail)

    def _refused(self, sending: Sending, told: Settlement) -> None:
        if told.status or told.detail:
            sending.refusal = (f"{told.status}: {told.detail}" if told.status else told.detail)[:300]
        permanent = PERMANENT.get(told.status) if told.attempt is Attempt.NOT_ADMITTED else None
        if permanent is not None and not sending.maybe_sent:
            self._ending.alone(sending, permanent, told.detail)

    # ------------------------------------------------------------ a11, a12: following

    def mirror(self, told: Sequence[Mirror]) -> list[Record | None]:
        """Take over the peer's states; return, for each, the record whose artefact is to be fetched, or None."""
        for one in told:
            self._hear(one.peer)
            sending = self._tree.ledger.sendings.get(one.record.tid)
            if sending is not None and sending.peer == one.peer and sending.outcome is None:
                self._take_over(sending, one.record, one.clock_offset_ms)
        self._ending.flush()
        return [self._fetchable(one.record.tid) for one in told]

    def _fetchable(self, tid: TransferId) -> Record | None:
        sending = self._tree.ledger.sendings.get(tid)
        return sending.outcome if sending is not None else None

    def _take_over(self, sending: Sending, record: Record, clock_offset_ms: int | None) -> None:
        if self._is_sent(sending) and record.final and record.handoff_id is None and record.reason is Reason.REVOKED:
            # A tombstone for what the peer said it had stored: it has lost something (section 8).
            self._ending.alone(sending, Reason.PEER_LOST_STATE, "the peer no longer knows what it had stored")
        elif record.final:
            self._ending.as_peer_says(sending, record, clock_offset_ms)
        else:
            self._climb(sending, record, clock_offset_ms)

    def _climb(self, sending: Sending, record: Record, clock_offset_ms: int | None) -> None:
        # Whoever can tell a state has it, whatever became of our POST's answer; only what is in sent/ is followed.
        self._move_to_sent(sending)
        for state in (State.STORED, State.LEASED, State.PUBLISHED, State.CLAIMED):
            at = record.edges.get(state.value) or (record.at if state is record.state else None)
            if at is not None and (state is record.state or rises(state, record.state)):
                self._raise(sending, state, at, clock_offset_ms)
        if sending.state is State.CLAIMED:
            self._ending.show_view(sending)

    def _raise(self, sending: Sending, state: State, peer_at: str | None, offset_ms: int | None = None) -> None:
        if not rises(sending.state, state):
            return
        sending.state = state
        if peer_at is not None:
            sending.edges[state.value] = peer_at
        self._tree.note_edge(
            state.value,
            sending.facts,
            role="sender",
            peer=sending.peer,
            state=state.value,
            peer_at=peer_at,
            clock_offset_ms=offset_ms,
        )

    def lost(self, told: Batch) -> None:
        """The peer, in the same epoch, does not know T in our sent/: it has lost something (section 8)."""
        for tid in told.tids:
            sending = self._tree.ledger.sendings.get(tid)
            if sending and sending.peer == told.peer and sending.outcome is None and self._is_sent(sending):
                self._ending.alone(sending, Reason.PEER_LOST_STATE, "the peer no longer knows what it had stored")
        self._ending.flush()

    def land(self, landed: Landing) -> None:
        """a15: bring the artefact home, or go on without."""
        sending = self._tree.ledger.sendings.get(landed.tid)
        if sending is not None:
            self._ending.land(sending, landed.data)

    # ------------------------------------------------------------ section 7: expiry, revoke, doubt

    def expire(self) -> None:
        """End alone what never left; give up what nobody answers for (doubt_max). Runs on every tick."""
        self._notice_sleep()
        if self._tree.expiry_rests():
            return
        now = self._tree.clock.wall()
        for sending in list(self._tree.ledger.sendings.values()):
            if sending.outcome is None and now > sending.facts.expires_at:
                self._expire_one(sending, now - sending.facts.expires_at)
        self._ending.flush()

    def _expire_one(self, sending: Sending, late_s: float) -> None:
        if not self._may_be_there(sending):
            self._ending.alone(sending, Reason.EXPIRED, sending.refusal or "never reached the peer")
        elif late_s > self._tree.settings.doubt_max_s and self._is_silent(sending.peer):
            self._ending.alone(sending, Reason.OUTCOME_UNKNOWN, "the peer gave no verdict within doubt_max")
        elif not self._is_sent(sending) and late_s > EXPIRY_GRACE_S and not sending.doubt_told:
            sending.doubt_told = True
            self._tree.note_edge("in_doubt", sending.facts, role="sender", peer=sending.peer, detail=sending.refusal)

    def withdraw(self, tid: TransferId) -> Record | None:
        """The writer takes it back: at once if it never left, else by asking the peer. Returns the record, or None."""
        sending = self._tree.ledger.sendings.get(tid)
        if sending is None:
            return self._tree.outcome(tid)
        if sending.outcome is None:
            sending.withdrawn, sending.asked_b = True, None
            if not self._may_be_there(sending):
                self._ending.alone(sending, Reason.REVOKED, "withdrawn before it left")
                self._ending.flush()
            self._tree.tell(Owed(sending.peer))
        return sending.outcome or self.record(sending)

    def record(self, sending: Sending) -> Record:
        """Return what is known of an open transfer."""
        return self._tree.current(sending.facts, sending.state, sending.peer, sending.file, sending.edges)

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
        if not self._epochs.get(peer):
            return Debts()
        now, now_b = self._tree.clock.wall(), self._tree.clock.boottime()
        revoke: list[TransferId] = []
        for sending in self._tree.ledger.sendings_to(peer):
            if len(revoke) < STATES_ITEMS and self._wants_verdict(sending, now, now_b):
                sending.asked_b = now_b
                revoke.append(sending.tid)
        known = {
            one.tid: one.state
            for one in self._tree.ledger.sendings_to(peer)
            if one.outcome is None and self._is_sent(one)
        }
        return Debts(tuple(revoke), forget, fetch, known, self._next_s(peer, now, now_b))

    def _wants_verdict(self, sending: Sending, now: float, now_b: float) -> bool:
        if sending.outcome is not None or not self._may_be_there(sending) or sending.flying:
            return False
        if sending.asked_b is not None and now_b - sending.asked_b < DOUBT_ASK_S:
            return False
        if sending.withdrawn:
            return sending.state is not State.CLAIMED
        patience_s = REVOKE_AFTER_S if self._is_sent(sending) else 0.0
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
        if self._is_sent(one):
            return DEBTS_S if one.state is State.CLAIMED else min(DEBTS_S, REVOKE_AFTER_S - late_s)
        if late_s >= 0.0:
            return 1.0
        # One that is under way now may be in sent/ by then: its expiry is the next time to look.
        return min(DEBTS_S, one.due_b - now_b if one.due_b > now_b and not one.flying else max(1.0, -late_s))
