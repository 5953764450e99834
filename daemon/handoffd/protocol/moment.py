"""Moments as text: strict RFC 3339 in, one fixed form out.

It knows nothing of clocks; a moment is POSIX seconds, a float. The rule that must stay true: whatever is parsed
here is an instant of the years 1 to 9999 in UTC, so that no reader can overflow on it later.
"""

import re
from datetime import UTC, datetime

_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)(?:Z|([+-][0-9]{2}:[0-9]{2}))\Z"
)
_EARLIEST_S = datetime.min.replace(tzinfo=UTC).timestamp()
_LATEST_S = datetime.max.replace(tzinfo=UTC).timestamp()


def parse_moment(text: str) -> float:
    """Return the POSIX seconds of an RFC 3339 date-time with zone (section 5.6), microseconds kept.

    Leap seconds (`:60`) and lower-case `t` and `z` are refused: agents read times with libraries that raise on them.
    Raises ValueError.
    """
    found = _RFC_3339.match(text)
    if found is None:
        raise ValueError("not a full RFC 3339 date and time with zone, such as 2026-11-20T10:00:00Z")
    day, time, zone = found.groups()
    seconds = datetime.fromisoformat(f"{day}T{time}{zone or '+00:00'}").timestamp()
    if not _EARLIEST_S <= seconds <= _LATEST_S:
        raise ValueError("outside the years 1 to 9999 in UTC")
    return seconds


def format_moment(seconds: float) -> str:
    """Return `2026-11-20T10:00:00.000Z`: UTC, cut to milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
