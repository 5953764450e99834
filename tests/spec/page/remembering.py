"""`handoffd` with a made-up day of latencies in its meters: a picture of a day would take a day. For pictures alone."""

import random
import sys
import time

from handoffd.__main__ import outcome
from handoffd.app import process
from handoffd.status.latency import SLOT_S, SLOTS, Step
from handoffd.status.meter import Meters

TYPICAL_S = {
    Step.TAKE_TO_STORED: 0.003,
    Step.TAKE_TO_CLAIMED: 0.045,
    Step.TAKE_TO_HOME: 21.0,
    Step.STORED_TO_PUBLISHED: 0.0006,
    Step.PUBLISHED_TO_CLAIMED: 0.030,
    Step.CLAIMED_TO_FINAL: 19.0,
}
SLOW_HOUR = 7
"""So many hours ago the line between the hosts was slow."""


class Remembering(Meters):
    """Meters that start with a quiet night, a busy day and one slow hour."""

    def __init__(self) -> None:
        super().__init__()
        chance, now = random.Random(7), time.time()
        for ago_s in range(SLOT_S * SLOTS, 0, -SLOT_S):
            is_day = 6 * 3600 <= (now - ago_s) % 86_400 < 21 * 3600
            for _ in range(chance.randrange(9) if is_day else chance.randrange(2)):
                for step in Step:
                    slow = 9.0 if ago_s // 3600 == SLOW_HOUR and step.startswith("take") else 1.0
                    seconds = TYPICAL_S[step] * slow * chance.lognormvariate(0.0, 0.45)
                    self.history.add(step, seconds, now - ago_s)


if __name__ == "__main__":
    process.Meters = Remembering  # type: ignore[misc]
    sys.exit(outcome(sys.argv[1:]))
