"""How long things took: counted in buckets, in all and by the five minutes of the last day.

It owns the arithmetic. What is timed, and by which clock, its callers say (`meter`). The rule that must stay true:
memory is bounded, whatever is added: a spread is a fixed row of numbers, a history has at most SLOTS of them a step.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import add

STEP_BOUNDS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0),
)
"""From a fraction of the 2.5 ms a whole handoff may take, over the 15 s a caller waits, to an agent's hour of work."""
FLUSH_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""From a disk with a cache of its own to one that is in trouble."""
HISTORY_BOUNDS_S = tuple(0.0001 * 1.2**number for number in range(97))
"""Closer, as a history tells quantiles of few: from 0.1 ms to an hour, each a fifth above the one below."""
SLOT_S = 300
SLOTS = 288
"""A day in slots of five minutes."""


class Step(StrEnum):
    """What is timed of a handoff, by the clock of one host each; MEANING says by whose."""

    TAKE_TO_STORED = "take_to_stored"
    TAKE_TO_CLAIMED = "take_to_claimed"
    TAKE_TO_HOME = "take_to_home"
    STORED_TO_PUBLISHED = "stored_to_published"
    PUBLISHED_TO_CLAIMED = "published_to_claimed"
    CLAIMED_TO_FINAL = "claimed_to_final"


MEANING: dict[Step, str] = {
    Step.TAKE_TO_STORED: "at the sender: from taking the file until the peer's word that it has it",
    Step.TAKE_TO_CLAIMED: "at the sender: from taking the file until the news of the claim",
    Step.TAKE_TO_HOME: "at the sender: from taking the file until the outcome of an agent's work is recorded here",
    Step.STORED_TO_PUBLISHED: "at the receiver: from custody until agents can see the file",
    Step.PUBLISHED_TO_CLAIMED: "at the receiver: how long agents let it lie",
    Step.CLAIMED_TO_FINAL: "at the receiver: how long an agent had it",
}


class Spread:
    """How often something took how long: counts between fixed bounds (seconds, ascending), and their sum."""

    __slots__ = ("bounds_s", "counts", "total_s")

    def __init__(self, bounds_s: Sequence[float] = STEP_BOUNDS_S) -> None:
        self.bounds_s = bounds_s
        self.counts = array("I", bytes(4 * (len(bounds_s) + 1)))
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.total_s += seconds

    def merge(self, other: "Spread") -> None:
        """Count all that another one of the same bounds has counted."""
        self.counts = array("I", map(add, self.counts, other.counts))
        self.total_s += other.total_s

    @property
    def count(self) -> int:
        """Return how many were counted."""
        return sum(self.counts)

    def quantile_s(self, share: float) -> float | None:
        """Return the seconds within which this share (0 to 1) of them stayed; None if there are none.

        Read off within a bucket as Prometheus does; what lies above the last bound is told as that bound.
        """
        wanted, below = share * self.count, 0.0
        if not self.count:
            return None
        for number, count in enumerate(self.counts[:-1]):
            if count and below + count >= wanted:
                low = self.bounds_s[number - 1] if number else 0.0
                return low + (self.bounds_s[number] - low) * (wanted - below) / count
            below += count
        return self.bounds_s[-1]


@dataclass(slots=True)
class Slot:
    """Five minutes: `at` is their beginning, POSIX seconds; a step that did not happen is not there."""

    at: float
    steps: dict[Step, Spread] = field(default_factory=dict)


class History:
    """The steps of the last day. One thread adds, any may read."""

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque(maxlen=SLOTS)

    def add(self, step: Step, seconds: float, now: float) -> None:
        """Count a step that ended now (POSIX seconds)."""
        at = now // SLOT_S * SLOT_S
        if not self._slots or self._slots[-1].at != at:
            self._slots.append(Slot(at))
        slot = self._slots[-1]
        spread = slot.steps.get(step)
        if spread is None:
            spread = Spread(HISTORY_BOUNDS_S)
            slot.steps = {**slot.steps, step: spread}  # another one: somebody may be reading the old one
        spread.add(seconds)

    def slots(self, now: float, last_s: float = SLOTS * SLOT_S) -> Iterator[Slot]:
        """Return the slots of the last `last_s` seconds in which anything happened, oldest first."""
        oldest = now - last_s - SLOT_S
        return (slot for slot in list(self._slots) if slot.at > oldest)

    def over(self, step: Step, now: float, last_s: float) -> Spread:
        """Return what was counted of a step in the last `last_s` seconds, to the slot."""
        whole = Spread(HISTORY_BOUNDS_S)
        for slot in self.slots(now, last_s):
            if step in slot.steps:
                whole.merge(slot.steps[step])
        return whole
