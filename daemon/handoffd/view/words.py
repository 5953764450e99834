"""Words for people: ages, offsets and ways, and text from agents and peers made harmless.

It knows values, no files and no terminal. The rule that must stay true: nothing an agent or a peer wrote reaches a
terminal without `printable`.
"""

import re

from handoffd.custody.entry import Entry
from handoffd.custody.household import SHARED
from handoffd.custody.place import Role
from handoffd.status.words import duration

__all__ = ["SHORT_TID", "brief", "duration", "expiry", "offset_words", "peer_words", "printable", "way"]

SHORT_TID = 12
"""Digits of T shown in listings, as in file names (`stem.r{T12}.json`)."""
CELL_LIMIT = 600
"""Characters of one cell; above the longest path and the longest detail (custody.md section 6)."""
_TID = re.compile(r"[0-9a-f]{64}")


def printable(text: object) -> str:
    """Return text on one line that no terminal obeys; None becomes `-`."""
    shown = "-" if text is None else str(text)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)[:CELL_LIMIT]


def brief(text: object) -> str:
    """Return printable text in which each T is cut to its first digits: a published name fits on a line then."""
    return _TID.sub(lambda found: found[0][:SHORT_TID] + "\N{HORIZONTAL ELLIPSIS}", printable(text))


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


def peer_words(entry: Entry) -> str:
    """Return where a handoff came from or goes to; at a relay both: `bob-home > any home of alice`."""
    if entry.role is Role.RELAY:
        return f"{printable(entry.peer)} > {_home_words(entry.onward)}"
    return _home_words(entry.peer) if entry.role is Role.SENDER else printable(entry.peer)


def _home_words(where: str | None) -> str:
    return f"any home of {printable(where[1:])}" if where and where.startswith(SHARED) else printable(where)


def way(sender: object, to: object) -> str:
    """Return `bob -> alice`."""
    return f"{printable(sender)} -> {printable(to)}"
