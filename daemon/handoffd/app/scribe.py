"""The scribe: each custody edge goes to the journal, and is counted.

It owns nothing else. The rule that must stay true: it never raises, for it is called in the middle of custody.
"""

import time

from handoffd.custody.tree import Clock
from handoffd.journal import Journal
from handoffd.status.meter import Meters


class Scribe:
    """Writes edges down."""

    def __init__(self, journal: Journal, meters: Meters, clock: Clock) -> None:
        self._journal, self._meters, self._clock = journal, meters, clock

    def write(self, event: str, **fields: object) -> None:
        """Note one edge."""
        self._journal.write(event, **fields)
        self._meters.edge(event, fields, self._clock.wall(), time.monotonic())
