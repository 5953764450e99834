"""Take: from `handoff/X` into our outbox (docs/custody.md section 5, a1 to a7).

It owns the look at each file of the agents' handoff/ and the way of those that leave. Whose a file is, `judgement`
says; what stays, `resident` keeps; how payloads travel it does not know. The rules that must stay true: a file is ours
only after the rename won (a4), and nothing is offered to a peer before outbox/ and handoff/ are flushed (a7).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from handoffd.custody import layout
from handoffd.custody.ending import Ending
from handoffd.custody.filesystem import NotRegular, Stat
from handoffd.custody.forward import launch
from handoffd.custody.judgement import Judgement, judge
from handoffd.custody.ledger import Facts, Place, Sending, facts_in, facts_of
from handoffd.custody.message import Coming, Offer
from handoffd.custody.resident import Residents
from handoffd.custody.tree import BadOutcome, Tree
from handoffd.protocol.name import (
    FileName,
    HostName,
    TransferId,
    is_caller_hash,
    is_file_name,
    outbox_name,
    suffixed,
    taking_name,
    tid_of_published,
)
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Reason
from handoffd.protocol.timing import MALFORMED_GRACE_S, ROUTE_LIMIT_BYTES

TAKE_LIMIT = 200
"""Files in a group: what was taken travels while the next group is being flushed, and memory stays flat."""

GROUP_LIMIT_BYTES = 8 << 20
"""Payloads of a group that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file in handoff/ that wants to leave: read, judged, not ours yet."""

    file: FileName
    seen: Stat
    data: bytes
    verdict: Judgement
    peer: str


@dataclass(frozen=True, slots=True)
class Caught:
    """A file under its `taking.` name: ours, its bytes read again. `seen` None: to be read and flushed again."""

    peer: str
    name: str
    file: FileName
    candidate: Candidate | None = None


class Taker:
    """Watches over handoff/."""

    def __init__(self, tree: Tree, ending: Ending) -> None:
        self._tree = tree
        self._ending = ending
        self._residents = Residents(tree, ending)
        self._unread: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()
        """Those of them of which the journal knows why."""
        self._hinted: dict[str, None] = {}

    def scan(self) -> None:
        """Look at all of handoff/ (a1), and at what an earlier look left unread."""
        names = self._tree.fs.names(layout.HANDOFF)
        self._residents.forget(set(names))
        self.hint(names)
        self.resume([Caught(peer, name, FileName(name.partition("~")[2])) for peer, name in self._unread])
        self._residents.expire()

    def hint(self, names: Iterable[str]) -> None:
        """Remember names to be looked at by `next_names`."""
        self._hinted.update(dict.fromkeys(names))

    def next_names(self) -> list[str]:
        """Return the next portion of hinted names, oldest first."""
        names = list(islice(self._hinted, TAKE_LIMIT))
        for name in names:
            del self._hinted[name]
        return names

    @property
    def has_more(self) -> bool:
        """Whether hinted names are left to be looked at."""
        return bool(self._hinted)

    @property
    def waits(self) -> bool:
        """Whether anything is hinted, or taken and still unread."""
        return bool(self._hinted or self._unread)

    def take(self, names: Sequence[str]) -> None:
        """Take what is addressed elsewhere, as one group, or several where the files are large."""
        found: list[Candidate] = []
        held = 0
        for name in names:
            candidate = self._look(name, alone=len(names) == 1)
            if candidate is None:
                continue
            found.append(candidate)
            held += len(candidate.data)
            if held > GROUP_LIMIT_BYTES:
                self._take_group(found)
                found, held = [], 0
        self._take_group(found)

    def _take_group(self, found: Sequence[Candidate]) -> None:
        if not found:
            return
        self._announce(found)
        flushed = self._tree.fs.sync_files([(layout.HANDOFF, candidate.file) for candidate in found])
        caught = [
            won
            for candidate, failure in zip(found, flushed, strict=True)
            if failure is None and (won := self._catch(candidate)) is not None
        ]
        self._settle(caught)

    def _announce(self, found: Sequence[Candidate]) -> None:
        """Tell of a payload that comes alone, while it is flushed: the request that carries it can be begun."""
        first = found[0]
        goes = first.verdict.reason is None and first.peer not in self._tree.settings.pulls
        if goes and len(found) == 1 and first.verdict.envelope is not None:
            self._tree.tell(Coming(HostName(first.peer), first.verdict.envelope.tid, len(first.data)))
            self._tree.hand_over()

    def resume(self, caught: Sequence[Caught]) -> None:
        """Go on at a5 with files under a `taking.` name: after a crash, or because their bytes did not parse."""
        if caught:
            self._tree.fs.sync_files([(layout.outbox(one.peer), one.name) for one in caught])
            self._settle(caught)

    def linger(self, peer: str, name: str) -> None:
        """Take up a file found at start under a legal `taking.` name."""
        self._unread[(peer, name)] = self._tree.clock.boottime()

    # ------------------------------------------------------------ a2: look

    def _look(self, name: str, *, alone: bool) -> Candidate | None:
        if name.startswith("."):
            return None  # an agent's temporary file
        tid = tid_of_published(name)
        if tid is not None:
            self._guard_published(name, tid)
            return None
        if not is_file_name(name):
            self._residents.leave_odd(name)
            return None
        return None if self._residents.is_settled(name) else self._read(name, alone=alone)

    def _read(self, name: str, *, alone: bool) -> Candidate | None:
        try:
            data, seen = self._tree.fs.read(layout.HANDOFF, name, ROUTE_LIMIT_BYTES, flush_soon=alone)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._residents.leave(name, None, Judgement(None, "unreadable", detail=str(error.strerror or error)), b"")
            return None
        if seen.links != 1:
            verdict = Judgement(None, "odd", detail="has several links; an agent's file has one")
        else:
            verdict = self._judge(data)
        if verdict.peer is None or self._residents.waits(name, verdict):
            self._residents.leave(name, seen, verdict, data)
            return None
        return Candidate(FileName(name), seen, data, verdict, verdict.peer)

    def _judge(self, data: bytes) -> Judgement:
        """Judge by the clock of now; what seems late after a jump of it is taken all the same, and rests in outbox/."""
        verdict = judge(data, self._tree.settings, self._tree.clock.wall())
        if verdict.reason is Reason.EXPIRED and self._tree.expiry_rests():
            return Judgement(verdict.peer, "remote", verdict.expires_at, verdict.envelope)
        return verdict

    def _guard_published(self, name: str, tid: TransferId) -> None:
        """A name that only publishing makes is never taken; one whose token went on, or that has none, goes (I1)."""
        receipt = self._tree.ledger.receipts.get(tid)
        if receipt is None or receipt.place not in (Place.NEW, Place.OFFERED):
            self._tree.quarantine(layout.HANDOFF, name, "a published file came back to handoff/")

    # ------------------------------------------------------------ a4 to a7

    def _catch(self, candidate: Candidate) -> Caught | None:
        name = taking_name(self._tree.salt()[:16], candidate.file)
        try:
            self._tree.fs.move(layout.HANDOFF, candidate.file, layout.outbox(candidate.peer), name)
        except FileNotFoundError:
            return None  # the race was lost: another claimed or withdrew it
        except OSError as error:
            self._residents.leave(candidate.file, candidate.seen, Judgement(None, "unmovable", detail=str(error)), b"")
            return None
        self._residents.drop(candidate.file)
        return Caught(candidate.peer, name, candidate.file, candidate)

    def _settle(self, caught: Sequence[Caught]) -> None:
        """a5 to a7 for a group: read again, name by T, flush, then enter and offer."""
        touched: set[str] = set()
        offers: list[tuple[Sending, Offer]] = []
        endings: list[tuple[Sending, Judgement]] = []
        for one in caught:
            settled = self._settle_or_keep(one)
            if settled is None:
                continue
            sending, data, verdict = settled
            touched.update((layout.outbox(one.peer), layout.outbox(sending.peer)))
            if verdict.reason is None:
                offers.append((sending, Offer(HostName(sending.peer), sending.tid, data, sending.facts.expires_at)))
            else:
                endings.append((sending, verdict))
        self._tree.fs.sync_directories(sorted(touched))
        launch(self._tree, offers)
        self._tree.hand_over()
        # While they go: a power cut before it shows X again beside T~X, and the scan ends that copy as a duplicate.
        self._tree.fs.sync_directories((layout.HANDOFF,))
        for sending, _ in offers:
            self._tree.note_edge("started", sending.facts, role="sender", peer=sending.peer, file=sending.file)
        for sending, verdict in endings:
            assert verdict.reason is not None
            self._ending.alone(sending, verdict.reason, verdict.detail)
        self._ending.flush()

    def _settle_or_keep(self, one: Caught) -> tuple[Sending, bytes, Judgement] | None:
        """One file that the disk refuses does not hold up its group; it is ours, so the next scan goes on with it."""
        try:
            return self._settle_one(one)
        except OSError as error:
            self._leave(one, f"taken, and cannot be read or named now: {error.strerror}")
            return None

    def _leave(self, one: Caught, why: str) -> None:
        """It is ours, and every scan tries again; why is told once."""
        key = (one.peer, one.name)
        self._unread.setdefault(key, self._tree.clock.boottime())
        if key not in self._told:
            self._told.add(key)
            self._tree.journal.write("parked", file=one.file, peer=one.peer, detail=why)

    def _done(self, one: Caught) -> None:
        self._unread.pop((one.peer, one.name), None)
        self._told.discard((one.peer, one.name))

    def _settle_one(self, one: Caught) -> tuple[Sending, bytes, Judgement] | None:
        directory = layout.outbox(one.peer)
        try:
            data, seen = self._tree.fs.read(directory, one.name, ROUTE_LIMIT_BYTES)
        except NotRegular:
            self._tree.quarantine(directory, one.name, "no regular file any more")
            return None
        except FileNotFoundError:
            self._done(one)
            return None
        verdict = self._judge_again(one, data, seen)
        if verdict is None:
            return None
        if verdict.peer is None:
            self._put_back(one, data)
            return None
        entered = self._enter(one, data, verdict, verdict.peer, seen.mtime_ns)
        self._done(one)
        return entered

    def _judge_again(self, one: Caught, data: bytes, seen: Stat) -> Judgement | None:
        """a5. The bytes judged at a2 keep their verdict; others are flushed and judged anew, broken ones later."""
        first = one.candidate
        if first is not None and first.seen.same_bytes_as(seen) and first.data == data:
            return first.verdict
        refused = self._tree.fs.sync_files([(layout.outbox(one.peer), one.name)])[0]
        if refused is not None:
            self._leave(one, f"taken, and cannot be flushed now: {refused.strerror}")
            return None
        verdict = self._judge(data)
        if verdict.word not in ("broken", "odd"):
            return verdict
        since = self._unread.setdefault((one.peer, one.name), self._tree.clock.boottime())
        if data and self._tree.clock.boottime() - since < MALFORMED_GRACE_S:
            return None
        return replace(verdict, peer=one.peer, reason=Reason.MALFORMED)

    def _put_back(self, one: Caught, data: bytes) -> None:
        """Local after all: back under its own name, or one that no agent's counter makes."""
        tid, stem = transfer_id(data), one.file.partition("-")[0]
        other = f"{stem}-l{tid[:12]}.json" if is_caller_hash(stem) else suffixed(one.file, tid)
        for name in (one.file, other):
            try:
                self._tree.fs.move(layout.outbox(one.peer), one.name, layout.HANDOFF, name)
            except FileExistsError:
                continue
            self._done(one)
            return
        self._leave(one, f"taken, and is for this host; it goes back when {one.file} or {other} is free in handoff/")

    def _enter(
        self, one: Caught, data: bytes, verdict: Judgement, peer: str, since_ns: int
    ) -> tuple[Sending, bytes, Judgement] | None:
        """a5's last checks and a6; S is reserved in the same step as its check."""
        tree, ledger = self._tree, self._tree.ledger
        facts = facts_of(verdict.envelope) if verdict.envelope else verdict.facts
        facts = facts or facts_in(transfer_id(data), data)
        if facts.tid in ledger.sendings or facts.tid in ledger.receipts or tree.has_outcome(facts.tid):
            self._end_copy(one, facts)
            return None
        if facts.identity and ledger.signatures.holder_differs(facts.identity, facts.tid):
            detail = "other bytes with the same sender, target, handoff_id and hmac were here first"
            verdict = replace(verdict, reason=Reason.VARIANT, detail=detail)
        elif verdict.reason is not Reason.MALFORMED:
            ledger.signatures.reserve(facts.identity, facts.tid, facts.expires_at)
        sending = Sending(facts=facts, peer=peer, file=one.file, place=layout.outbox(peer), since_ns=since_ns)
        tree.fs.move(layout.outbox(one.peer), one.name, sending.place, outbox_name(facts.tid, one.file))
        ledger.add_sending(sending)
        return sending, data, verdict

    def _end_copy(self, one: Caught, facts: Facts) -> None:
        """A second file with the same bytes: this copy ends, T has its own record (a5). After a crash inside an
        ending of our own it is not a copy but the file itself."""
        try:
            record = self._tree.outcome(facts.tid)
        except BadOutcome:
            record = None  # what T's end is cannot be said; this copy's can
        if record is None or record.file != one.file or record.reason not in _ENDED_AT_TAKE:
            detail = "the same bytes were handed over before"
            record = self._tree.ending(facts, Reason.DUPLICATE, Delivered.NEVER_SENT, one.peer, one.file, detail)
        self._tree.reject(layout.outbox(one.peer), one.name, suffixed(one.file, facts.tid), record)
        assert record.reason is not None
        self._tree.note_edge(record.state.value, facts, role="sender", file=one.file, reason=record.reason.value)


_ENDED_AT_TAKE = (Reason.MALFORMED, Reason.TOO_LARGE, Reason.VARIANT, Reason.EXPIRED)
