"""Makes a failing schedule short: what is left are the steps that matter.

It owns the search and knows no act. The rule that must stay true: the short schedule fails in the same way.
"""

import re
from dataclasses import replace

from tests.simulator.schedule import Schedule, Step, play

_UNIQUE = re.compile(r"[0-9a-f]{12,}")
TRIES = 2_000
"""A schedule of 200 steps needs some hundreds."""


def failure(schedule: Schedule) -> str | None:
    """Play a schedule; return what was broken, without the names that are new in every run, or None."""
    try:
        play(schedule)
    except Exception as error:
        return _UNIQUE.sub("#", f"{type(error).__name__}: {error}")
    return None


def shrink(schedule: Schedule) -> Schedule:
    """Return the shortest schedule found that fails as this one does."""
    wanted, steps, tries = failure(schedule), list(schedule.steps), 0
    size = max(1, len(steps) // 2)
    while size and tries < TRIES:
        at, before = 0, len(steps)
        while at < len(steps) and tries < TRIES:
            shorter: list[Step] = steps[:at] + steps[at + size :]
            tries += 1
            if failure(replace(schedule, steps=tuple(shorter))) == wanted:
                steps = shorter
            else:
                at += size
        if len(steps) == before:
            size //= 2
    return replace(schedule, steps=tuple(steps))
