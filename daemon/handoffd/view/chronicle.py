"""The journal read back, newest line first or as it grows, over rotation and truncation.

It owns finding the next line; what lines mean is for `events` and `trace`. The rule that must stay true: a line that
is torn, foreign or not yet finished is passed over, never an error.
"""

import itertools
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from handoffd.journal import rotated
from handoffd.protocol.moment import format_moment

BLOCK_BYTES = 1 << 20
"""Read at once from the end of a file that may have GiB (`journal.max_bytes`); some thousand lines."""

Line = dict[str, Any]
Wanted = Callable[[Line], bool]


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of the journal: which one, its inode, its size in bytes."""

    number: int
    inode: int
    size: int


class Chronicle:
    """Reads one journal. It remembers how far it has read, by inode and offset; no file stays open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._offset = 0

    def backwards(self) -> Iterator[Line]:
        """Return every line, newest first; `more` then goes on after the newest."""
        for number, part in enumerate(self._parts()):
            file = self._open(part)
            if file is None:
                continue
            with file:
                end = file.seek(0, os.SEEK_END)
                rows = _rows_backwards(file, end)
                unfinished = next(rows)
                if number == 0:
                    self._inode, self._offset = part.inode, end - len(unfinished)
                yield from _lines(rows)

    def forwards(self) -> Iterator[Line]:
        """Return every line, oldest first; `more` then goes on after the newest. One line at a time is in memory."""
        for part in reversed(self._parts()):
            self._inode, self._offset = part.inode, 0
            for row in self._rows(part):
                self._offset += len(row)
                yield from _lines([row])

    def mentioning(self, texts: Iterable[str]) -> Iterator[Line]:
        """Return every line that any of these texts occurs in, oldest first; no file is ever in memory as a whole."""
        needles = [json.dumps(text)[1:-1].encode() for text in texts]
        for part in reversed(self._parts()):
            for row in self._rows(part):
                if any(needle in row for needle in needles):
                    yield from _lines([row])

    def more(self) -> list[Line]:
        """Return the lines written since the last look, oldest first."""
        lines: list[Line] = []
        for part, offset in self._unread():
            data = self._read(part, offset)
            self._inode, self._offset = part.inode, offset + len(data)
            lines += _lines(data.split(b"\n"))
        return lines

    def _unread(self) -> list[tuple[_Part, int]]:
        parts = self._parts()
        place = next((number for number, part in enumerate(parts) if part.inode == self._inode), None)
        if place is None or parts[place].size < self._offset:
            # Never seen, deleted or cut short: what is there now is all new.
            return [(part, 0) for part in parts[:1]]
        newer = [(part, 0) for part in reversed(parts[:place])]
        return [(parts[place], self._offset), *newer]

    def _parts(self) -> list[_Part]:
        older = itertools.takewhile(bool, map(self._part, itertools.count(1)))
        # Between the renames of a rotation there is no current file; and one that is rotated meanwhile is seen twice.
        found = [part for part in (self._part(0), *older) if part is not None]
        return list({part.inode: part for part in found}.values())

    def _part(self, number: int) -> _Part | None:
        try:
            found = os.stat(rotated(self.path, number))
        except FileNotFoundError:
            return None
        # Whatever else lies there is nothing to read, or to wait for.
        return _Part(number, found.st_ino, found.st_size) if stat.S_ISREG(found.st_mode) else None

    def _read(self, part: _Part, offset: int) -> bytes:
        """Return the finished lines of one file from offset on."""
        file = self._open(part)
        if file is None:
            return b""
        with file:
            file.seek(offset)
            data = file.read()
            return data[: data.rfind(b"\n") + 1]

    def _rows(self, part: _Part) -> Iterator[bytes]:
        file = self._open(part)
        if file is not None:
            with file:
                yield from (row for row in file if row.endswith(b"\n"))

    def _open(self, part: _Part) -> BinaryIO | None:
        """Open one file, also if it was rotated since it was listed; None if it is gone."""
        for number in (part.number, part.number + 1):
            with suppress(FileNotFoundError):
                file = open(rotated(self.path, number), "rb")  # noqa: SIM115 # the caller closes it
                if os.fstat(file.fileno()).st_ino == part.inode:
                    return file
                file.close()
        return None


def _rows_backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Return the rows before `end`, the last one first: what follows the last line end, if only nothing."""
    first = b""
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        first, *rows = (file.read(end - start) + first).split(b"\n")
        yield from reversed(rows)
        end = start
    yield first


def _lines(rows: Iterable[bytes]) -> Iterator[Line]:
    for row in rows:
        try:
            line = json.loads(row)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("at"), str) and isinstance(line.get("event"), str):
            yield line


def about(ident: str) -> Wanted:
    """Return the test for lines of one handoff: T, the beginning of T (8 digits at the least) or its handoff_id."""

    def is_wanted(line: Line) -> bool:
        tid = line.get("tid")
        if line.get("handoff_id") == ident:
            return True
        return isinstance(tid, str) and len(ident) >= 8 and tid.startswith(ident)

    return is_wanted


def recent(lines: Iterator[Line], wanted: Wanted, since: float | None, limit: int) -> list[Line]:
    """Return the last `limit` wanted ones of lines, newest first, that are not older than `since` (POSIX seconds).

    They are returned oldest first.
    """
    earliest = _earliest(since)
    until = itertools.takewhile(lambda line: line["at"] >= earliest, lines)
    return list(itertools.islice(filter(wanted, until), limit))[::-1]


def young(lines: Iterable[Line], wanted: Wanted, since: float | None) -> Iterator[Line]:
    """Return all wanted lines not older than `since` (POSIX seconds), in their order."""
    earliest = _earliest(since)
    return (line for line in lines if line["at"] >= earliest and wanted(line))


def _earliest(since: float | None) -> str:
    return "" if since is None else format_moment(since)
