"""How far a peer's clock is from ours, from the times that go with requests and answers.

It knows round trips and two clocks, not who measured them. The rules that must stay true: of the samples kept, the one
with the shortest round trip speaks, because its error is at most half of that trip (RFC 5905 section 10, the clock
filter); and samples that cannot be true of the same two clocks are not kept together: somebody set one of them.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil

SAMPLES = 16
"""Exchanges remembered. RFC 5905 keeps 8; a busy link has slow exchanges between quick ones, hence twice that."""
RESOLUTION_S = 0.001
"""Times are told in whole milliseconds, cut off."""
DRIFT = 1e-4
"""How much faster one clock may run than the other while both are left alone: two crystals at 50 ppm."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One exchange: the peer's clock minus ours at its midpoint, its round trip, the largest error; all in seconds."""

    offset_s: float
    round_trip_s: float
    error_s: float

    def contradicts(self, other: "Sample") -> bool:
        """Tell whether no one offset lies within the bounds of both."""
        return abs(self.offset_s - other.offset_s) > self.error_s + other.error_s


class ClockOffset:
    """The offset of one peer's clock, over its last SAMPLES exchanges."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)

    def note(self, peer_time_s: float, answered_s: float, round_trip_s: float) -> None:
        """Take a sample: the time the peer told, our wall clock when its answer came, and how long that took.

        With one time of the peer's instead of two, its own working time counts as path delay.
        """
        midpoint_s = answered_s - round_trip_s / 2
        self._take(Sample(peer_time_s - midpoint_s, round_trip_s, round_trip_s / 2 + RESOLUTION_S))

    def note_echo(self, came_s: float, left_s: float, heard_s: float, elapsed_s: float) -> None:
        """Take a sample from a peer that calls us: the four times of RFC 5905 section 8.

        By its clock our answer came at `came_s` and its next request left at `left_s`; by ours that request was heard
        at `heard_s`, `elapsed_s` after the answer. A trip of less than nothing is no sample: a clock was set meanwhile.
        """
        slack_s = 2 * RESOLUTION_S + DRIFT * elapsed_s
        round_trip_s = elapsed_s - (left_s - came_s)
        if left_s < came_s or round_trip_s < -slack_s:
            return
        offset_s = ((came_s - (heard_s - elapsed_s)) + (left_s - heard_s)) / 2
        round_trip_s = max(0.0, round_trip_s)
        self._take(Sample(offset_s, round_trip_s, round_trip_s / 2 + slack_s))

    def _take(self, sample: Sample) -> None:
        best = self._best()
        if best is not None and sample.contradicts(best):
            self._samples.clear()
        self._samples.append(sample)

    def offset_ms(self) -> int | None:
        """Return the peer's clock minus ours in milliseconds, or None before the first exchange."""
        best = self._best()
        return None if best is None else round(best.offset_s * 1000)

    def error_ms(self) -> int | None:
        """Return by how many milliseconds the offset may be wrong, or None before the first exchange."""
        best = self._best()
        return None if best is None else ceil(best.error_s * 1000)

    def round_trip_ms(self) -> float | None:
        """Return the round trip of the exchange that speaks, or None before the first."""
        best = self._best()
        return None if best is None else round(best.round_trip_s * 1000, 3)

    def _best(self) -> Sample | None:
        return min(self._samples, key=lambda sample: sample.error_s, default=None)
