"""What the files say of one handoff, as a value for the operator's views.

It owns the translation of places and bytes into words; it opens nothing itself. The rule that must stay true: an
entry claims no more than its files prove, so a handoff in sent/ is `stored`, or `leased` to a
peer that dials in, whatever has happened there.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from handoffd.custody.place import Legal, Place, Role
from handoffd.custody.sighting import Sighting
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import TransferId, tid_of_published
from handoffd.protocol.payload import route, transfer_id
from handoffd.protocol.reason import State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import REVOKE_AFTER_S

DOUBT_AFTER_S = {
    State.QUEUED.value: 0.0,
    State.STORED.value: REVOKE_AFTER_S,
    State.LEASED.value: REVOKE_AFTER_S,
    State.PUBLISHED.value: REVOKE_AFTER_S,
}
"""Seconds past expires_at from which silence means doubt: then we have asked for a verdict (custody.md section 7)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """All names of one handoff that were seen, and the row of LEGAL they make. `tid` is None until bytes are read."""

    tid: TransferId | None
    sightings: tuple[Sighting, ...]
    row: Legal

    @property
    def ended(self) -> bool:
        """Whether there is an outcome."""
        return Place.OUTCOME in self.row.needs


@dataclass(frozen=True, slots=True)
class Entry:
    """What the files say of one handoff. `word`: its state, or `untaken`, `arriving`, `stray`.

    `peer`: whom it came from or goes to; at a relay `onward` says whom it goes to. `@agent` instead of a host to go
    to: whichever home of that agent leases it first.

    `since`: POSIX seconds by this host's clock: when the file was written here, or the outcome if there is one.
    """

    word: str
    role: Role
    tid: TransferId
    since: float
    handoff_id: str | None = None
    sender: str | None = None
    to: str | None = None
    peer: str | None = None
    onward: str | None = None
    file: str | None = None
    expires_at: float | None = None
    record: Record | None = None
    sightings: tuple[Sighting, ...] = ()
    means: str = ""

    @property
    def ended(self) -> bool:
        """Whether there is an outcome."""
        return self.record is not None

    def doubt_s(self, now: float) -> float | None:
        """Return for how long it has been in doubt (seconds), None if it is not."""
        if self.ended or self.expires_at is None or self.role not in (Role.SENDER, Role.RELAY):
            return None
        after_s = DOUBT_AFTER_S.get(self.word)
        doubt_s = 0.0 if after_s is None else now - self.expires_at - after_s
        return doubt_s if doubt_s > 0 else None


def open_entry(standing: Standing, seen: Sighting, data: bytes, found: os.stat_result) -> Entry:
    """Return the entry of a handoff without outcome, from the bytes at one of its names."""
    told = route(data)
    return Entry(
        word=standing.row.word,
        role=standing.row.role or Role.LOCAL,
        tid=standing.tid or transfer_id(data),
        since=found.st_mtime,
        handoff_id=told.handoff_id if told else None,
        sender=told.sender if told else None,
        to=told.to if told else None,
        # A name in handoff/ does not tell the peer; the receipt beside it does.
        peer=next((each.peer for each in standing.sightings if each.peer), None),
        onward=_onward(standing) if standing.row.role is Role.RELAY else None,
        file=seen.name,
        expires_at=told.expires_at if told else None,
        sightings=standing.sightings,
        means=standing.row.means,
    )


def _onward(standing: Standing) -> str | None:
    """Return whom it goes to; of two names that a power cut left, the furthest counts (R6)."""
    way = {seen.place: seen.peer for seen in standing.sightings}
    return way.get(Place.SENT) or way.get(Place.OUTBOX)


def ended_entry(record: Record, written_at: float, sightings: tuple[Sighting, ...]) -> Entry:
    """Return the entry of a handoff from its outcome, which was written here at `written_at` (POSIX seconds)."""
    return Entry(
        word=record.state.value,
        role=_role_of(record, {sighting.place for sighting in sightings}),
        tid=record.tid,
        since=written_at,
        handoff_id=record.handoff_id,
        sender=record.sender,
        to=record.to,
        peer=record.peer,
        onward=record.onward,
        file=record.file,
        expires_at=_moment(record.expires_at),
        record=record,
        sightings=sightings,
        means=record.detail,
    )


def _role_of(record: Record, places: Iterable[Place]) -> Role:
    seen = set(places)
    if record.onward is not None or Place.ROUTED in seen:
        return Role.RELAY
    if record.peer is None:
        return Role.LOCAL  # never taken
    if Place.RECEIPT in seen:
        return Role.RECEIVER
    # A receiver names the published file, a sender the agent's; a tombstone names none, and only receivers write them.
    came_here = record.file is None or tid_of_published(record.file) == record.tid
    return Role.RECEIVER if came_here else Role.SENDER


def _moment(text: str | None) -> float | None:
    try:
        return None if text is None else parse_moment(text)
    except ValueError:
        return None
