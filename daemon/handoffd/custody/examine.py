"""Examines a root against the tables of legal names: read-only, with the daemon running or stopped.

It owns looking at everything once, and saying what does not fit. It repairs nothing and decides nothing. The rule that
must stay true: files move while we look, so one look proves a finding only on a root at rest; `lasting` keeps what
two looks have in common.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handoffd.custody import layout
from handoffd.custody.acquaintance import BadNote, read_note
from handoffd.custody.flaw import CLASHES, FLAWS, Grade, What
from handoffd.custody.ledger import facts_in
from handoffd.custody.place import Place
from handoffd.custody.reading import read_file
from handoffd.custody.sighting import BY_PEER, Sighting, in_handoff, in_outcome
from handoffd.protocol.name import TransferId, is_peer_name, is_transfer_id
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import NOT_DELIVERED, State
from handoffd.protocol.record import BadRecord, Record, decode

_KNOWN = frozenset(
    {
        *(directory.partition("/")[2] for directory in layout.RELAY_DIRECTORIES if "/" in directory),
        *("lock", "format", "epoch", "boot", "hooked", "handoffd.sock"),
    }
)
_JOURNAL = "events.jsonl"
_WAITS = (Place.RECEIPT, Place.ROUTED, Place.OUTCOME)
_EXACT = frozenset({Place.OUTBOX, Place.SENT, Place.ARRIVED, Place.ROUTED, Place.PASSED_PAYLOAD})
"""Names whose bytes no agent can reach: they must hash to T. A receipt shares its inode with what agents have."""
_LEFT = frozenset({Place.OUTBOX, Place.SENT, Place.ARRIVED, Place.RECEIPT, Place.ROUTED, Place.PULLED, Place.ACCEPTED})
_OFFERED = frozenset({State.PUBLISHED, State.CLAIMED, State.COMPLETED, State.REJECTED})
_HELD = frozenset({Place.CLAIMED, Place.ACCEPTED})


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that does not fit. `paths` are relative to the root."""

    what: What
    grade: Grade
    paths: tuple[str, ...]
    tid: TransferId | None = None
    detail: str = ""


@dataclass(slots=True)
class Report:
    """What one look found. `open`, `ended`, `quarantined`: how many there are."""

    findings: set[Finding] = field(default_factory=set)
    open: int = 0
    ended: int = 0
    quarantined: int = 0

    @property
    def broken(self) -> list[Finding]:
        """Findings that no crash and no power cut excuses."""
        return sorted(one for one in self.findings if one.grade is Grade.BROKEN)


def lasting(first: Report, second: Report) -> Report:
    """Return the second look with the findings of both: what was only passing has gone."""
    return Report(first.findings & second.findings, second.open, second.ended, second.quarantined)


def examine(root: Path, boot_id: str) -> Report:
    """Look at everything below a root once. Raises PermissionError, and FileNotFoundError if there is no relay/."""
    return _Look(root, boot_id).report()


class _Look:
    def __init__(self, root: Path, boot_id: str) -> None:
        self._root = root
        self._report = Report()
        self._seen: dict[TransferId, dict[Place, list[Sighting]]] = {}
        self._offered: dict[str, set[TransferId]] = {}
        boot = self._word("boot")
        # No finished start since the last boot: what a power cut may leave has not been cleared up yet.
        self._power_cut = boot not in ("clean", boot_id) or not self._word("epoch")

    def report(self) -> Report:
        os.listdir(self._root / layout.RELAY)  # who may not look is told so; who has no relay/ as well
        self._directories()
        self._notes()
        self._collect()
        for tid, places in self._seen.items():
            self._one(tid, places)
        for tids in self._offered.values():
            if len(tids) > 1:
                paths = (seen[0].path for tid in tids for seen in self._seen[tid].values())
                self._find(What.TWO_VARIANTS, paths, detail=", ".join(sorted(tids)))
        return self._report

    # ------------------------------------------------------------ the tree

    def _directories(self) -> None:
        device = os.stat(self._root).st_dev
        for directory in (*layout.AGENTS_DIRECTORIES, *layout.RELAY_DIRECTORIES):
            found = self._stat(directory)
            if found is None or not stat.S_ISDIR(found.st_mode):
                self._find(What.NO_DIRECTORY, [directory], detail="missing" if found is None else "no directory")
            elif found.st_dev != device:
                self._find(What.NO_DIRECTORY, [directory], detail="on another file system")
        for name in self._names(layout.RELAY):
            if name not in _KNOWN and not name.startswith(_JOURNAL):
                self._foreign(f"{layout.RELAY}/{name}")
        for name in self._names(layout.TMP):
            found = self._stat(f"{layout.TMP}/{name}")
            if found is not None and found.st_size:  # an empty one was made ahead for the next payload
                self._find(What.UNFINISHED_WRITE, [f"{layout.TMP}/{name}"])
        self._report.quarantined = len(self._names(layout.QUARANTINE))

    def _notes(self) -> None:
        if (found := self._word("format")) != layout.FORMAT:
            self._find(What.BAD_NOTE, [f"{layout.RELAY}/format"], detail=f"{found[:40]!r} instead of {layout.FORMAT!r}")
        for name in self._names(layout.PEERS):
            peer, dot, ending = name.rpartition(".")
            read = read_file(self._root / layout.PEERS / name)
            if ending != "json" or not dot or not is_peer_name(peer):
                self._foreign(f"{layout.PEERS}/{name}")
            elif read is not None:
                try:
                    read_note(read[0])
                except BadNote as error:
                    self._find(What.BAD_NOTE, [f"{layout.PEERS}/{name}"], detail=str(error))

    # ------------------------------------------------------------ names

    def _collect(self) -> None:
        # In the direction of motion: what moves meanwhile is seen at least once.
        self._published()
        for directory, meaning in BY_PEER.items():
            for peer in self._names(directory):
                if not is_peer_name(peer):
                    self._foreign(f"{directory}/{peer}")
                    continue
                for name in self._names(f"{directory}/{peer}"):
                    self._enter(f"{directory}/{peer}/{name}", meaning(peer, name))
        for name in self._names(layout.OUTCOME):
            self._enter(f"{layout.OUTCOME}/{name}", in_outcome(name))
        for name in self._names(layout.WISH):
            self._wish(name)
        self._claims()

    def _claims(self) -> None:
        for name in self._names(layout.CLAIMED):
            found = in_handoff(name)
            if found is not None and found.tid in self._seen:
                path = f"{layout.CLAIMED}/{name}"
                self._enter(path, Sighting(Place.CLAIMED, path, found.tid, None, found.name))

    def _published(self) -> None:
        for name in self._names(layout.HANDOFF):
            found = in_handoff(name)
            if found is not None and found.place is Place.PUBLISHED:
                self._enter(found.path, found)

    def _enter(self, path: str, seen: Sighting | None) -> None:
        found = self._stat(path)
        if found is None:
            return  # it moved on
        if seen is None:
            self._foreign(path)
        elif not stat.S_ISREG(found.st_mode):
            self._find(What.NOT_A_FILE, [path], seen.tid)
        elif seen.tid is not None:
            self._seen.setdefault(seen.tid, {}).setdefault(seen.place, []).append(seen)

    def _wish(self, name: str) -> None:
        path = f"{layout.WISH}/{name}"
        if not is_transfer_id(name):
            self._foreign(path)
        elif not {Place.OUTBOX, Place.SENT} & set(self._seen.get(TransferId(name), ())):
            self._find(What.IDLE_WISH, [path], TransferId(name))

    # ------------------------------------------------------------ one handoff

    def _one(self, tid: TransferId, places: dict[Place, list[Sighting]]) -> None:
        here = set(places)
        self._count(here)
        for clash in CLASHES:
            if clash.one in here and (others := clash.others & here):
                self._find(clash.what, _paths(places, {clash.one, *others}), tid)
        for place in here - {Place.CLAIMED}:
            if len(places[place]) > 1:
                self._find(What.TWO_PLACES, _paths(places, {place}), tid)
        self._receipts(tid, places)
        self._bytes(tid, places)
        record = self._record(tid, places)
        if record is not None:
            self._outcome(tid, places, record)

    def _count(self, here: set[Place]) -> None:
        self._report.ended += Place.OUTCOME in here
        self._report.open += Place.OUTCOME not in here and bool(here & _LEFT)

    def _receipts(self, tid: TransferId, places: dict[Place, list[Sighting]]) -> None:
        here = set(places)
        if here & {*_WAITS}:
            return
        if Place.PUBLISHED in here:
            self._find(What.STRAY, _paths(places, {Place.PUBLISHED}), tid)
        if lone := here & {Place.ACCEPTED, Place.PULLED}:
            self._find(What.NO_RECEIPT, _paths(places, lone), tid)
        if Place.ARRIVED in here:
            self._find(What.UNACKNOWLEDGED, _paths(places, {Place.ARRIVED}), tid)
        if Place.PASSED_PAYLOAD in here:
            self._find(What.LEFTOVER, _paths(places, {Place.PASSED_PAYLOAD}), tid)

    def _bytes(self, tid: TransferId, places: dict[Place, list[Sighting]]) -> None:
        for place, all_seen in places.items():
            for seen in all_seen:
                read = None if place in (Place.OUTCOME, Place.CLAIMED) else read_file(self._root / seen.path)
                if read is None:
                    continue
                if place in _EXACT and transfer_id(read[0]) != tid:
                    self._find(What.CHANGED_BYTES, [seen.path], tid)
                elif place is Place.SENT and self._stat(f"{layout.PEERS}/{seen.peer}.json") is None:
                    self._find(What.NO_PEER_NOTE, [seen.path], tid)
                elif place is Place.RECEIPT and Place.ARRIVED not in places:
                    self._offer(facts_in(tid, read[0]).identity, tid)

    def _record(self, tid: TransferId, places: dict[Place, list[Sighting]]) -> Record | None:
        if Place.OUTCOME not in places:
            return None
        path = places[Place.OUTCOME][0].path
        read = read_file(self._root / path)
        try:
            record = None if read is None else decode(read[0])
        except BadRecord as error:
            self._find(What.BAD_OUTCOME, [path], tid, str(error))
            return None
        if record is not None and record.tid != tid:
            self._find(What.BAD_OUTCOME, [path], tid, f"it is the record of {record.tid}")
            return None
        return record

    def _outcome(self, tid: TransferId, places: dict[Place, list[Sighting]], record: Record) -> None:
        if left := _LEFT & set(places):
            self._find(What.LEFTOVER, _paths(places, left), tid)
        if record.delivered in NOT_DELIVERED and (held := _HELD & set(places)):
            self._find(What.FALSE_BAD_NEWS, _paths(places, {Place.OUTCOME, *held}), tid)
        if record.state in _OFFERED and record.file is not None and in_handoff(record.file):
            self._offer(record.identity if _came_here(record) else None, tid)

    def _offer(self, identity: str | None, tid: TransferId) -> None:
        if identity is not None:
            self._offered.setdefault(identity, set()).add(tid)

    # ------------------------------------------------------------ looking

    def _find(self, what: What, paths: Iterable[str], tid: TransferId | None = None, detail: str = "") -> None:
        flaw = FLAWS[what]
        grade = flaw.after_power_cut if self._power_cut else flaw.grade
        self._report.findings.add(Finding(what, grade, tuple(sorted(paths)), tid, detail))

    def _foreign(self, path: str) -> None:
        if not path.rpartition("/")[2].startswith("."):
            self._find(What.FOREIGN_NAME, [path])

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(self._root / path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _names(self, directory: str) -> list[str]:
        try:
            return os.listdir(self._root / directory)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _word(self, name: str) -> str:
        read = read_file(self._root / layout.RELAY / name)
        return "" if read is None else read[0].decode("ascii", "replace").strip()


def _paths(places: dict[Place, list[Sighting]], wanted: Iterable[Place]) -> Iterator[str]:
    return (seen.path for place in wanted for seen in places[place])


def _came_here(record: Record) -> bool:
    """Tell whether this host is the one that published it."""
    return record.onward is None and record.file is not None and record.file.endswith(f"-r{record.tid}.json")
