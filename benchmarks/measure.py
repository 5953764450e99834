"""The measurements: lone handoffs, bursts, handoffs at given moments. Moments are ns of CLOCK_MONOTONIC.

A measurement sees roots alone, so it treats the floor and handoffd alike. All waits end: with what was waited for, or
with an error that says what never came.
"""

import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.arrival import Arrivals
from benchmarks.carrier import Carrier
from benchmarks.payload import claim_and_archive, make_payload, publish, reveal, write_hidden

ARRIVAL_LIMIT_S = 30
OUTCOME_LIMIT_S = 120
SPACING_S = 0.03
"""Between a lone handoff's last trace and the next one; long enough for every process to be asleep again."""
NS_PER_MS = 1e6


class NeverArrived(Exception):
    """What was sent did not arrive in time; the message counts it."""


@dataclass(frozen=True, slots=True)
class Lone:
    """Times of lone handoffs in ms, and the moment of each rename by file name.

    `outcome_ms` counts from the agent's move to archive/ until the file shows in archive/ of the sender.
    """

    started_ns: dict[str, int]
    visible_ms: list[float]
    outcome_ms: list[float]


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst: the moment of its first rename, and seconds from then until the last file and outcome showed."""

    count: int
    started_ns: int
    visible_s: float
    outcome_s: float

    @property
    def rate(self) -> float:
        """Return handoffs per second."""
        return self.count / self.visible_s


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that showed: under which name, and when."""

    name: str
    at_ns: int


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the values that at least this share (0 to 1) of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def lone(carrier: Carrier, count: int) -> Lone:
    """Send handoffs one by one, each into an idle system. Raises NeverArrived."""
    measured = Lone({}, [], [])
    with Arrivals(carrier.target / "handoff") as arrivals, Arrivals(carrier.source / "archive") as outcomes:
        for _ in range(count):
            _send_one(carrier, arrivals, outcomes, measured)
            time.sleep(SPACING_S)
    return measured


def _send_one(carrier: Carrier, arrivals: Arrivals, outcomes: Arrivals, measured: Lone) -> None:
    payload = make_payload()
    started_ns = publish(carrier.source, payload)
    (arrival,) = collect(arrivals, [payload.caller_hash], ARRIVAL_LIMIT_S).values()
    measured.started_ns[payload.name] = started_ns
    measured.visible_ms.append((arrival.at_ns - started_ns) / NS_PER_MS)
    if carrier.tells_outcomes:
        ended_ns = claim_and_archive(carrier.target, arrival.name, payload.handoff_id)
        (outcome,) = collect(outcomes, [payload.caller_hash], OUTCOME_LIMIT_S).values()
        measured.outcome_ms.append((outcome.at_ns - ended_ns) / NS_PER_MS)


def burst(carrier: Carrier, count: int) -> Burst:
    """Rename many files as fast as one agent can, then claim and archive them all. Raises NeverArrived."""
    payloads = [make_payload() for _ in range(count)]
    hidden = [write_hidden(carrier.source, payload) for payload in payloads]
    time.sleep(SPACING_S)
    with Arrivals(carrier.target / "handoff") as arrivals, Arrivals(carrier.source / "archive") as outcomes:
        renamed_ns = [reveal(carrier.source, *pair) for pair in zip(payloads, hidden, strict=True)]
        callers = [payload.caller_hash for payload in payloads]
        arrived = collect(arrivals, callers, ARRIVAL_LIMIT_S)
        ended = {}
        if carrier.tells_outcomes:
            for payload in payloads:
                claim_and_archive(carrier.target, arrived[payload.caller_hash].name, payload.handoff_id)
            ended = collect(outcomes, callers, OUTCOME_LIMIT_S)
    return Burst(count, renamed_ns[0], _span_s(renamed_ns[0], arrived), _span_s(renamed_ns[0], ended))


def spread(carrier: Carrier, count: int, mean_gap_s: float) -> list[float]:
    """Send handoffs at random moments, whatever became of the ones before; return ms until each showed."""
    started_ns: dict[str, int] = {}
    arrived: dict[str, Arrival] = {}
    payloads = [make_payload() for _ in range(count)]
    with Arrivals(carrier.target / "handoff") as arrivals:
        for payload in payloads:
            started_ns[payload.caller_hash] = publish(carrier.source, payload)
            arrived |= collect_until(arrivals, time.monotonic() + random.uniform(0, 2 * mean_gap_s))
        arrived |= collect(arrivals, started_ns.keys() - arrived.keys(), ARRIVAL_LIMIT_S)
    return [(arrived[caller].at_ns - at_ns) / NS_PER_MS for caller, at_ns in started_ns.items()]


def collect(arrivals: Arrivals, callers: Iterable[str], limit_s: float) -> dict[str, Arrival]:
    """Wait for the payload of every caller hash; return the arrivals by it. Raises NeverArrived."""
    missing = set(callers)
    found: dict[str, Arrival] = {}
    deadline = time.monotonic() + limit_s
    while missing - found.keys():
        if time.monotonic() > deadline:
            raise NeverArrived(f"{len(missing - found.keys())} of {len(missing)} did not arrive in {limit_s} s")
        found |= _collect_once(arrivals, deadline)
    return found


def collect_until(arrivals: Arrivals, moment_s: float) -> dict[str, Arrival]:
    """Return what arrives until a moment of the monotonic clock, by caller hash."""
    found: dict[str, Arrival] = {}
    while time.monotonic() < moment_s:
        found |= _collect_once(arrivals, moment_s)
    return found


def _collect_once(arrivals: Arrivals, moment_s: float) -> dict[str, Arrival]:
    at_ns, names = arrivals.wait(max(moment_s - time.monotonic(), 0))
    # Every name of a handoff here begins with its caller hash, whoever gave it: 16 characters.
    return {name[:16]: Arrival(name, at_ns) for name in names}


def _span_s(started_ns: int, arrived: Mapping[str, Arrival]) -> float:
    return (max((arrival.at_ns for arrival in arrived.values()), default=started_ns) - started_ns) / 1e9
