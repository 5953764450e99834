"""The board of the status page: what is open, what ended last, the links, and one handoff's story.

It owns how much is shown and what is read again. It reads what `ls`, `trace` and `status` read. The rules that must
stay true: no word of a payload is on it unless asked for by name; nothing an agent wrote is kept or shown longer than
a row has room for; and nothing but the seconds in a warning changes by itself, so that a viewer is sent only news.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from handoffd.custody.entry import Entry, Standing
from handoffd.custody.layout import ARCHIVE, CLAIMED, HANDOFF, INBOX, OUTBOX, OUTCOME, REJECTED, RELAY, SENT
from handoffd.custody.reading import Reading
from handoffd.custody.remains import remains
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import STATE_OF, Reason
from handoffd.status.latency import MEANING, History, Slot, Spread
from handoffd.status.model import Status, fields
from handoffd.view.fields import story_fields
from handoffd.view.payload import payload_of
from handoffd.view.story import story_of
from handoffd.view.words import CELL_LIMIT, peer_words, printable

OPEN_LIMIT: Final = 100
"""Open handoffs shown, the oldest first; each new one costs one file read. All of them are counted."""
ENDED_LIMIT: Final = 40
TEXT_LIMIT: Final = 200
"""Characters of one text in a row: a file that nobody has taken may hold names of 16 MiB."""
LOOK_ANYWAY_S: Final = 5.0
"""A directory's time has the grain of a clock tick, and doubt comes by the clock alone."""
JOURNAL: Final = "events.jsonl"
"""In relay/, as in journal.py."""
_WATCHED: Final = (HANDOFF, CLAIMED, ARCHIVE, REJECTED, OUTCOME)
_BY_PEER: Final = (INBOX, OUTBOX, SENT)
_ABOUT_HOST: Final = ("host", "root", "version", "epoch", "ready", "started", "warnings")

Fields = dict[str, Any]


class Board:
    """One root's board. `clock` returns POSIX seconds. Threads may call it; they take turns."""

    def __init__(self, root: Path, host: str, clock: Callable[[], float], history: History) -> None:
        self._root = root
        self._host = host
        self._clock = clock
        self._history = history
        self._old_slots: dict[float, Fields] = {}
        self._turn = threading.Lock()
        self._reading = Reading(root)
        self._seen: tuple[int, ...] = ()
        self._looked_at = 0.0
        self._handoffs: Fields = {}
        self._open: dict[Standing, Entry] = {}
        self._ended: dict[TransferId, Entry] = {}

    def look(self, status: Status) -> dict[str, Fields]:
        """Return the board's parts by name. Raises OSError."""
        told = fields(status)
        with self._turn:
            self._look_again()
            return {
                "host": {key: told[key] for key in _ABOUT_HOST},
                "links": {"links": [_link(link) for link in told["peers"]], "shared": told["shared"]},
                "handoffs": {**self._handoffs, "since_start": _by_state(told["ended"] or {})},
                "latency": {"last_hour": told["latency"], "history": self._slots(), "meaning": MEANING},
            }

    def handoff(self, ident: str, with_payload: bool) -> Fields | None:
        """Return one handoff's story, None if neither files nor journal know of it. Raises OSError."""
        found = self._reading.find(ident)
        entry = found[0] if found else None
        told = story_of(self._root / RELAY / JOURNAL, self._host, entry, ident)
        if entry is None and not told.has_lines:
            return None
        shown = story_fields(told, found[1:])
        if entry is not None:
            shown |= self._shown(entry, CELL_LIMIT)
            shown["payload"] = self._payload(entry) if with_payload else None
        return shown

    # ------------------------------------------------------------ all of them

    def _look_again(self) -> None:
        now, seen = self._clock(), self._times()
        if seen == self._seen and 0 <= now - self._looked_at < LOOK_ANYWAY_S:
            return
        self._seen, self._looked_at = seen, now
        standings = self._reading.standings()
        waiting = [standing for standing in standings if not standing.ended]
        self._open = self._oldest(waiting)
        self._ended = self._newest()
        self._handoffs = {
            "counts": Counter(standing.row.word for standing in waiting),
            "open": [self._shown(entry) for entry in self._open.values()],
            "ended": [self._shown(entry) for entry in self._ended.values()],
            "limits": {"open": OPEN_LIMIT, "ended": ENDED_LIMIT},
        }

    def _times(self) -> tuple[int, ...]:
        """Return when each directory that handoffs move through was last written to."""
        paths = [self._root / name for name in _WATCHED]
        for name in _BY_PEER:
            with suppress(FileNotFoundError), os.scandir(self._root / name) as listing:
                paths += [Path(item.path) for item in listing]
        return tuple(map(_written_ns, paths))

    def _oldest(self, standings: Iterable[Standing]) -> dict[Standing, Entry]:
        known, found = self._open, dict[Standing, Entry]()
        for standing in self._reading.oldest_first(standings):
            # What has no T yet may be other bytes by now.
            entry = known.get(standing) if standing.tid else None
            entry = entry or self._reading.entry(standing)
            if entry is not None and not entry.ended:
                found[standing] = _small(entry)
            if len(found) == OPEN_LIMIT:
                break
        return found

    def _newest(self) -> dict[TransferId, Entry]:
        # An outcome never changes.
        known = self._ended
        entries = ((tid, known.get(tid) or self._reading.ended(tid)) for tid in self._reading.newest_outcomes())
        return dict(islice(((tid, entry) for tid, entry in entries if entry is not None), ENDED_LIMIT))

    def _shown(self, entry: Entry, limit: int = TEXT_LIMIT) -> Fields:
        """Return what a row shows, each text of `limit` characters at most.

        Times, not ages: these would be news at every look.
        """
        record = entry.record
        return {
            "tid": entry.tid,
            "handoff_id": _cut(entry.handoff_id, limit),
            "from": _cut(entry.sender, limit),
            "to": _cut(entry.to, limit),
            "peer": None if entry.peer is None else _cut(peer_words(entry), limit),
            "role": entry.role.value,
            "state": entry.word,
            "reason": record.reason.value if record and record.reason else None,
            "detail": _cut(record.detail, limit) if record else "",
            "means": _cut(entry.means, limit),
            "ended": entry.ended,
            "in_doubt": entry.doubt_s(self._clock()) is not None,
            "since": format_moment(entry.since),
            "expires_at": None if entry.expires_at is None else format_moment(entry.expires_at),
        }

    def _slots(self) -> list[Fields]:
        """Return the history, oldest first; only its last slot can still change."""
        slots = list(self._history.slots(self._clock()))
        known = {slot.at: self._old_slots.get(slot.at) or _slot(slot) for slot in slots[:-1]}
        self._old_slots = known
        return [*known.values(), *map(_slot, slots[-1:])]

    # ------------------------------------------------------------ one of them

    def _payload(self, entry: Entry) -> str | None:
        """Return the payload's text if a file here still holds it."""
        data = payload_of(self._root, entry, remains(self._root, entry))
        return None if data is None else data.decode("utf-8", "replace")


def _small(entry: Entry) -> Entry:
    """Return the entry as it is kept: one character more than is ever shown, so that a cut shows."""
    names = (entry.handoff_id, entry.sender, entry.to)
    handoff_id, sender, to = (name and name[: CELL_LIMIT + 1] for name in names)
    return replace(entry, handoff_id=handoff_id, sender=sender, to=to)


def _cut(text: str | None, limit: int) -> str | None:
    if text is None or len(text) <= limit:
        return None if text is None else printable(text)
    return printable(text[: limit - 1]) + "\N{HORIZONTAL ELLIPSIS}"


def _link(told: Fields) -> Fields:
    return {**told, "backlog": told["backlog"]["count"]}


def _by_state(ended: Mapping[str, int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for reason, count in ended.items():
        counts[STATE_OF[Reason(reason)].value] += count
    return counts


def _slot(slot: Slot) -> Fields:
    steps = {step.value: _spread(spread) for step, spread in slot.steps.items()}
    return {"at": slot.at, "steps": steps}


def _spread(spread: Spread) -> Fields:
    p50_s, p90_s = spread.quantile_s(0.5) or 0.0, spread.quantile_s(0.9) or 0.0
    return {"count": spread.count, "p50_s": round(p50_s, 6), "p90_s": round(p90_s, 6)}


def _written_ns(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0
