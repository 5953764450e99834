"""Admit and publish: b1 to b7 (docs/custody.md section 6).

It owns the step from posted bytes to a token in handoff/. It knows nothing of HTTP beyond status numbers. The rules
that must stay true: a token is made only for a T that is unknown, token before receipt (b4), and nothing is said
before inbox/ is flushed (b5).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from handoffd.custody import layout
from handoffd.custody.filesystem import NewFile
from handoffd.custody.forward import Forwarder, next_host, told_state
from handoffd.custody.guard import Guard
from handoffd.custody.ledger import Facts, Place, Receipt, facts_of
from handoffd.custody.message import Answer, Arrival, Called, Waiting
from handoffd.custody.origin import Origin
from handoffd.custody.tree import Tree
from handoffd.protocol.admission import Inadmissible, admit
from handoffd.protocol.name import CANARY_AGENT, TransferId, routed_name
from handoffd.protocol.payload import Envelope, route, transfer_id
from handoffd.protocol.reason import HTTP_STATUS, PROBLEM_STATUS, Delivered, Problem, Reason, State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import (
    CANARY_AHEAD_S,
    CANARY_PAUSE_S,
    CANARY_TTL_S,
    PATH_HOSTS,
    PENDING_LIMIT,
    is_beyond,
)

JUMPED = "this host's clock has just jumped, so it may be wrong that the time is over; send it again in a minute"
BEYOND = "expires_at lies further ahead of this host's clock than max_ttl allows"


@dataclass(slots=True)
class Newcomer:
    """A payload that may be admitted, on its way through the group. `slots`: the answers it is to fill."""

    envelope: Envelope
    data: bytes
    peer: str
    outward: str | None = None
    """Where an agent's post goes: it is taken, not admitted."""
    routed: bool = False
    """A peer's, to be forwarded."""
    path: tuple[str, ...] = ()
    slots: list[int] = field(default_factory=list)
    salt: str = ""


def problem(kind: Problem, tid: TransferId, detail: str) -> Answer:
    """Return a refusal that leaves nothing behind."""
    return Answer(PROBLEM_STATUS[kind], tid=tid, problem=kind, detail=detail)


def ended(record: Record) -> Answer:
    """Return what is said of a T that has an outcome here."""
    assert record.reason is not None
    return Answer(
        HTTP_STATUS[record.reason],
        tid=record.tid,
        record=record,
        reason=record.reason,
        detail=record.detail,
        final=True,
    )


_LATE = OSError(0, "its time is over")


class Admitter:
    """Lets payloads in."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._guard = Guard(tree)
        self._origin = Origin(tree)
        self._forwarder = Forwarder(tree)
        self._spare = ""
        """The name in tmp/ of the file made ahead for the next payload; empty after its use."""
        self._canary_came_s: dict[str, float] = {}
        """By peer, when its last canary was let in, by the clock that nobody sets."""

    def prepare(self) -> None:
        """Make the file of the next payload, empty: the disk takes a third as long for it as for its flush."""
        if not self._spare:
            self._spare = self._tree.salt()
            self._tree.fs.prepare(layout.TMP, self._spare)

    def admit(self, arrivals: Sequence[Arrival]) -> list[Answer]:
        """Admit a group: all writes, one set of file flushes, all renames, each directory once, then the answers."""
        answers: list[Answer | None] = []
        fresh: dict[TransferId, Newcomer] = {}
        tombstones: list[tuple[int, Record]] = []
        for number, arrival in enumerate(arrivals):
            judged = self._judge(arrival, fresh)
            answers.append(judged if isinstance(judged, Answer) else None)
            if isinstance(judged, Newcomer):
                judged.slots.append(number)
                fresh[judged.envelope.tid] = judged
            elif isinstance(judged, Record):
                tombstones.append((number, judged))
        self._store([one for one in fresh.values() if one.outward is None], answers)
        self._send_on([one for one in fresh.values() if one.outward is not None], answers)
        # After the others: a variant is one only if the bytes that came first did become durable.
        for number, record in tombstones:
            answers[number] = _unavailable(record.tid)
        self._bury([one for one in tombstones if self._holds(one[1])], answers)
        return [answer if answer is not None else _unavailable(TransferId("")) for answer in answers]

    # ------------------------------------------------------------ b1 to b3

    def _judge(self, arrival: Arrival, fresh: dict[TransferId, Newcomer]) -> Answer | Newcomer | Record:
        tid = transfer_id(arrival.data)
        refusal = self._check_request(arrival, tid)
        if refusal is not None:
            return refusal
        settings = self._tree.settings
        try:
            envelope = admit(
                arrival.data,
                agents=settings.known_agents | arrival.principal.sends,
                max_ttl_s=settings.max_ttl_s,
                limit_bytes=settings.max_payload_bytes,
            )
        except Inadmissible as error:
            return self._refuse_bytes(arrival, tid, error.detail)
        refusal = self._check_parties(arrival, tid, envelope.sender, envelope.to)
        if refusal is not None:
            return refusal
        return self._known(arrival, tid) or fresh.get(tid) or self._newcomer(arrival, envelope)

    def _check_request(self, arrival: Arrival, tid: TransferId) -> Answer | None:
        if arrival.claimed_tid is not None and arrival.claimed_tid != tid:
            detail = "Idempotency-Key is not the SHA-256 of the body; the body was changed on its way"
            return problem(Problem.BAD_REQUEST, tid, detail)
        if arrival.epoch is not None and arrival.epoch != self._tree.epoch:
            return problem(Problem.EPOCH_CHANGED, tid, f"not the epoch of this tree: {arrival.epoch[:64]}")
        return None

    def _check_parties(self, arrival: Arrival, tid: TransferId, sender: str, to: str) -> Answer | None:
        if sender not in arrival.principal.sends:
            detail = f"from_agent {sender[:63]!r} may not be sent with this token"
            return problem(Problem.FORBIDDEN, tid, detail)
        if self._is_retry(tid, arrival.principal.peer):
            return None
        circle = self._check_way(arrival, tid) if arrival.principal.agent is None else None
        return circle or self._not_here(arrival, tid, to)

    def _is_retry(self, tid: TransferId, peer: str) -> bool:
        """Tell whether we have had custody of T from this peer: wherever it goes now, it is answered as it stands."""
        receipt = self._tree.ledger.receipts.get(tid)
        return receipt is not None and receipt.peer == peer

    def _check_way(self, arrival: Arrival, tid: TransferId) -> Answer | None:
        """Refuse what comes round in a circle, seen by T or by its path, and what has come too far (section 11.6)."""
        host, path = self._tree.settings.host, arrival.path
        shown = " > ".join((*path, host))
        if host in path or self._tree.ledger.goes_round(tid, arrival.principal.peer):
            return problem(Problem.LOOP, tid, f"came round in a circle: {shown}")
        if len(path) > PATH_HOSTS:
            return problem(Problem.LOOP, tid, f"handed on by more than {PATH_HOSTS} hosts: {shown}")
        return None

    def _not_here(self, arrival: Arrival, tid: TransferId, to: str) -> Answer | None:
        settings, peer = self._tree.settings, arrival.principal.peer
        if self._is_at_home(to) or next_host(settings, to, peer) is not None:
            return None
        detail = f"to_agent {to[:63]!r} is not at home on {settings.host}"
        if settings.homes.get(to) == peer:
            detail = f"{settings.host} would hand it back: {' > '.join((*arrival.path, settings.host, peer))}"
        return problem(Problem.NOT_HERE, tid, detail)

    def _is_at_home(self, to: str) -> bool:
        # A canary lives at every daemon; whose token may send one, its principal says.
        return to in self._tree.settings.agents or to == CANARY_AGENT

    def _refuse_bytes(self, arrival: Arrival, tid: TransferId, detail: str) -> Answer:
        """Final without a tombstone: it follows from the bytes alone (b3), and from the settings, which may have
        become stricter since T was stored; then what is durable counts (b2)."""
        way = route(arrival.data)
        refusal = self._check_parties(arrival, tid, way.sender, way.to) if way is not None else None
        answer = refusal or self._known(arrival, tid)
        if answer is not None:
            return answer
        return Answer(422, tid=tid, reason=Reason.REFUSED_POLICY, detail=detail, final=True)

    def _known(self, arrival: Arrival, tid: TransferId) -> Answer | None:
        """b2: answer the durable state, change nothing."""
        receipt = self._tree.ledger.receipts.get(tid)
        if receipt is not None:
            return Answer(200, tid=tid, record=self.record(receipt))
        sending = self._tree.ledger.sendings.get(tid)
        if sending is not None and sending.outcome is None:
            return Answer(200, tid=tid, record=self._origin.record(sending))
        record = self._tree.outcome(tid)
        return None if record is None else ended(record)

    def _newcomer(self, arrival: Arrival, envelope: Envelope) -> Newcomer | Record | Answer:
        tree, facts, peer = self._tree, facts_of(envelope), arrival.principal.peer
        if tree.ledger.pending(peer) >= PENDING_LIMIT:
            detail = f"{PENDING_LIMIT} handoffs of {peer} are open here; send it again when some have ended"
            return problem(Problem.RATE_LIMITED, envelope.tid, detail)
        if tree.ledger.signatures.holder_differs(envelope.identity, envelope.tid):
            detail = "other bytes with the same sender, target, handoff_id and hmac came first"
            return self._tombstone(arrival, facts, Reason.VARIANT, detail)
        now = tree.clock.wall()
        if now > envelope.expires_at and tree.expiry_rests():
            return problem(Problem.UNAVAILABLE, envelope.tid, JUMPED)
        if now > envelope.expires_at:
            return self._tombstone(arrival, facts, Reason.EXPIRED, "expired before it arrived")
        if is_beyond(envelope.expires_at, now, tree.settings.max_ttl_s):
            # Not final, and no tombstone: the clock that says so may be ours, days behind after a start without NTP.
            return problem(Problem.BAD_REQUEST, envelope.tid, BEYOND)
        refusal = self._check_canary(envelope, peer) if facts.is_canary else None
        if refusal is not None:
            return refusal
        tree.ledger.signatures.reserve(envelope.identity, envelope.tid, envelope.expires_at)
        local = self._is_at_home(envelope.to)
        if local or arrival.principal.agent is None:
            return Newcomer(envelope, arrival.data, arrival.principal.peer, routed=not local, path=arrival.path)
        return Newcomer(envelope, arrival.data, arrival.principal.peer, tree.settings.homes.get(envelope.to))

    def _check_canary(self, envelope: Envelope, peer: str) -> Answer | None:
        """A canary ends by itself at once, so neither PENDING_LIMIT nor that of tombstones bounds them (section 18)."""
        tree, tid = self._tree, envelope.tid
        if envelope.expires_at > tree.clock.wall() + CANARY_TTL_S + CANARY_AHEAD_S:
            detail = f"a canary expires within {CANARY_TTL_S:g} s; by this host's clock this one does not"
            return problem(Problem.BAD_REQUEST, tid, detail)
        if any(tree.ledger.receipts[called].peer == peer for called in tree.ledger.called):
            return problem(Problem.RATE_LIMITED, tid, f"a canary of {peer} is open here; wait for its end")
        now_s, before_s = tree.clock.boottime(), self._canary_came_s.get(peer)
        if before_s is not None and now_s < before_s + CANARY_PAUSE_S:
            return problem(Problem.RATE_LIMITED, tid, f"one canary in {CANARY_PAUSE_S:g} s; send it again after that")
        self._canary_came_s[peer] = now_s
        return None

    def _tombstone(self, arrival: Arrival, facts: Facts, reason: Reason, detail: str) -> Record | Answer:
        peer = arrival.principal.peer
        if not self._tree.may_bury(peer):
            return problem(
                Problem.RATE_LIMITED, facts.tid, f"refused, {reason.value}; too many such payloads this hour"
            )
        return self._tree.ending(facts, reason, Delivered.NOT_DELIVERED, peer, None, detail)

    def _holds(self, record: Record) -> bool:
        """Tell whether a refusal still stands now that the group is stored."""
        held = record.identity is not None and self._tree.ledger.signatures.holder_differs(record.identity, record.tid)
        return record.reason is not Reason.VARIANT or held

    def _bury(self, tombstones: list[tuple[int, Record]], answers: list[Answer | None]) -> None:
        written = self._tree.write_outcomes([record for _, record in tombstones])
        for (number, wanted), record in zip(tombstones, written, strict=True):
            answers[number] = _unavailable(wanted.tid) if record is None else ended(record)
            if record is wanted:
                self._tree.note_refusal(record)

    # ------------------------------------------------------------ b4 to b7

    def _store(self, newcomers: list[Newcomer], answers: list[Answer | None]) -> None:
        tree = self._tree
        for newcomer in newcomers:
            newcomer.salt, self._spare = self._spare or tree.salt(), ""
        failures = tree.fs.create([NewFile(layout.TMP, one.salt, one.data) for one in newcomers])
        stored = []
        for newcomer, failure in zip(newcomers, failures, strict=True):
            receipt = self._name(newcomer) if failure is None else None
            if receipt is None:
                tree.ledger.signatures.release(newcomer.envelope.identity, newcomer.envelope.tid)
                self._fill(newcomer, answers, _unavailable(newcomer.envelope.tid))
            else:
                stored.append((newcomer, receipt))
        tree.fs.sync_directories(dict.fromkeys(layout.inbox(receipt.peer) for _, receipt in stored))
        # The tokens first: agents wait for them alone. Nothing comes between here and the ledger.
        now = tree.clock.wall()
        refused = [self._release_in_time(receipt, now) for _, receipt in stored]
        for (_, receipt), error in zip(stored, refused, strict=True):
            receipt.edges["stored"] = tree.now_text()
            if error is None and _is_for_agents(receipt):
                self._is_out(receipt)
            tree.ledger.add_receipt(receipt)
        for (newcomer, receipt), error in zip(stored, refused, strict=True):
            self._fill(newcomer, answers, self._own(receipt, error))
        self._forwarder.let_go()

    def _send_on(self, newcomers: list[Newcomer], answers: list[Answer | None]) -> None:
        """Take custody of what local agents post for other hosts, as one group."""
        for newcomer in newcomers:
            newcomer.salt = self._tree.salt()
        failures = self._tree.fs.create([NewFile(layout.TMP, one.salt, one.data) for one in newcomers])
        written = [one for one, failure in zip(newcomers, failures, strict=True) if failure is None]
        taken = self._origin.take([(one.envelope, one.salt, one.outward) for one in written if one.outward])
        sendings = dict(zip((one.envelope.tid for one in written), taken, strict=True))
        for newcomer in newcomers:
            sending = sendings.get(newcomer.envelope.tid)
            if sending is None:
                self._tree.ledger.signatures.release(newcomer.envelope.identity, newcomer.envelope.tid)
                self._fill(newcomer, answers, _unavailable(newcomer.envelope.tid))
                continue
            self._origin.offer(sending, newcomer.data)
            self._fill(newcomer, answers, Answer(201, tid=sending.tid, record=self._origin.record(sending)))

    def _name(self, newcomer: Newcomer) -> Receipt | None:
        """b4: the token first, then the receipt; a receipt alone would look published."""
        fs, name, directory = self._tree.fs, newcomer.envelope.published_name, layout.inbox(newcomer.peer)
        receipt_name = routed_name(name) if newcomer.routed else name
        try:
            self._tree.open_peer(newcomer.peer)
            fs.move(layout.TMP, newcomer.salt, directory, f"{name}.new")
            fs.link(directory, f"{name}.new", directory, receipt_name)
            found = fs.stat(directory, receipt_name)
        except OSError:
            self._unname(newcomer, directory, name, receipt_name)
            return None
        inode = found.inode if found is not None else 0
        facts = facts_of(newcomer.envelope)
        return Receipt(facts, newcomer.peer, name, inode, Place.NEW, routed=newcomer.routed, path=newcomer.path)

    def _unname(self, newcomer: Newcomer, directory: str, name: str, receipt_name: str) -> None:
        """Remove what a failed b4 left, now or at an earlier try: T is unknown, so nothing was ever said of it."""
        # The receipt first: alone it would look published.
        for place, left in ((directory, receipt_name), (directory, f"{name}.new"), (layout.TMP, newcomer.salt)):
            with suppress(OSError, KeyError):  # what stays meets the next try, or the next start
                self._tree.fs.unlink(place, left)

    def _own(self, receipt: Receipt, error: OSError | None) -> Answer:
        """b7, `error` being what the disk said against the token's way to the agents."""
        self._note(receipt, "stored")
        published = self._settle(receipt, error)
        return Answer(201 if published else 202, tid=receipt.tid, record=self.record(receipt))

    def publish(self, receipt: Receipt) -> bool:
        """b6 of a token that waited on the disk: consume its hidden name; no flush, for after a power cut nothing
        published is believed."""
        if not _is_for_agents(receipt):
            return self._settle(receipt, None)
        try:
            return self._guard.may_publish(receipt) and self._settle(receipt, self._release(receipt))
        except OSError as error:
            return self._settle(receipt, error)

    def _release_in_time(self, receipt: Receipt, now: float) -> OSError | None:
        """b6 of what has just been flushed; what is late by then waits for the janitor."""
        if not _is_for_agents(receipt):
            return None
        return _LATE if now > receipt.facts.expires_at else self._release(receipt)

    def _release(self, receipt: Receipt) -> OSError | None:
        """Move the token to the agents; return what the disk said against it."""
        try:
            self._tree.fs.move(layout.inbox(receipt.peer), f"{receipt.name}.new", layout.HANDOFF, receipt.name)
        except OSError as error:
            return error
        return None

    def _settle(self, receipt: Receipt, error: OSError | None) -> bool:
        """Note what came of `_release`; tell whether the token is out."""
        if receipt.facts.is_canary:
            self._tree.tell(Called(receipt.tid))  # no agent is to see it: the daemon answers it
            return False
        if receipt.routed:
            return self._forwarder.forward(receipt)
        if isinstance(error, FileExistsError):
            with suppress(OSError):  # again on the next tick
                self._meet_squatter(receipt)
            return receipt.place == Place.OFFERED
        if error is not None:
            detail = f"not yet published: {error.strerror}"
            self._tree.note_edge("stored", receipt.facts, role="receiver", detail=detail)
            return False
        self._published(receipt)
        return True

    def _meet_squatter(self, receipt: Receipt) -> None:
        fs, directory, name = self._tree.fs, layout.inbox(receipt.peer), receipt.name
        squatter = fs.stat(layout.HANDOFF, name)
        if squatter is not None and squatter.inode == receipt.inode:
            fs.unlink(directory, f"{name}.new")
            self._published(receipt)
            return
        self._tree.quarantine(layout.HANDOFF, name, "a file under a name that only this daemon makes", receipt.facts)
        fs.move(directory, f"{name}.new", layout.HANDOFF, name)
        self._published(receipt)

    def _is_out(self, receipt: Receipt) -> None:
        """Enter that the token is where agents see it; nothing that can fail comes between."""
        receipt.place, receipt.state = Place.OFFERED, State.PUBLISHED
        receipt.published_ns = int(self._tree.clock.wall() * 1e9)
        receipt.edges["published"] = self._tree.now_text()

    def _published(self, receipt: Receipt) -> None:
        if receipt.place != Place.OFFERED:
            self._is_out(receipt)
        self._note(receipt, "published")
        self._tree.changed(receipt.peer, receipt.tid)
        if receipt.facts.to is not None:
            self._tree.tell(Waiting(receipt.facts.to, receipt.name, receipt.facts))

    def publish_waiting(self) -> None:
        """Publish what a full disk or an unfinished start left in inbox/; what is late waits for the janitor there."""
        now = self._tree.clock.wall()
        for receipt in list(self._tree.ledger.receipts.values()):
            if receipt.place == Place.NEW and now <= receipt.facts.expires_at:
                self.publish(receipt)
        self._forwarder.let_go()

    def record(self, receipt: Receipt) -> Record:
        """Return what is known of an open receipt."""
        return self._tree.current(receipt, receipt.name, told_state(self._tree.ledger, receipt))

    def _note(self, receipt: Receipt, event: str) -> None:
        self._tree.note_edge(event, receipt.facts, role=receipt.role, peer=receipt.peer, file=receipt.name)

    @staticmethod
    def _fill(newcomer: Newcomer, answers: list[Answer | None], answer: Answer) -> None:
        for number in newcomer.slots:
            answers[number] = answer


def _unavailable(tid: TransferId) -> Answer:
    return Answer(503, tid=tid, problem=Problem.UNAVAILABLE, detail="not stored; nothing was kept; send it again")


def _is_for_agents(receipt: Receipt) -> bool:
    """Tell whether its token is to be seen by agents of this host: a canary's never is, nor one to be forwarded."""
    return not (receipt.facts.is_canary or receipt.routed)
