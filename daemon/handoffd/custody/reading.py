"""A root as it lies on disk, for people: every handoff it holds, without the daemon and without a write.

It owns looking; what names mean stands in place.py. It does not know what the daemon has in memory. The rule that
must stay true: files come and go while we look, so whatever vanishes is skipped, and nothing is decided by what is
found here.
"""

import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from handoffd.custody.acquaintance import NOTE_LIMIT_BYTES, PULL, BadNote, read_note
from handoffd.custody.entry import Entry, Standing, ended_entry, open_entry
from handoffd.custody.layout import CLAIMED, HANDOFF, OUTCOME, PEERS, REASON, REJECTED, outcome_name
from handoffd.custody.place import LENT, Place, legal_for
from handoffd.custody.sighting import BY_PEER, Sighting, in_handoff, in_outcome
from handoffd.protocol.name import TransferId, is_transfer_id, suffixed, tid_of_published
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.record import BadRecord, Record, decode
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES

SHORTEST_PREFIX = 8
"""Digits of T that a person must give: 32 bits, unlikely to be shared among the handoffs of one host."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WITHOUT_PAYLOAD = frozenset({Place.VIEW, Place.CLAIMED, Place.ELSEWHERE, Place.OUTCOME, Place.PASSED_ARTEFACT})


class Reading:
    """Looks at one root, also one that no daemon has served yet. Listing raises PermissionError to a stranger."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def standings(self) -> list[Standing]:
        """Return every handoff that has a name besides its outcome's; hardly any file is opened."""
        with suppress(FileNotFoundError):
            os.stat(self.root / OUTCOME)  # for its PermissionError
        found: dict[str, dict[Sighting, None]] = {}
        for seen in self._sightings():
            found.setdefault(seen.tid or seen.path, {})[seen] = None
        claimed = set(_names(self.root / CLAIMED))
        dials_in = functools.cache(self._dials_in)
        made = (self._standing(tuple(seen), claimed, dials_in) for seen in found.values())
        return [standing for standing in made if standing is not None]

    def oldest_first(self, standings: Iterable[Standing]) -> list[Standing]:
        """Return them by the age of their files; one stat for each."""
        return sorted(standings, key=self._written_at)

    def entry(self, standing: Standing) -> Entry | None:
        """Return what the files say of it, None if all of them have gone meanwhile."""
        if standing.tid is not None and standing.ended:
            return self._ended(standing.tid, standing.sightings)
        for seen in standing.sightings:
            read = None if seen.place in _WITHOUT_PAYLOAD else read_file(self.root / seen.path)
            if read is not None:
                return open_entry(standing, seen, *read)
        return None

    def newest_outcomes(self) -> list[TransferId]:
        """Return the handoffs that ended, newest first; one stat for each outcome, none is read."""
        dated: list[tuple[float, str]] = []
        with suppress(FileNotFoundError), os.scandir(self.root / OUTCOME) as listing:
            dated = [(_changed_at(item), item.name) for item in listing if item.name.endswith(".json")]
        return [TransferId(name[:-5]) for _, name in sorted(dated, reverse=True) if is_transfer_id(name[:-5])]

    def outcome(self, tid: TransferId) -> tuple[Record, float] | None:
        """Return the outcome and when it was written here (POSIX seconds); None also for one that is unreadable."""
        read = read_file(self.root / OUTCOME / outcome_name(tid))
        try:
            return None if read is None else (decode(read[0]), read[1].st_mtime)
        except BadRecord:
            return None

    def ended(self, tid: TransferId) -> Entry | None:
        """Return the entry of this outcome, None if there is none that can be read."""
        return self._ended(tid, _seen(in_outcome(outcome_name(tid))))

    def newest_reasons(self, search: int | None = None, since_s: float = 0.0) -> Iterator[Entry]:
        """Return what ended since then and only a reason in rejected/ tells of, newest first; at most `search`.

        It was never taken, or its outcome was forgotten. An agent may have written any of them: `outcome/` wins.
        """
        told: set[TransferId] = set()  # bytes that were handed over twice have two reasons
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.root / REJECTED) as listing:
            dated = [(_changed_at(item), item.name) for item in listing if item.name.endswith(REASON)]
            for _, name in sorted((each for each in dated if each[0] >= since_s), reverse=True)[:search]:
                read = read_file(self.root / REJECTED / name)
                with suppress(BadRecord):
                    record = None if read is None else decode(read[0])
                    if read is None or record is None or record.tid in told or self._outcomes(record.tid):
                        continue
                    told.add(record.tid)
                    yield ended_entry(record, read[1].st_mtime, ())

    def find(self, ident: str) -> list[Entry]:
        """Return what bears this T, this prefix of T (8 digits at the least) or this handoff_id, newest first.

        What only a reason tells of is looked for where nothing else bears it: no name says its T.
        """
        entries = [entry for standing in self.standings() if (entry := self._if_meant(standing, ident)) is not None]
        known = {entry.tid for entry in entries}
        ended = (self.ended(tid) for tid in self._outcomes_of(ident) if tid not in known)
        entries += [entry for entry in ended if entry is not None]
        if not entries:
            entries += [entry for entry in self.newest_reasons() if _is_meant(entry, ident)]
        return sorted(entries, key=lambda entry: entry.since, reverse=True)

    # ------------------------------------------------------------ looking

    def _sightings(self) -> Iterator[Sighting]:
        # In the direction of motion, handoff/ again after inbox/: what moves meanwhile is seen at least once.
        for name in _names(self.root / HANDOFF):
            yield from _seen(in_handoff(name))
        for directory, meaning in BY_PEER.items():
            for peer in _names(self.root / directory):
                for name in _names(self.root / directory / peer):
                    yield from _seen(meaning(peer, name))
        for name in filter(tid_of_published, _names(self.root / HANDOFF)):
            yield from _seen(in_handoff(name))

    def _standing(
        self, seen: tuple[Sighting, ...], claimed: set[str], dials_in: Callable[[str | None], bool]
    ) -> Standing | None:
        tid = seen[0].tid
        if tid is not None:
            seen += tuple(self._claims(tid, {item.place: item for item in seen}, claimed)) + self._outcomes(tid)
        row = legal_for({item.place for item in seen})
        if row is not None and row.needs == LENT.needs and dials_in(_peer_at(Place.SENT, seen)):
            row = LENT
        return Standing(tid, seen, row) if row else None

    def _dials_in(self, peer: str | None) -> bool:
        read = read_file(self.root / PEERS / f"{peer}.json", NOTE_LIMIT_BYTES)
        with suppress(BadNote):
            return read is not None and read_note(read[0])[1] == PULL
        return False

    def _claims(self, tid: TransferId, held: dict[Place, Sighting], claimed: set[str]) -> Iterator[Sighting]:
        if Place.SENT in held:
            yield from self._views(tid, held[Place.SENT], claimed)
        receipt = held.get(Place.RECEIPT)
        if receipt is not None and receipt.name in claimed:
            yield Sighting(Place.CLAIMED, f"{CLAIMED}/{receipt.name}", tid, receipt.peer, receipt.name)
        elif receipt is not None and len(held) == 1 and self._is_held_elsewhere(receipt):
            yield Sighting(Place.ELSEWHERE, receipt.path, tid, receipt.peer, receipt.name)

    def _views(self, tid: TransferId, record: Sighting, claimed: set[str]) -> Iterator[Sighting]:
        name = record.name or ""
        for view in {name, suffixed(name, tid)} & claimed:
            # The agents' counters repeat, so a name alone may be another handoff's.
            read = read_file(self.root / CLAIMED / view)
            if read is not None and transfer_id(read[0]) == tid:
                yield Sighting(Place.VIEW, f"{CLAIMED}/{view}", tid, record.peer)

    def _is_held_elsewhere(self, receipt: Sighting) -> bool:
        path = self.root / receipt.path
        try:
            links = os.stat(path, follow_symlinks=False).st_nlink
        except FileNotFoundError:
            return False
        return links > 1 and not any(path.with_name(path.name + ending).exists() for ending in (".new", ".pulled"))

    def _written_at(self, standing: Standing) -> float:
        for seen in standing.sightings:
            with suppress(OSError):
                return os.stat(self.root / seen.path, follow_symlinks=False).st_mtime
        return 0.0

    def _outcomes(self, tid: TransferId) -> tuple[Sighting, ...]:
        name = outcome_name(tid)
        return _seen(in_outcome(name)) if (self.root / OUTCOME / name).exists() else ()

    # ------------------------------------------------------------ one handoff

    def _ended(self, tid: TransferId, sightings: tuple[Sighting, ...]) -> Entry | None:
        found = self.outcome(tid)
        return None if found is None else ended_entry(*found, sightings)

    def _if_meant(self, standing: Standing, ident: str) -> Entry | None:
        if is_transfer_id(ident) and standing.tid not in (None, ident):
            return None  # not worth reading its bytes
        entry = self.entry(standing)
        return entry if entry and _is_meant(entry, ident) else None

    def unreadable(self, ident: str) -> list[TransferId]:
        """Return the T that this T or prefix means whose outcome stands and cannot be read."""
        return [tid for tid in self._outcomes_named(ident) if self.outcome(tid) is None]

    def _outcomes_of(self, ident: str) -> list[TransferId]:
        # By name first: a handoff_id that is also the beginning of some T is not worth reading every outcome for.
        by_name = self._outcomes_named(ident)
        if by_name or is_transfer_id(ident):
            return by_name
        return [tid for tid in self._outcome_tids() if self._outcome_names(tid, ident)]

    def _outcomes_named(self, ident: str) -> list[TransferId]:
        if is_transfer_id(ident):
            tid = TransferId(ident)
            return [tid] if self._outcomes(tid) else []
        return [tid for tid in self._outcome_tids() if _is_prefix(ident, tid)]

    def _outcome_tids(self) -> Iterator[TransferId]:
        for seen in map(in_outcome, _names(self.root / OUTCOME)):
            if seen and seen.tid and seen.place is Place.OUTCOME:
                yield seen.tid

    def _outcome_names(self, tid: TransferId, ident: str) -> bool:
        read = read_file(self.root / OUTCOME / outcome_name(tid))
        # A search of the bytes before they are parsed: there may be a hundred thousand outcomes.
        if read is None or ident.encode() not in read[0]:
            return False
        found = self.outcome(tid)
        return found is not None and found[0].handoff_id == ident


def read_file(path: Path, limit_bytes: int = ROUTE_LIMIT_BYTES) -> tuple[bytes, os.stat_result] | None:
    """Return a regular file's bytes and stat; None if it is gone, unreadable, not regular or larger."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit_bytes:  # of a directory no file object can be made
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        return file.read(), found


def _is_meant(entry: Entry, ident: str) -> bool:
    return entry.handoff_id == ident or _is_prefix(ident, entry.tid)


def _is_prefix(ident: str, tid: TransferId) -> bool:
    return len(ident) >= SHORTEST_PREFIX and tid.startswith(ident)


def _peer_at(place: Place, seen: Iterable[Sighting]) -> str | None:
    return next((each.peer for each in seen if each.place is place), None)


def _seen(sighting: Sighting | None) -> tuple[Sighting, ...]:
    return () if sighting is None else (sighting,)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _changed_at(item: "os.DirEntry[str]") -> float:
    try:
        return item.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0
