"""How handoffs look on a terminal: columns, ages, colours, and text from agents made harmless.

It knows values, no files. The rule that must stay true: nothing an agent or a peer wrote reaches a terminal without
`printable`.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from handoffd.custody.entry import Entry
from handoffd.protocol.moment import format_moment
from handoffd.protocol.record import to_fields

SHORT_TID = 12
"""Digits of T shown in listings, as in file names (`stem.r{T12}.json`)."""
CELL_LIMIT = 600
"""Characters of one cell; above the longest path and the longest detail (custody.md section 6)."""
_TID = re.compile(r"[0-9a-f]{64}")
_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
"""Seconds and name of a unit, and of the one below it."""
_COLOURS = {
    "completed": typer.colors.GREEN,
    "claimed": typer.colors.CYAN,
    "rejected": typer.colors.RED,
    "refused": typer.colors.RED,
    "uncertain": typer.colors.MAGENTA,
    "unknown": typer.colors.MAGENTA,
    "in doubt": typer.colors.MAGENTA,
    "in_doubt": typer.colors.MAGENTA,
    "journal_gap": typer.colors.MAGENTA,
    "expired": typer.colors.YELLOW,
    "revoked": typer.colors.YELLOW,
}


def printable(text: object) -> str:
    """Return text on one line that no terminal obeys; None becomes `-`."""
    shown = "-" if text is None else str(text)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)[:CELL_LIMIT]


def brief(text: object) -> str:
    """Return printable text in which each T is cut to its first digits: a published name fits on a line then."""
    return _TID.sub(lambda found: found[0][:SHORT_TID] + "\N{HORIZONTAL ELLIPSIS}", printable(text))


def coloured(word: str, text: str | None = None) -> str:
    """Return text (by default the word) in the word's colour; typer.echo drops it where no terminal reads."""
    return typer.style(word if text is None else text, fg=_COLOURS.get(word))


def duration(seconds: float) -> str:
    """Return `0.4s`, `42s`, `3m05s`, `2h10m` or `5d03h`."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    for size, unit, lower, lower_unit in _UNITS:
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // lower:02d}{lower_unit}"
    return f"{whole}s"


def expiry(expires_at: float | None, now: float) -> str:
    """Return `in 42s`, `3m05s ago` or `-`."""
    if expires_at is None:
        return "-"
    return f"in {duration(expires_at - now)}" if expires_at > now else f"{duration(now - expires_at)} ago"


def offset_words(host: str, offset_ms: int) -> str:
    """Return how another host's clock stands to ours: `alice-vm is 12 ms ahead of this host`."""
    if offset_ms == 0:
        return f"{printable(host)} agrees with this host to the millisecond"
    return f"{printable(host)} is {abs(offset_ms)} ms {'ahead of' if offset_ms > 0 else 'behind'} this host"


def way(sender: object, to: object) -> str:
    """Return `bob -> alice`."""
    return f"{printable(sender)} -> {printable(to)}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], colour_by: Sequence[str]) -> list[str]:
    """Return aligned lines under their heads; `colour_by` gives each row the word its first cell is coloured by."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if not colour_by:
        return lines
    first = widths[0]
    painted = [coloured(word, line[:first]) + line[first:] for word, line in zip(colour_by, lines[1:], strict=True)]
    return [lines[0], *painted]


def entry_fields(entry: Entry, now: float) -> dict[str, Any]:
    """Return an entry as JSON fields: those of a record, and what only this host's files say. Times in seconds."""
    doubt_s = entry.doubt_s(now)
    known = to_fields(entry.record) if entry.record else _open_fields(entry)
    return {
        **known,
        "role": entry.role.value,
        "means": entry.means,
        "in_doubt": doubt_s is not None,
        "in_doubt_s": doubt_s and round(doubt_s, 3),
        "since": format_moment(entry.since),
        "age_s": round(now - entry.since, 3),
        "expires_in_s": None if entry.expires_at is None else round(entry.expires_at - now, 3),
        "files": [{"place": seen.place.value, "path": seen.path} for seen in entry.sightings],
    }


def _open_fields(entry: Entry) -> dict[str, Any]:
    return {
        "tid": entry.tid,
        "handoff_id": entry.handoff_id,
        "from": entry.sender,
        "to": entry.to,
        "peer": entry.peer,
        "file": entry.file,
        "state": entry.word,
        "reason": None,
        "expires_at": None if entry.expires_at is None else format_moment(entry.expires_at),
    }


def print_json(value: object) -> None:
    """Print one JSON document; ASCII, so nothing in it can steer a terminal."""
    print(json.dumps(value, indent=2))
