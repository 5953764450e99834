"""The journal: `relay/events.jsonl`, one JSON line for each custody edge and each odd thing, for people to read.

It owns the file, its rotation and what happens when the disk refuses. It does not know what an edge means and is
never read to decide anything. The rule that must stay true: nothing in here can stop or delay a handoff, so no
OSError leaves it, nothing is fsynced, and what could not be written is counted and told later (docs/journal.md).
"""

import errno
import itertools
import json
import logging
import os
import stat
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from handoffd.protocol.moment import format_moment
from handoffd.protocol.record import DETAIL_LIMIT

LOG = logging.getLogger("handoffd.journal")

CROWD = 4_096
"""Lines waiting before a writer flushes them itself; bounds memory to a few MiB if nobody else flushes."""
WARNINGS = frozenset(
    {
        *("in_doubt", "uncertain", "unknown", "refused", "artefact_missing", "stale_claim", "unroutable", "parked"),
        "broken",
        *("quarantined", "peer_unknown", "link_down", "link_conflict", "news_stopped", "clock_jumped", "journal_gap"),
        *("config_refused", "daemon_refused"),
    }
)
"""Events somebody should read: the log has them as warnings, the others as information."""
DETAILS = frozenset({"leased_elsewhere"})
"""Events that are nobody's news until somebody asks for one handoff: the log has them only at debug level."""
_MODE = 0o600
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
# ASCII only: no terminal obeys what an agent wrote into a reason, and a lone surrogate cannot fail.
_JSON = json.JSONEncoder(separators=(",", ":"), default=str)

Edge = tuple[float, str, dict[str, object]]


class Clock(Protocol):
    """The clock a line is dated by."""

    def wall(self) -> float:
        """Return POSIX seconds; may jump."""


class Journal:
    """Appends lines from any thread; `keep` older files of about `max_bytes` are kept beside the current one.

    `write` only remembers; `flush` writes what waits in one go. `dropped` counts the lines that were lost.
    """

    def __init__(self, path: Path, host: str, max_bytes: int, keep: int, clock: Clock) -> None:
        self.dropped = 0
        self._path = path
        self._host = host
        self._max_bytes = max_bytes
        self._keep = keep
        self._clock = clock
        self._waiting: deque[Edge] = deque()
        self._disk = threading.Lock()
        self._untold = 0
        self._fails = False
        self._may_be_torn = True

    @property
    def failing(self) -> bool:
        """Whether the last write failed."""
        return self._fails

    def write(self, event: str, **fields: object) -> None:
        """Note one event. `sender` is written as `from`; None and empty text are left out (docs/journal.md)."""
        self._waiting.append((self._clock.wall(), event, fields))
        if len(self._waiting) >= CROWD:
            self.flush()

    def flush(self) -> None:
        """Write everything that waits: to the log, then to the file. Costs one open, one write, one close."""
        with self._disk:
            edges = self._drain()
            if edges:
                self._keep_lines([_line(self._host, edge) for edge in edges])
        _log(edges)

    def _drain(self) -> list[Edge]:
        edges = []
        with suppress(IndexError):
            while True:
                edges.append(self._waiting.popleft())
        return edges

    def _keep_lines(self, lines: list[bytes]) -> None:
        told = [self._gap_line()] if self._untold else []
        data = b"".join(told + lines)
        whole = data.count(b"\n", 0, self._append(data))
        lost = len(lines) - max(0, whole - len(told))
        self.dropped += lost
        self._untold = lost if whole else self._untold + lost

    def _gap_line(self) -> bytes:
        return _line(self._host, (self._clock.wall(), "journal_gap", {"dropped": self._untold}))

    def _append(self, data: bytes) -> int:
        """Return how many bytes got into the file: all of them, or fewer when the disk refused."""
        written = 0
        try:
            descriptor = self._open_with_room(len(data))
            try:
                self._end_torn_line(descriptor)
                while written < len(data):
                    written += os.write(descriptor, data[written:])
            finally:
                os.close(descriptor)
        except OSError as error:
            self._note_failure(error)
        else:
            self._note_success()
        return written

    def _open_with_room(self, size: int) -> int:
        # Opened for each flush: then a file that was deleted or rotated by somebody else needs no further thought.
        descriptor = os.open(self._path, _FLAGS, _MODE)
        status = os.fstat(descriptor)
        is_file, held = stat.S_ISREG(status.st_mode), status.st_size
        if is_file and (held == 0 or held + size <= self._max_bytes):
            return descriptor
        os.close(descriptor)
        if not is_file:  # a FIFO would swallow lines, or wait for a reader
            raise OSError(errno.EINVAL, "not a regular file", str(self._path))
        self._rotate()
        return os.open(self._path, _FLAGS, _MODE)

    def _end_torn_line(self, descriptor: int) -> None:
        if not self._may_be_torn:
            return
        held = os.fstat(descriptor).st_size
        if held and os.pread(descriptor, 1, held - 1) != b"\n":
            os.write(descriptor, b"\n")
        self._may_be_torn = False

    def _rotate(self) -> None:
        # From `keep` upward: a smaller `keep` after a reload leaves older files behind.
        for number in itertools.count(self._keep):
            try:
                os.unlink(rotated(self._path, number))
            except FileNotFoundError:
                break
        for number in range(self._keep, 0, -1):
            with suppress(FileNotFoundError):
                # Not custody: overwriting is harmless here, and nothing reads it to decide.
                os.replace(rotated(self._path, number - 1), rotated(self._path, number))  # noqa: TID251

    def _note_failure(self, error: OSError) -> None:
        self._may_be_torn = True
        if not self._fails:
            LOG.warning("journal: cannot write %s: %s; handoffs go on, lost lines are counted", self._path, error)
        self._fails = True

    def _note_success(self) -> None:
        if self._fails:
            LOG.warning("journal: writing %s again; %d lines were lost", self._path, self._untold)
        self._fails = False


def rotated(path: Path, number: int) -> Path:
    """Return where the journal's older file `number` is: 0 is the current one, the highest number the oldest."""
    return path.with_name(f"{path.name}.{number}") if number else path


def _fields(given: dict[str, object]) -> dict[str, object]:
    fields = {
        key: value if type(value) is not str or len(value) <= DETAIL_LIMIT else value[:DETAIL_LIMIT]
        for key, value in given.items()
        if value is not None and value != ""
    }
    if "sender" in fields:
        fields["from"] = fields.pop("sender")
    return fields


def _line(host: str, edge: Edge) -> bytes:
    at, event, given = edge
    head = {"at": format_moment(at), "event": event, "host": host}
    try:
        return _JSON.encode({**head, **_fields(given)}).encode("ascii") + b"\n"
    except (ValueError, TypeError, RecursionError) as error:  # a line that cannot be written stops nothing
        return _JSON.encode({**head, "detail": f"its words cannot be written: {error}"[:DETAIL_LIMIT]}).encode() + b"\n"


class Story:
    """Edges on their way to the log: words for people, `edges` (POSIX seconds, event, fields) for others."""

    def __init__(self, edges: list[Edge]) -> None:
        self.edges = [(at, event, _fields(given)) for at, event, given in edges]

    def __str__(self) -> str:
        return "\n".join(_words(event, fields) for _, event, fields in self.edges)


def _log(edges: list[Edge]) -> None:
    """Log a group as one record for each level: a record costs as much as ten lines, and bursts have thousands."""
    for level, some in itertools.groupby(edges, _level):
        if LOG.isEnabledFor(level):
            LOG.log(level, "%s", Story(list(some)))


def _level(edge: Edge) -> int:
    if edge[1] in DETAILS:
        return logging.DEBUG
    return logging.WARNING if edge[1] in WARNINGS else logging.INFO


def _words(event: str, fields: dict[str, object]) -> str:
    return " ".join([event, *(f"{key}={_word(value)}" for key, value in fields.items())])


def _word(value: object) -> str:
    text = str(value)
    # Faster than one regular expression, and this runs for every field of every edge.
    plain = text.isascii() and text.isprintable() and not ('"' in text or " " in text or "=" in text or "\\" in text)
    return text if plain and text else _JSON.encode(text)
