"""How far a peer's clock is from ours, from the times in its answers.

It knows round trips and two clocks, not who measured them. The rule that must stay true: of the samples kept, the one
with the shortest round trip speaks, because its error is at most half of that trip (RFC 5905 section 10, the clock
filter; with one time stamp by the peer instead of two, its own working time counts as path delay).
"""

from collections import deque
from dataclasses import dataclass

SAMPLES = 16
"""Exchanges remembered. RFC 5905 keeps 8; a busy link has slow exchanges between quick ones, hence twice that."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One exchange: the peer's clock minus ours at its midpoint, and its round trip, both in seconds."""

    offset_s: float
    round_trip_s: float


class ClockOffset:
    """The offset of one peer's clock, over its last SAMPLES exchanges."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)

    def note(self, peer_time_s: float, answered_s: float, round_trip_s: float) -> None:
        """Take a sample: the time the peer told, our wall clock when its answer came, and how long that took."""
        midpoint_s = answered_s - round_trip_s / 2
        self._samples.append(Sample(peer_time_s - midpoint_s, round_trip_s))

    def offset_ms(self) -> int | None:
        """Return the peer's clock minus ours in milliseconds, or None before the first exchange."""
        best = self._best()
        return None if best is None else round(best.offset_s * 1000)

    def round_trip_ms(self) -> float | None:
        """Return the shortest round trip remembered, or None before the first exchange."""
        best = self._best()
        return None if best is None else round(best.round_trip_s * 1000, 3)

    def _best(self) -> Sample | None:
        return min(self._samples, key=lambda sample: sample.round_trip_s, default=None)
