"""Old files in archive/ and rejected/: which of them nobody needs any more.

It owns what custody may still read there (docs/custody.md section 12): the artefact that an outcome names, and whatever
may be the end of a receipt that has no outcome. It deletes nothing. The rule that must stay true: what cannot be told
for certain is kept.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handoffd.custody.layout import INBOX, ORIGINAL, OUTCOME, REASON
from handoffd.custody.observe import MARGIN_NS
from handoffd.custody.reading import Reading, read_file
from handoffd.protocol.name import TransferId, is_transfer_id, suffixed, tid_of_published
from handoffd.protocol.payload import label


@dataclass(frozen=True, slots=True)
class Old:
    """A handoff's files in one directory: the file itself, its reason, its original. Sizes in bytes, times in ns."""

    directory: str
    names: tuple[str, ...]
    size: int
    changed_ns: int


@dataclass(slots=True)
class Survey:
    """What was found: to be pruned, and how many are kept because they are young, needed, or nobody's."""

    old: list[Old] = field(default_factory=list)
    young: int = 0
    needed: int = 0
    foreign: int = 0


@dataclass(frozen=True, slots=True)
class _Receipt:
    """An open receipt: what an agent's final file is recognised by."""

    name: str
    inode: int
    changed_ns: int
    handoff_id: str | None
    hmac: str | None


class Needed:
    """What custody may still read in the agents' last directories."""

    def __init__(self, root: Path) -> None:
        """Read every outcome and every open receipt once. Raises OSError to whoever may not look into relay/."""
        self._root = root
        self._artefacts = set(_artefacts(root))
        self._receipts = list(_receipts(root))
        self._inodes = {receipt.inode for receipt in self._receipts}
        self._since_ns = min((one.changed_ns for one in self._receipts), default=1 << 63) - MARGIN_NS

    def needs(self, directory: str, name: str, found: os.stat_result) -> bool:
        """Tell whether this file may be asked for, or may be the end of something open."""
        if name in self._artefacts or found.st_ino in self._inodes:
            return True
        if any(name == one.name or _ends_with_id(name, one) for one in self._receipts):
            return True
        # Only what changed since the oldest open receipt was published can be its end: most files are never read.
        if found.st_ctime_ns < self._since_ns:
            return False
        read = read_file(self._root / directory / name)
        return read is None or any(label(read[0]) == (one.handoff_id, one.hmac) for one in self._receipts)


def survey(root: Path, directories: Iterable[str], before: float) -> Survey:
    """Look for what came to its place before this time (POSIX seconds) and nobody needs. Raises OSError."""
    found, needed = Survey(), Needed(root)
    for directory in directories:
        for stem, members in _groups(root / directory).items():
            _sort(found, needed, directory, stem, members, int(before * 1e9))
    return found


def _sort(
    found: Survey,
    needed: Needed,
    directory: str,
    stem: str,
    members: dict[str, os.stat_result],
    before_ns: int,
) -> None:
    is_handoff = stem.endswith(".json") and not stem.startswith(".")
    if not is_handoff or not all(stat.S_ISREG(each.st_mode) for each in members.values()):
        found.foreign += 1
    elif max(each.st_ctime_ns for each in members.values()) >= before_ns:
        found.young += 1
    elif any(needed.needs(directory, name, each) for name, each in members.items() if not name.endswith(REASON)):
        found.needed += 1
    else:
        newest = max(each.st_ctime_ns for each in members.values())
        found.old.append(Old(directory, tuple(sorted(members)), sum(each.st_size for each in members.values()), newest))


def _groups(place: Path) -> dict[str, dict[str, os.stat_result]]:
    """Return a directory's files, those of one handoff together: a reason without its file explains nothing."""
    groups: dict[str, dict[str, os.stat_result]] = {}
    with os.scandir(place) as listing:
        for item in listing:
            stem = item.name.removesuffix(REASON).removesuffix(ORIGINAL)
            try:
                groups.setdefault(stem, {})[item.name] = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
    return {stem: members for stem, members in groups.items() if members}


def _artefacts(root: Path) -> Iterator[str]:
    reading = Reading(root)
    for name in os.listdir(root / OUTCOME):
        tid = TransferId(name.removesuffix(".json"))
        found = reading.outcome(tid) if is_transfer_id(tid) else None
        if found is not None and found[0].artefact is not None:
            artefact = found[0].artefact.name
            yield from (artefact, suffixed(artefact, tid))


def _receipts(root: Path) -> Iterator[_Receipt]:
    for peer in os.listdir(root / INBOX):
        for name in os.listdir(root / INBOX / peer):
            read = read_file(root / INBOX / peer / name) if tid_of_published(name) is not None else None
            if read is not None:
                yield _Receipt(name, read[1].st_ino, read[1].st_mtime_ns, *label(read[0]))


def _ends_with_id(name: str, receipt: _Receipt) -> bool:
    return receipt.handoff_id is not None and name.endswith(f"-{receipt.handoff_id}.json")
