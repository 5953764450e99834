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
from handoffd.custody.ledger import Facts, Place, Receipt, facts_of
from handoffd.custody.message import Answer, Arrival, Waiting
from handoffd.custody.origin import Origin
from handoffd.custody.tree import Tree
from handoffd.protocol.admission import Inadmissible, admit
from handoffd.protocol.name import AgentName, FileName, HostName, TransferId
from handoffd.protocol.payload import Envelope, route, transfer_id
from handoffd.protocol.reason import HTTP_STATUS, PROBLEM_STATUS, Delivered, Problem, Reason, State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import PENDING_LIMIT, is_beyond

BEYOND = "expires_at lies further ahead of this host's clock than max_ttl allows"


@dataclass(slots=True)
class Newcomer:
    """A payload that may be admitted, on its way through the group. `slots`: the answers it is to fill."""

    envelope: Envelope
    data: bytes
    peer: str
    outward: HostName | None = None
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


class Admitter:
    """Lets payloads in."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._origin = Origin(tree)

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
        by_agent = arrival.principal.agent is not None
        if tid in self._tree.ledger.sendings and tid not in self._tree.ledger.receipts and not by_agent:
            path = " > ".join((*arrival.path, self._tree.settings.host))
            return problem(Problem.LOOP, tid, f"came round in a circle: {path}")
        if to not in self._tree.settings.agents and not (by_agent and to in self._tree.settings.homes):
            detail = f"to_agent {to[:63]!r} is not at home on {self._tree.settings.host}"
            return problem(Problem.NOT_HERE, tid, detail)
        return None

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
        if now > envelope.expires_at:
            return self._tombstone(arrival, facts, Reason.EXPIRED, "expired before it arrived")
        if is_beyond(envelope.expires_at, now, tree.settings.max_ttl_s):
            # Not final, and no tombstone: the clock that says so may be ours, days behind after a start without NTP.
            return problem(Problem.BAD_REQUEST, envelope.tid, BEYOND)
        tree.ledger.signatures.reserve(envelope.identity, envelope.tid, envelope.expires_at)
        outward = None if envelope.to in tree.settings.agents else tree.settings.homes.get(envelope.to)
        return Newcomer(envelope, arrival.data, arrival.principal.peer, outward)

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
                assert record.reason is not None
                self._tree.journal.write(
                    record.state.value,
                    tid=record.tid,
                    handoff_id=record.handoff_id,
                    role="receiver",
                    peer=record.peer,
                    reason=record.reason.value,
                    detail=record.detail,
                )

    # ------------------------------------------------------------ b4 to b7

    def _store(self, newcomers: list[Newcomer], answers: list[Answer | None]) -> None:
        tree = self._tree
        for newcomer in newcomers:
            newcomer.salt = tree.salt()
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
        for newcomer, receipt in stored:
            self._fill(newcomer, answers, self._own(receipt))

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
        try:
            self._tree.open_peer(newcomer.peer)
            fs.move(layout.TMP, newcomer.salt, directory, f"{name}.new")
            fs.link(directory, f"{name}.new", directory, name)
            found = fs.stat(directory, name)
        except OSError:
            self._unname(newcomer, directory, name)
            return None
        inode = found.inode if found is not None else 0
        return Receipt(facts_of(newcomer.envelope), newcomer.peer, name, inode, Place.NEW)

    def _unname(self, newcomer: Newcomer, directory: str, name: str) -> None:
        """Remove what a failed b4 left, now or at an earlier try: T is unknown, so nothing was ever said of it."""
        # The receipt first: alone it would look published.
        for place, left in ((directory, name), (directory, f"{name}.new"), (layout.TMP, newcomer.salt)):
            with suppress(OSError, KeyError):  # what stays meets the next try, or the next start
                self._tree.fs.unlink(place, left)

    def _own(self, receipt: Receipt) -> Answer:
        receipt.edges["stored"] = self._tree.now_text()
        self._tree.ledger.add_receipt(receipt)
        self._note(receipt, "stored")
        published = self.publish(receipt)
        return Answer(201 if published else 202, tid=receipt.tid, record=self.record(receipt))

    def publish(self, receipt: Receipt) -> bool:
        """b6: consume the token's hidden name; no flush: after a power cut nothing published is believed."""
        fs, directory, name = self._tree.fs, layout.inbox(receipt.peer), receipt.name
        try:
            fs.move(directory, f"{name}.new", layout.HANDOFF, name)
        except FileExistsError:
            with suppress(OSError):  # again on the next tick
                self._meet_squatter(receipt)
            return receipt.place == Place.OFFERED
        except OSError as error:
            self._tree.note_edge(
                "stored", receipt.facts, role="receiver", detail=f"not yet published: {error.strerror}"
            )
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

    def _published(self, receipt: Receipt) -> None:
        receipt.place, receipt.state = Place.OFFERED, State.PUBLISHED
        receipt.published_ns = int(self._tree.clock.wall() * 1e9)
        receipt.edges["published"] = self._tree.now_text()
        self._note(receipt, "published")
        self._tree.changed(receipt.peer, receipt.tid)
        if receipt.facts.to is not None:
            self._tree.tell(Waiting(AgentName(receipt.facts.to)))

    def publish_waiting(self) -> None:
        """Publish what a full disk or an unfinished start left in inbox/; what is late waits for the janitor there."""
        now = self._tree.clock.wall()
        for receipt in list(self._tree.ledger.receipts.values()):
            if receipt.place == Place.NEW and now <= receipt.facts.expires_at:
                self.publish(receipt)

    def record(self, receipt: Receipt) -> Record:
        """Return what is known of an open receipt."""
        return self._tree.current(receipt.facts, receipt.state, receipt.peer, FileName(receipt.name), receipt.edges)

    def _note(self, receipt: Receipt, event: str) -> None:
        self._tree.note_edge(event, receipt.facts, role="receiver", peer=receipt.peer, file=receipt.name)

    @staticmethod
    def _fill(newcomer: Newcomer, answers: list[Answer | None], answer: Answer) -> None:
        for number in newcomer.slots:
            answers[number] = answer


def _unavailable(tid: TransferId) -> Answer:
    return Answer(503, tid=tid, problem=Problem.UNAVAILABLE, detail="not stored; nothing was kept; send it again")
