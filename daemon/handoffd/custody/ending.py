"""Endings at the sender: a13 to a15, our own and the peer's (docs/custody.md section 5).

It owns the step from "the end is known" to "outcome durable, files in archive/ or rejected/, forget owed". It does
not decide that something ends. The rule that must stay true (R5): `outcome/T.json` is durable before a payload goes
to archive/ or rejected/, and an outcome never changes.
"""

import errno
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from handoffd.custody import layout
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.lastmove import LastMoves
from handoffd.custody.ledger import Sending
from handoffd.custody.message import Changed, Owed
from handoffd.custody.passing import is_passed_on, keep_artefact, kept_artefact, put_beside
from handoffd.custody.tree import Tree
from handoffd.protocol.name import CANARY_PEER, FileName, TransferId, is_file_name, suffixed
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import ARCHIVED, NOT_DELIVERED, Delivered, Reason, State, delivered_after
from handoffd.protocol.record import DETAIL_LIMIT, Record, with_course
from handoffd.protocol.timing import EXPIRY_GRACE_S


class Ending:
    """Collects the endings of a group and makes them durable together."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._waiting: list[tuple[Sending, Record]] = []
        self._fetches: dict[str, dict[TransferId, None]] = {}
        self._forgets: dict[str, dict[TransferId, float | None]] = {}
        self.last: LastMoves[Sending] = LastMoves(tree, self._finish)

    # ------------------------------------------------------------ collecting

    def alone(self, sending: Sending, reason: Reason, detail: str = "") -> None:
        """End a transfer on this host's own knowledge; effective at the next flush()."""
        claim_seen = "claimed" in sending.edges
        # What is only forwarded did leave the host it came from.
        sent = sending.may_be_there or sending.behind is not None
        delivered = delivered_after(reason, claim_seen=claim_seen, sent=sent)
        record = self._tree.ending(sending.facts, reason, delivered, sending.peer, sending.file, detail)
        self._wait(sending, record)

    def as_peer_says(self, sending: Sending, told: Record) -> None:
        """End a transfer with the peer's final record, its clocks held against ours; names and facts stay ours."""
        facts = sending.facts
        told = _with_its_claim(sending, self._without_our_revoke(sending, told))
        record = replace(
            told,
            handoff_id=facts.handoff_id,
            identity=facts.identity,
            sender=facts.sender,
            to=facts.to,
            peer=sending.peer,
            onward=None,
            file=sending.file,
            expires_at=facts.expires_text,
            detail=self._with_skew(sending, told),
            in_doubt=False,
        )
        self._wait(sending, record)

    def _wait(self, sending: Sending, record: Record) -> None:
        record = with_course(record, self._tree.settings.host, sending.edges, sending.edges_by, sending.clocks)
        self._waiting.append((sending, _from_both_sides(sending, record)))

    def _with_skew(self, sending: Sending, told: Record) -> str:
        """Return the detail, and whose clock is wrong by how much where a time was over by another one than ours.

        A relay leaves that to the writer's host, which knows the sum.
        """
        ahead_ms = told.clock_offset_ms or 0
        if told.reason is not Reason.EXPIRED or abs(ahead_ms) <= EXPIRY_GRACE_S * 1000 or sending.behind is not None:
            return told.detail
        side = "ahead of" if ahead_ms > 0 else "behind"
        skew = f"the clock of {told.by} is {abs(ahead_ms) / 1000:.1f} s {side} that of {self._tree.settings.host}"
        return f"{told.detail}; {skew}" if told.detail else skew

    def _without_our_revoke(self, sending: Sending, told: Record) -> Record:
        """A revoke that this daemon asked for because the time was over is, to the writer, an expiry."""
        late = self._tree.clock.wall() > sending.facts.expires_at
        if told.reason is not Reason.REVOKED or sending.withdrawn or not late:
            return told
        return replace(told, state=State.EXPIRED, reason=Reason.EXPIRED, detail="taken back from the peer unclaimed")

    def flush(self) -> list[tuple[Sending, Record]]:
        """Make the collected endings durable, then finish each; return those that are now final.

        What the disk did not take stays open and is decided again on a later tick.
        """
        waiting, self._waiting = self._waiting, []
        written = self._tree.write_outcomes([record for _, record in waiting])
        done = []
        for (sending, _), record in zip(waiting, written, strict=True):
            if record is not None and sending.outcome is None:
                sending.outcome = record
                self._tell(sending, record)
                self._tell_behind(sending)
                self.last.make(sending, record)
                done.append((sending, record))
        return done

    def _tell_behind(self, sending: Sending) -> None:
        """Let the peer it came from hear of the end: the outcome is durable, whatever its files wait for."""
        if sending.behind is not None:
            self._tree.ledger.drop_receipt(sending.behind)
            self._tree.changed(sending.behind.peer, sending.tid)

    def _tell(self, sending: Sending, record: Record) -> None:
        assert record.reason is not None
        self._tree.note_edge(
            record.state.value,
            sending.facts,
            role=sending.role,
            peer=sending.peer,
            file=sending.file,
            state=record.state.value,
            reason=record.reason.value,
            detail=record.detail,
            peer_at=None if record.by == self._tree.settings.host else record.at,
            timed_by=None if record.by in (self._tree.settings.host, sending.peer) else record.by,
            clock_offset_ms=record.clock_offset_ms,
        )

    # ------------------------------------------------------------ a13 to a15

    def _finish(self, sending: Sending, record: Record) -> None:
        """Remove the view; then fetch the artefact if there is one, else make the last moves."""
        if sending.facts.is_canary:
            self._discard(sending)
            return
        if is_passed_on(sending, record):
            self._finish_passed_on(sending, record)
            return
        self._remove_view(sending)
        if self._tree.settings.is_leased(sending.peer) and record.artefact is not None:
            self._land(sending, record, kept_artefact(self._tree, sending.tid, record.artefact))
            self._tree.fs.unlink(layout.OUTCOME, layout.passed_artefact(sending.tid))
            return
        if self._fetchable(record):
            self._fetch(sending)
            return
        if record.artefact is not None:
            self._missing(sending, "larger than this host's max_payload_bytes")
        self._move_payload(sending, record)
        self._strike(sending, record)

    def _discard(self, sending: Sending) -> None:
        """A canary is nobody's payload: no directory of agents has it, and no forget is owed (section 18)."""
        self._tree.fs.unlink(sending.place, sending.name)
        self._tree.ledger.drop_sending(sending)
        self._tree.tell(Changed(CANARY_PEER))

    def _finish_passed_on(self, sending: Sending, record: Record) -> None:
        """Where we push, the artefact is fetched first; a peer that pulls has brought it, or it never comes."""
        pushed = not self._tree.settings.is_leased(sending.peer)
        if pushed and self._fetchable(record) and kept_artefact(self._tree, sending.tid, record.artefact) is None:
            self._fetch(sending)
        else:
            self._pass_by(sending, record)

    def _fetch(self, sending: Sending) -> None:
        self._fetches.setdefault(sending.peer, {})[sending.tid] = None
        self._tree.tell(Owed(sending.peer))

    def _pass_by(self, sending: Sending, record: Record) -> None:
        if kept_artefact(self._tree, sending.tid, record.artefact) is None:
            self._tree.fs.unlink(layout.OUTCOME, layout.passed_artefact(sending.tid))
            if record.artefact is not None:
                self._missing(sending, "the peer has none, or did not bring it")
        put_beside(self._tree, sending)
        self._tree.ledger.drop_sending(sending)
        if not self._tree.settings.is_leased(sending.peer) and sending.may_be_there:
            self.owe_forget(sending.peer, sending.tid, None)
        if record.artefact is not None and record.peer is not None:
            self._tree.changed(record.peer, sending.tid)  # told of no end while the artefact was on its way

    def _fetchable(self, record: Record) -> bool:
        return record.artefact is not None and record.artefact.size <= self._tree.settings.max_payload_bytes

    def land(self, sending: Sending, data: bytes | None) -> None:
        """a15: the artefact came, or did not; later arrivals are dropped."""
        record = sending.outcome
        if record is None or record.artefact is None:
            return
        self._fetches.get(sending.peer, {}).pop(sending.tid, None)
        try:
            self._land(sending, record, data)
        except OSError as error:
            self.last.keep(sending, record, error)

    def _land(self, sending: Sending, record: Record, data: bytes | None) -> None:
        if is_passed_on(sending, record):
            self._land_between(sending, record, data)
            return
        if data is not None and record.artefact is not None and transfer_id(data) == record.artefact.sha256:
            self._put_artefact(sending, record, data)
        else:
            self._missing(
                sending, "the peer has none, or did not bring it" if data is None else "its bytes do not fit the record"
            )
            self._move_payload(sending, record)
        self._strike(sending, record)

    def _land_between(self, sending: Sending, record: Record, data: bytes | None) -> None:
        """What passes through is kept for the peer that the handoff came from; other bytes than these count as none."""
        fits = data is not None and record.artefact is not None and transfer_id(data) == record.artefact.sha256
        if fits and data is not None:
            if not keep_artefact(self._tree, sending.tid, data):
                raise OSError(errno.ENOSPC, "the artefact cannot be kept", sending.tid)
            # Before the payload leaves sent/: from then on no start fetches it again.
            self._tree.fs.sync_directories([layout.OUTCOME])
        self._pass_by(sending, record)

    def _put_artefact(self, sending: Sending, record: Record, data: bytes) -> None:
        assert record.artefact is not None
        home = _home(record)
        wanted = record.artefact.name if is_file_name(record.artefact.name) else suffixed(sending.file, sending.tid)
        for name in (wanted, suffixed(wanted, sending.tid)):
            if self._tree.show(home, name, data) or self._holds(home, name, record.artefact.sha256):
                if home == layout.REJECTED:
                    self.reason_beside(name, record)
                self._tree.place(sending.place, sending.name, home, f"{name}{layout.ORIGINAL}", sending.tid)
                return
            if self._tree.fs.stat(home, name) is None:
                raise OSError(errno.ENOSPC, "the artefact cannot be written", name)
        self._missing(sending, "no free name for it")
        self._move_payload(sending, record)

    def _holds(self, directory: str, name: str, sha256: str) -> bool:
        try:
            data, _ = self._tree.fs.read(directory, name)
        except (FileNotFoundError, NotRegular):
            return False
        return transfer_id(data) == sha256

    def _missing(self, sending: Sending, why: str) -> None:
        self._tree.note_edge("artefact_missing", sending.facts, role=sending.role, peer=sending.peer, detail=why)

    def _move_payload(self, sending: Sending, record: Record) -> None:
        if _home(record) == layout.ARCHIVE:
            self._tree.place(sending.place, sending.name, layout.ARCHIVE, sending.file, sending.tid)
        else:
            self._tree.reject(sending.place, sending.name, suffixed(sending.file, sending.tid), record)

    def reason_beside(self, name: str, record: Record) -> None:
        """Write `<name>.reason` in rejected/. Raises OSError."""
        self._tree.put_reason(name, record)

    def _strike(self, sending: Sending, record: Record) -> None:
        if sending.withdrawn:
            self._tree.fs.unlink(layout.WISH, sending.tid)  # unflushed: a start removes what is left of it
        self._tree.ledger.drop_sending(sending)
        # Bytes that do not say when they expire: their outcome is kept as if they had just done so.
        expires_at = sending.facts.expires_at or self._tree.clock.wall()
        heard = sending.may_be_there or record.by == sending.peer
        # A peer that dials in tells its finals until it is told to forget them: nothing is owed to it unasked.
        if heard and not self._tree.settings.is_leased(sending.peer):
            self.owe_forget(sending.peer, sending.tid, expires_at)
        else:
            self.forgotten(sending.tid, expires_at)

    # ------------------------------------------------------------ the view at claimed/X (a12)

    def show_view(self, sending: Sending) -> None:
        """Put a copy of the bytes into claimed/; an equal one left from before a restart is taken over."""
        if sending.view is not None or sending.behind is not None or sending.facts.is_canary:
            return  # what is only forwarded concerns no agent of this host (section 6)
        with suppress(OSError):  # it is for the eye alone, and the next news of a claim tries again
            data, _ = self._tree.fs.read(sending.place, sending.name)
            sending.view = self._shown(sending, data)

    def _shown(self, sending: Sending, data: bytes) -> FileName | None:
        for name in (sending.file, suffixed(sending.file, sending.tid)):
            shown = self._tree.show(layout.CLAIMED, name, data, durable=False)
            if shown or self._holds(layout.CLAIMED, name, sending.tid):
                return FileName(name)
        return None

    def _remove_view(self, sending: Sending) -> None:
        """Under either name: an earlier process may have shown it under the other one, and a power cut may have left
        a beginning of it, because views are not flushed."""
        for name in (sending.file, suffixed(sending.file, sending.tid)):
            with suppress(FileNotFoundError, NotRegular):
                shown, _ = self._tree.fs.read(layout.CLAIMED, name)
                if transfer_id(shown) == sending.tid or self._begins_with(sending, shown):
                    self._tree.fs.unlink(layout.CLAIMED, name)

    def _begins_with(self, sending: Sending, part: bytes) -> bool:
        return self._tree.fs.read(sending.place, sending.name)[0].startswith(part)

    # ------------------------------------------------------------ forgetting (section 12)

    def owe_forget(self, peer: str, tid: TransferId, expires_at: float | None) -> None:
        """Note that the peer may forget T. `expires_at` None: our own record stays for the peer that T came from."""
        self._forgets.setdefault(peer, {})[tid] = expires_at
        self._tree.tell(Owed(peer))

    def forgotten(self, tid: TransferId, expires_at: float) -> None:
        """The peer keeps nothing of T any more; our own record may go in its time."""
        self._tree.ledger.forgettable.add(tid, expires_at + self._tree.settings.forget_after_s)

    def peer_forgot(self, peer: str, tids: tuple[TransferId, ...]) -> None:
        """The peer has confirmed."""
        owed = self._forgets.get(peer, {})
        for tid in tids:
            expires_at = owed.pop(tid, None)
            if expires_at is not None:
                self.forgotten(tid, expires_at)

    def owed(self, peer: str, limit: int) -> tuple[tuple[TransferId, ...], tuple[TransferId, ...]]:
        """Return what to forget and what to fetch from a peer, at most `limit` of each."""
        return tuple(islice(self._forgets.get(peer, ()), limit)), tuple(islice(self._fetches.get(peer, ()), limit))


def _with_its_claim(sending: Sending, told: Record) -> Record:
    """I6: a claim that was shown stays told, though an agent put it back while the daemon that saw it was down."""
    if "claimed" not in sending.edges or told.delivered not in NOT_DELIVERED:
        return told
    words = f"{told.by} had told it as claimed: an agent put its claim back"
    detail = f"{told.detail}; {words}" if told.detail else words
    return replace(told, delivered=Delivered.CLAIMED, detail=detail[:DETAIL_LIMIT])


def _from_both_sides(sending: Sending, record: Record) -> Record:
    """One record serves both roles of a relay: `peer` and `file` are the receiver's, `onward` the sender's."""
    if sending.behind is None:
        return record
    return replace(record, peer=sending.behind.peer, onward=sending.peer, file=sending.behind.name)


def _home(record: Record) -> str:
    return layout.ARCHIVE if record.reason in ARCHIVED else layout.REJECTED
