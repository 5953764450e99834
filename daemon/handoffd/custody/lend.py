"""Lend: the sender's half of a pull link: sessions, wishes, leases (docs/custody.md section 11.1 to 11.4).

It owns what a peer that dials in is told to take, and the lease that lets the bytes out. What the peer tells is the
sender's to take over. The rules that must stay true: bytes leave only after the move to sent/ is durable, and only to
the tree whose epoch is noted; of several homes the one whose rename succeeded has it, and no other ever gets it; what
is leased is never ended by this host's clock.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from handoffd.custody import layout
from handoffd.custody.acquaintance import Acquaintances
from handoffd.custody.admit import ended, problem
from handoffd.custody.ending import Ending
from handoffd.custody.household import SHARED
from handoffd.custody.ledger import Sending
from handoffd.custody.message import Answer
from handoffd.custody.passing import keep_artefact
from handoffd.custody.send import LOST, Sender, is_sent, is_tombstone
from handoffd.custody.tree import BadOutcome, Tree
from handoffd.custody.visit import Bring, Lease, Leased, Parcel, Telling, Welcome, Wishes
from handoffd.protocol.name import TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Problem, Reason, State
from handoffd.protocol.record import Record, as_heard
from handoffd.protocol.timing import BATCH_ITEMS, LEASE_LIMIT_BYTES, RELIST_S, STATES_ITEMS


@dataclass(slots=True)
class Session:
    """One visit, from its second hello to the next. `complete`: the visitor has told all it has."""

    name: str
    complete: bool = False


@dataclass(slots=True)
class Loan:
    """One T of a lease on its way: its sending and bytes, or the answer it gets instead. `source`: where it lay."""

    tid: TransferId
    peer: str
    sending: Sending | None = None
    data: bytes = b""
    answer: Answer | None = None
    source: str = ""


class Lender:
    """Serves peers that dial in for what is theirs."""

    def __init__(self, tree: Tree, ending: Ending, sender: Sender, peers: Acquaintances) -> None:
        self._tree = tree
        self._ending = ending
        self._sender = sender
        self._peers = peers
        self._sessions: dict[str, Session] = {}

    # ------------------------------------------------------------ sessions

    def welcome(self, told: Welcome) -> bool:
        """Begin a session under this epoch; what an older tree of the peer held has then ended."""
        if not self._peers.pulls(told.peer) or not self._sender.take_up(told.peer, told.epoch):
            return False
        self._peers.hear(told.peer)
        self._sessions[told.peer] = Session(told.session)
        for sending in self._open_to(told.peer):
            sending.listed_b.pop(told.peer, None)
        for sending in self._tree.ledger.sendings_to(told.peer):
            sending.asked_b = None
        return True

    def _open_to(self, peer: str) -> Iterator[Sending]:
        """Return what is the peer's, and what it may lease before the other homes of an agent do (section 11.4)."""
        ledger, homes = self._tree.ledger, self._tree.settings.homes
        yield from ledger.sendings_to(peer)
        for where in ledger.shared():
            if peer in homes.takers(where):
                yield from (one for one in ledger.sendings_to(where) if not one.came_from(peer))

    def _is_open_to(self, sending: Sending, peer: str) -> bool:
        if sending.peer == peer:
            return True
        shared = sending.peer.startswith(SHARED)
        return shared and peer in self._tree.settings.homes.takers(sending.peer) and not sending.came_from(peer)

    def _knows(self, peer: str, epoch: str) -> bool:
        """Tell whether this is the noted epoch of a peer that pulls."""
        return self._peers.pulls(peer) and bool(epoch) and self._peers.agreed(peer) == epoch

    def _session(self, told: Telling) -> Session | None:
        session = self._sessions.get(told.peer)
        if session is None or session.name != told.session or not self._knows(told.peer, told.epoch):
            return None
        return session

    # ------------------------------------------------------------ the poll

    def hear(self, tellings: Sequence[Telling]) -> list[Wishes]:
        """Take over what visitors tell, as one group, and say what is wanted of them."""
        touched: dict[str, None] = {}
        for telling in tellings:
            session = self._session(telling)
            if session is not None:
                self._peers.hear(telling.peer)
                touched.update(dict.fromkeys(self._take_in(telling, session)))
        self._tree.fs.sync_directories(touched)
        self._ending.flush()
        return [self._wishes(telling) for telling in tellings]

    def _take_in(self, telling: Telling, session: Session) -> Iterable[str]:
        """Enter one page; return the directories to be flushed before anything that follows from it is durable."""
        touched: list[str] = []
        for record in telling.records:
            sending = self._tree.ledger.sendings.get(record.tid)
            if sending is None or not self._is_open_to(sending, telling.peer) or sending.outcome is not None:
                continue
            if not is_sent(sending):
                # It has it, whoever brought it there: of several homes it is this one's from now on.
                touched += [sending.place, layout.sent(telling.peer)]
                self._tree.ledger.hand_to(sending, telling.peer)
            self._sender.take_over(sending, as_heard(record, telling.peer, telling.clock_offset_ms))
            if not is_tombstone(record):
                sending.told_in = session.name
                # What it has from somebody else, and what has ended there, it need not tell of once more.
                sending.promised |= not record.final and record.peer == self._tree.settings.host
        if not telling.more:
            session.complete = True
            self._end_untold(telling.peer, session)  # each time: the disk may have refused it before
        return touched

    def _end_untold(self, peer: str, session: Session) -> None:
        """The peer has told all it has: what it told before and lacks now, it has lost (section 11.2)."""
        for sending in self._tree.ledger.sendings_to(peer):
            untold = sending.promised and sending.told_in != session.name
            if untold and is_sent(sending) and sending.outcome is None:
                self._ending.alone(sending, Reason.PEER_LOST_STATE, LOST)

    def _wishes(self, telling: Telling) -> Wishes:
        session = self._session(telling)
        if session is None:
            return Wishes(refused=True)
        finals = (record.tid for record in telling.records if record.final)
        forget = tuple(tid for tid in finals if self._may_forget(telling.peer, tid))
        if not any(True for _ in self._open_to(telling.peer)):
            return Wishes(forget=forget)
        return Wishes(self._take(telling.peer, session), self._verdict(telling.peer), forget, next_s=RELIST_S)

    def _may_forget(self, peer: str, tid: TransferId) -> bool:
        """Tell whether a final that a peer told is durable here, or is none of ours or another peer's."""
        sending = self._tree.ledger.sendings.get(tid)
        return sending is None or sending.outcome is not None or not self._is_open_to(sending, peer)

    def _take(self, peer: str, session: Session) -> tuple[TransferId, ...]:
        now, now_b = self._tree.clock.wall(), self._tree.clock.boottime()
        due = (
            one
            for one in self._open_to(peer)
            if one.outcome is None
            and not one.withdrawn
            and one.facts.expires_at > now
            and now_b - one.listed_b.get(peer, -RELIST_S) >= RELIST_S
            and (not is_sent(one) or (session.complete and not one.promised and one.told_in != session.name))
        )
        listed = heapq.nsmallest(BATCH_ITEMS, due, key=lambda one: one.facts.expires_at)
        for sending in listed:
            sending.listed_b[peer] = now_b
        return tuple(sending.tid for sending in listed)

    def _verdict(self, peer: str) -> tuple[TransferId, ...]:
        now, now_b = self._tree.clock.wall(), self._tree.clock.boottime()
        wanted: list[TransferId] = []
        for sending in self._tree.ledger.sendings_to(peer):
            if len(wanted) < STATES_ITEMS and self._sender.wants_verdict(sending, now, now_b):
                sending.asked_b = now_b
                wanted.append(sending.tid)
        return tuple(wanted)

    # ------------------------------------------------------------ the lease

    def lease(self, asked: Sequence[Lease]) -> list[Leased]:
        """Hand out bytes: all renames, each directory once, then the answers."""
        loans = [self._loans(one) if self._knows(one.peer, one.epoch) else None for one in asked]
        moved = [self._hand_over(loan) for some in loans if some is not None for loan in some]
        self._tree.fs.sync_directories(dict.fromkeys(place for places in moved for place in places))
        self._ending.flush()
        return [Leased(refused=True) if some is None else Leased(tuple(map(self._parcel, some))) for some in loans]

    def _loans(self, asked: Lease) -> list[Loan]:
        self._peers.hear(asked.peer)
        loans: list[Loan] = []
        size = 0
        for tid in asked.tids:
            loan = self._loan(asked.peer, tid)
            size += len(loan.data)
            if size > LEASE_LIMIT_BYTES and len(loan.data) < size:
                if loan.sending is not None:
                    loan.sending.listed_b.pop(asked.peer, None)  # it is not lost by not fitting in
                break
            loans.append(loan)
        return loans

    def _loan(self, peer: str, tid: TransferId) -> Loan:
        sending = self._tree.ledger.sendings.get(tid)
        if sending is None or sending.outcome is not None or not self._is_open_to(sending, peer):
            return Loan(tid, peer, answer=self._not_open(peer, tid))
        late = self._tree.clock.wall() > sending.facts.expires_at
        if late and self._tree.expiry_rests():
            return Loan(tid, peer, sending, answer=_unavailable(tid))
        if is_sent(sending):
            # No bytes for one that said it had them: it has lost something, and may have had a claim.
            data = b"" if late or sending.promised else self._reread(sending)
            return Loan(tid, peer, sending, data, None if data else _not_found(tid))
        if late or sending.withdrawn:
            reason = Reason.EXPIRED if late else Reason.REVOKED
            self._ending.alone(sending, reason, f"{peer} came too late for it")
            return Loan(tid, peer, sending)
        found = self._sender.read_exact(sending)
        answer = None if found is not None else _unavailable(tid)
        return Loan(tid, peer, sending, found or b"", answer, sending.place)

    def _reread(self, sending: Sending) -> bytes:
        """Return the bytes of a lease that is repeated; none if the file is not T's any more: the peer may have T."""
        try:
            data, _ = self._tree.fs.read(sending.place, sending.name)
        except OSError:
            return b""
        return data if transfer_id(data) == sending.tid else b""

    def _hand_over(self, loan: Loan) -> tuple[str, ...]:
        """Rename to sent/, which picks among several homes; return what must be flushed before the bytes leave.

        Only sent/: if a power cut shows both names, the start lets the furthest win (R6).
        """
        sending = loan.sending
        if sending is None or not loan.data or not loan.source:
            return ()
        target = layout.sent(loan.peer)
        try:
            self._tree.fs.move(loan.source, sending.name, target, sending.name)
        except OSError:
            if sending.place != target:  # else an earlier lease of the same group was its own
                lost = is_sent(sending)
                loan.answer = _already_leased(loan.tid) if lost else _unavailable(loan.tid)
                loan.data = b""
            return ()
        sending.place = target
        self._tree.ledger.hand_to(sending, loan.peer)
        return (target,)

    def _parcel(self, loan: Loan) -> Parcel:
        sending = loan.sending
        if loan.answer is not None or sending is None:
            return Parcel(loan.answer or _not_found(loan.tid))
        if sending.outcome is not None:
            return Parcel(_over(sending.outcome))
        if not loan.data:
            return Parcel(_unavailable(loan.tid))
        self._sender.rise(sending, State.LEASED, self._tree.now_text(), self._tree.settings.host)
        sending.listed_b = {loan.peer: self._tree.clock.boottime()}
        return Parcel(Answer(200, tid=loan.tid, data=loan.data), (*sending.path, self._tree.settings.host))

    def _not_open(self, peer: str, tid: TransferId) -> Answer:
        """Unknown and foreign look the same; what this peer was to have, it or another home, is told as it went."""
        sending = self._tree.ledger.sendings.get(tid)
        if sending is not None and sending.outcome is None:
            another = is_sent(sending) and self._is_one_of_several(peer, sending.facts.to)
            return _already_leased(tid) if another else _not_found(tid)
        try:
            record = self._tree.outcome(tid)
        except BadOutcome:
            record = None
        if record is None:
            return _not_found(tid)
        meant = peer in (record.onward, record.peer) or self._is_one_of_several(peer, record.to)
        return _over(record) if meant else _not_found(tid)

    def _is_one_of_several(self, peer: str, agent: str | None) -> bool:
        takers = self._tree.settings.homes.takers(f"{SHARED}{agent}")
        return len(takers) > 1 and peer in takers

    # ------------------------------------------------------------ artefacts

    def bring(self, brought: Bring) -> Answer:
        """Keep the final bytes that a visitor brings before it tells the end, whose flush makes the name durable."""
        if not self._knows(brought.peer, brought.epoch):
            return problem(Problem.EPOCH_CHANGED, brought.tid, "not the epoch noted of you; say hello")
        sending = self._tree.ledger.sendings.get(brought.tid)
        if sending is None or sending.peer != brought.peer or not is_sent(sending):
            return _not_found(brought.tid)
        if sending.outcome is None and not keep_artefact(self._tree, brought.tid, brought.data):
            return _unavailable(brought.tid)
        return Answer(200, tid=brought.tid, record=sending.outcome or self._sender.record(sending))


def _over(record: Record) -> Answer:
    """Whatever the end: there is nothing to hand out any more."""
    return replace(ended(record), status=410)


def _already_leased(tid: TransferId) -> Answer:
    return problem(Problem.ALREADY_CLAIMED, tid, "another host that the agent lives on has leased it")


def _not_found(tid: TransferId) -> Answer:
    return problem(Problem.NOT_FOUND, tid, "no such handoff for you to lease")


def _unavailable(tid: TransferId) -> Answer:
    return problem(Problem.UNAVAILABLE, tid, "cannot be handed out now; ask again")
