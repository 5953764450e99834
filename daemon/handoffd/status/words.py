"""Spans of time in words, as every view and every warning shows them."""

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
"""Seconds and name of a unit, and of the one below it."""


def duration(seconds: float) -> str:
    """Return `0.4s`, `42s`, `3m05s`, `2h10m` or `5d03h`."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    for size, unit, lower, lower_unit in _UNITS:
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // lower:02d}{lower_unit}"
    return f"{whole}s"
