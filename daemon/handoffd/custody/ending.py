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
from handoffd.custody.ledger import Sending
from handoffd.custody.message import Owed
from handoffd.custody.tree import Tree
from handoffd.protocol.name import FileName, TransferId, is_file_name, suffixed
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import ARCHIVED, Reason, State, delivered_after
from handoffd.protocol.record import Record


class Ending:
    """Collects the endings of a group and makes them durable together."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._waiting: list[tuple[Sending, Record]] = []
        self._fetches: dict[str, dict[TransferId, None]] = {}
        self._forgets: dict[str, dict[TransferId, float]] = {}
        self._unfinished: dict[TransferId, tuple[Sending, Record]] = {}

    # ------------------------------------------------------------ collecting

    def alone(self, sending: Sending, reason: Reason, detail: str = "") -> None:
        """End a transfer on this host's own knowledge; effective at the next flush()."""
        claim_seen = "claimed" in sending.edges
        delivered = delivered_after(reason, claim_seen=claim_seen, sent=sending.maybe_sent or _peer_has(sending))
        record = self._tree.ending(sending.facts, reason, delivered, sending.peer, sending.file, detail)
        self._waiting.append((sending, replace(record, edges={**sending.edges, **record.edges})))

    def as_peer_says(self, sending: Sending, told: Record, clock_offset_ms: int | None) -> None:
        """End a transfer with the peer's final record; names and facts stay ours."""
        facts = sending.facts
        record = replace(
            self._without_our_revoke(sending, told),
            handoff_id=facts.handoff_id,
            identity=facts.identity,
            sender=facts.sender,
            to=facts.to,
            peer=sending.peer,
            file=sending.file,
            expires_at=facts.expires_text,
            clock_offset_ms=clock_offset_ms,
            in_doubt=False,
            edges={**sending.edges, **told.edges},
        )
        self._waiting.append((sending, record))

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
                self.finish_or_keep(sending, record)
                done.append((sending, record))
        return done

    def repeat(self) -> None:
        """Try again the last moves that the disk refused; runs on every tick, and every start repeats them too."""
        for sending, record in list(self._unfinished.values()):
            with suppress(OSError):
                self.finish(sending, record)
                del self._unfinished[sending.tid]

    def finish_or_keep(self, sending: Sending, record: Record) -> None:
        """Make the last moves of a transfer that has its outcome, now or on a later tick; never raises OSError."""
        try:
            self.finish(sending, record)
        except OSError as error:
            self._keep(sending, record, error)

    def _keep(self, sending: Sending, record: Record, error: OSError) -> None:
        self._unfinished[sending.tid] = (sending, record)
        detail = f"ended; its files wait for the disk: {error.strerror}"
        self._tree.note_edge("parked", sending.facts, role="sender", peer=sending.peer, detail=detail)

    def _tell(self, sending: Sending, record: Record) -> None:
        assert record.reason is not None
        self._tree.note_edge(
            record.state.value,
            sending.facts,
            role="sender",
            peer=sending.peer,
            file=sending.file,
            state=record.state.value,
            reason=record.reason.value,
            detail=record.detail,
            peer_at=record.at if record.by == sending.peer else None,
            clock_offset_ms=record.clock_offset_ms,
        )

    # ------------------------------------------------------------ a13 to a15

    def finish(self, sending: Sending, record: Record) -> None:
        """Remove the view; then fetch the artefact if there is one, else make the last moves."""
        self._remove_view(sending)
        if record.artefact is not None and self._fetchable(record):
            self._fetches.setdefault(sending.peer, {})[sending.tid] = None
            self._tree.tell(Owed(sending.peer))
            return
        if record.artefact is not None:
            self._missing(sending, "larger than this host's max_payload_bytes")
        self._move_payload(sending, record)
        self._strike(sending, record)

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
            self._keep(sending, record, error)

    def _land(self, sending: Sending, record: Record, data: bytes | None) -> None:
        if data is not None and record.artefact is not None and transfer_id(data) == record.artefact.sha256:
            self._put_artefact(sending, record, data)
        else:
            self._missing(sending, "the peer had none" if data is None else "its bytes do not fit the record")
            self._move_payload(sending, record)
        self._strike(sending, record)

    def _put_artefact(self, sending: Sending, record: Record, data: bytes) -> None:
        assert record.artefact is not None
        home = _home(record)
        wanted = record.artefact.name if is_file_name(record.artefact.name) else suffixed(sending.file, sending.tid)
        for name in (wanted, suffixed(wanted, sending.tid)):
            if self._tree.show(home, name, data) or self._holds(home, name, record.artefact.sha256):
                if home == layout.REJECTED:
                    self.reason_beside(name, record)
                self._tree.place(sending.place, sending.name, home, f"{name}.original", sending.tid)
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
        self._tree.note_edge("artefact_missing", sending.facts, role="sender", peer=sending.peer, detail=why)

    def _move_payload(self, sending: Sending, record: Record) -> None:
        if _home(record) == layout.ARCHIVE:
            self._tree.place(sending.place, sending.name, layout.ARCHIVE, sending.file, sending.tid)
        else:
            self._tree.reject(sending.place, sending.name, suffixed(sending.file, sending.tid), record)

    def reason_beside(self, name: str, record: Record) -> None:
        """Write `<name>.reason` in rejected/. Raises OSError."""
        self._tree.put_reason(name, record)

    def _strike(self, sending: Sending, record: Record) -> None:
        self._tree.ledger.drop_sending(sending)
        # Bytes that do not say when they expire: their outcome is kept as if they had just done so.
        expires_at = sending.facts.expires_at or self._tree.clock.wall()
        if sending.maybe_sent or _peer_has(sending) or record.by == sending.peer:
            self.owe_forget(sending.peer, sending.tid, expires_at)
        else:
            self.forgotten(sending.tid, expires_at)

    # ------------------------------------------------------------ the view at claimed/X (a12)

    def show_view(self, sending: Sending) -> None:
        """Put a copy of the bytes into claimed/; an equal one left from before a restart is taken over."""
        if sending.view is not None:
            return
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
        names = [sending.view] if sending.view else [sending.file, suffixed(sending.file, sending.tid)]
        for name in names:
            if self._holds(layout.CLAIMED, name, sending.tid):
                self._tree.fs.unlink(layout.CLAIMED, name)

    # ------------------------------------------------------------ forgetting (section 12)

    def owe_forget(self, peer: str, tid: TransferId, expires_at: float) -> None:
        """Note that the peer may forget T."""
        self._forgets.setdefault(peer, {})[tid] = expires_at
        self._tree.tell(Owed(peer))

    def forgotten(self, tid: TransferId, expires_at: float) -> None:
        """The peer keeps nothing of T any more; our own record may go in its time."""
        self._tree.ledger.forgettable.add(tid, expires_at + self._tree.settings.forget_after_s)

    def peer_forgot(self, peer: str, tids: tuple[TransferId, ...]) -> None:
        """The peer has confirmed."""
        owed = self._forgets.get(peer, {})
        for tid in tids:
            if tid in owed:
                self.forgotten(tid, owed.pop(tid))

    def owed(self, peer: str, limit: int) -> tuple[tuple[TransferId, ...], tuple[TransferId, ...]]:
        """Return what to forget and what to fetch from a peer, at most `limit` of each."""
        return tuple(islice(self._forgets.get(peer, ()), limit)), tuple(islice(self._fetches.get(peer, ()), limit))


def _peer_has(sending: Sending) -> bool:
    return sending.place.startswith(layout.SENT)


def _home(record: Record) -> str:
    return layout.ARCHIVE if record.reason in ARCHIVED else layout.REJECTED
