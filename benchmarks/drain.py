"""The drain: what waited through an outage goes to a peer that is back, and urgent handoffs come in between.

The peer's daemon is down while the backlog is handed over, as after a power cut; nobody claims at its end, so that all
of the machine is the daemons'. An urgent handoff has a deadline an hour before the backlog's.
"""

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.arrival import Arrivals
from benchmarks.host import Host, daemon
from benchmarks.measure import NS_PER_MS, Arrival, NeverArrived, collect, collect_until
from benchmarks.payload import make_payload, publish

TAKE_LIMIT_S, DRAIN_LIMIT_S = 120, 300
BACKLOG_LIFETIME, URGENT_LIFETIME = timedelta(hours=2), timedelta(hours=1)
URGENT_GAP_S = 0.2
RESOLUTION_S = 0.001
"""A small backlog may show at once: all of it within one look."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Seconds from the start of the peer's daemon until the first and the last of the backlog showed there.

    `urgent_ms` is what each urgent one took.
    """

    count: int
    first_s: float
    last_s: float
    urgent_ms: list[float]

    @property
    def rate(self) -> float:
        """Return handoffs per second, from the first of the backlog that shows to the last."""
        return self.count / max(self.last_s - self.first_s, RESOLUTION_S)


def drain(sender: Host, target: Host, count: int) -> Drain:
    """Let a backlog of `count` gather while the target's daemon is down, then start that. Raises NeverArrived."""
    with daemon(sender):
        backlog = _gather(sender, target, count)
        started_ns = time.monotonic_ns()
        with Arrivals(target.root / "handoff") as arrivals, daemon(target):
            arrived, urgent = _follow(sender.root, arrivals, backlog)
    moments = [arrived[caller].at_ns for caller in backlog]
    first_s, last_s = ((moment - started_ns) / 1e9 for moment in (min(moments), max(moments)))
    return Drain(count, first_s, last_s, urgent)


def _gather(sender: Host, target: Host, count: int) -> set[str]:
    """Hand over a backlog and wait until all of it is in custody; return the caller hashes."""
    payloads = [make_payload(lifetime=BACKLOG_LIFETIME) for _ in range(count)]
    for payload in payloads:
        publish(sender.root, payload)
    outbox = sender.root / "relay" / "outbox" / target.name
    deadline = time.monotonic() + TAKE_LIMIT_S
    while not outbox.is_dir() or len(os.listdir(outbox)) < count:
        if time.monotonic() > deadline:
            raise NeverArrived(f"not all of {count} were taken into custody in {TAKE_LIMIT_S} s")
        time.sleep(0.05)
    return {payload.caller_hash for payload in payloads}


def _follow(root: Path, arrivals: Arrivals, backlog: set[str]) -> tuple[dict[str, Arrival], list[float]]:
    """Hand over an urgent one now and then until the backlog is through; return all arrivals, and ms of the urgent."""
    arrived: dict[str, Arrival] = {}
    urgent_ns: dict[str, int] = {}
    deadline = time.monotonic() + DRAIN_LIMIT_S
    while backlog - arrived.keys():
        if time.monotonic() > deadline:
            raise NeverArrived(f"{len(backlog - arrived.keys())} of the backlog did not arrive in {DRAIN_LIMIT_S} s")
        payload = make_payload(lifetime=URGENT_LIFETIME)
        urgent_ns[payload.caller_hash] = publish(root, payload)
        arrived |= collect_until(arrivals, time.monotonic() + URGENT_GAP_S)
    arrived |= collect(arrivals, urgent_ns.keys() - arrived.keys(), DRAIN_LIMIT_S)
    return arrived, [(arrived[caller].at_ns - at_ns) / NS_PER_MS for caller, at_ns in urgent_ns.items()]
