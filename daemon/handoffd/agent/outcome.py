"""How a handoff that was written here ended, as its sender's directories show it.

It knows `archive/` and `rejected/`, written by agents or mirrored by a daemon, and decides nothing. The rule that
must stay true: a handoff is recognised by its own handoff_id and hmac, never by a file name.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from handoffd.agent.directory import Directories, open_regular, read_all
from handoffd.protocol.payload import REJECTION_WORDS_LIMIT, Envelope, label, rejection_words
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES

POLL_S = 0.2
REASON_PATIENCE_S = 2.0
"""A daemon moves the file first and writes its reason after."""
_SETTLED_NS = 100_000_000
"""A directory's time stamp is coarse (some milliseconds): a change this close to a look may not have moved it on."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a handoff ended: `completed`, or `rejected` or a final state's name from a daemon's record."""

    state: str
    words: str
    path: Path


class Ends:
    """What appears in archive/ and rejected/ after this was made; make it before the handoff is written."""

    def __init__(self, places: Directories) -> None:
        """Remember what is there already."""
        self._places = places
        self._known = {place: set(os.listdir(place)) for place in (places.archive, places.rejected)}
        self._stamps: dict[Path, tuple[int, int]] = {}

    def wait(self, envelope: Envelope, timeout_s: float) -> End | None:
        """Return how the handoff ended, or None if it has not within timeout_s."""
        until = time.monotonic() + timeout_s
        while (end := self.find(envelope)) is None and time.monotonic() < until:
            time.sleep(POLL_S)
        return end

    def find(self, envelope: Envelope) -> End | None:
        """Return how the handoff ended, if it has."""
        for path in self._new_in(self._places.archive):
            if _is(path, envelope):
                return End("completed", "", path.with_name(path.name.removesuffix(".original")))
        for path in self._new_in(self._places.rejected):
            if _is(path, envelope):
                return _explained(path)
        return None

    def _new_in(self, place: Path) -> list[Path]:
        """Return each file that appeared, once."""
        if self._is_unchanged(place):
            return []
        names = set(os.listdir(place))
        new = names - self._known[place]
        self._known[place] = names
        return [place / name for name in sorted(new) if not name.startswith(".")]

    def _is_unchanged(self, place: Path) -> bool:
        changed_ns, looked_ns = place.stat().st_mtime_ns, time.time_ns()
        before = self._stamps.get(place)
        self._stamps[place] = (changed_ns, looked_ns)
        return before is not None and before[0] == changed_ns and before[1] - changed_ns > _SETTLED_NS


def _is(path: Path, envelope: Envelope) -> bool:
    return label(_content(path)) == (envelope.handoff_id, envelope.hmac)


def _content(path: Path) -> bytes:
    fd = open_regular(path)
    if fd is None:
        return b""
    try:
        return read_all(fd, ROUTE_LIMIT_BYTES)
    finally:
        os.close(fd)


def _explained(path: Path) -> End:
    until = time.monotonic() + REASON_PATIENCE_S
    words = rejection_words(_content(path))
    while not words:
        reason = _content(path.with_name(path.name + ".reason"))
        if reason:
            return _recorded(path, reason)
        if time.monotonic() >= until:
            break
        time.sleep(POLL_S)
    return End("rejected", words, path)


def _recorded(path: Path, reason: bytes) -> End:
    """Read a reason file: a daemon's record, or an agent's plain words."""
    text = reason.decode(errors="replace").strip()
    try:
        record = json.loads(text)
        words = ": ".join(filter(None, (str(record["reason"]), str(record.get("detail", "")))))
        return End(str(record["state"]), words, path)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return End("rejected", text[:REJECTION_WORDS_LIMIT], path)
