"""The long run: many handoffs through one pair, with memory and look-ups sampled on the way.

An agent in a process of its own claims and archives at the target. What is in flight is bounded, as it is when agents
wait for answers, so that the run measures length and not depth.
"""

import hashlib
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.arrival import Arrivals
from benchmarks.host import get
from benchmarks.measure import NS_PER_MS, NeverArrived
from benchmarks.pair import Pair
from benchmarks.payload import make_payload, publish
from benchmarks.process import first_line, module, resident_bytes, running

IN_FLIGHT = 400
STALL_LIMIT_S = 60
EARLY = 1_000
LOOKUPS, SHOWS = 200, 3
SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What was true when `done` handoffs had come home: bytes in memory by daemon; early and last, ms per look-up."""

    done: int
    elapsed_s: float
    resident: dict[str, int]
    get_ms: Sequence[float]
    show_ms: Sequence[float]
    """With the command's start, which is nearly all of it."""


@dataclass(slots=True)
class Progress:
    """Transfer ids that came home, and those still out, by caller hash."""

    out: dict[str, str] = field(default_factory=dict)
    home: list[str] = field(default_factory=list)


def endure(pair: Pair, count: int) -> list[Sample]:
    """Send `count` handoffs and follow each until its outcome is home; return samples in order. Raises NeverArrived."""
    carrier = pair.carrier
    due = deque(sorted({EARLY, *(count * step // SAMPLES for step in range(1, SAMPLES + 1))}))
    samples, progress, started = [], Progress(), time.monotonic()
    with (
        running(module("agent", str(carrier.target))) as agent,
        Arrivals(carrier.source / "archive") as outcomes,
    ):
        first_line(agent)
        while len(progress.home) < count:
            _fill(pair, progress, count)
            _collect(outcomes, progress)
            passed = {due.popleft() for _ in range(sum(moment <= len(progress.home) for moment in due))}
            if passed:
                looks_up = bool(passed & {EARLY, count})
                samples.append(_sample(pair, progress, time.monotonic() - started, looks_up))
    return samples


def _fill(pair: Pair, progress: Progress, count: int) -> None:
    while len(progress.out) < IN_FLIGHT and len(progress.out) + len(progress.home) < count:
        payload = make_payload()
        progress.out[payload.caller_hash] = hashlib.sha256(payload.data).hexdigest()
        publish(pair.carrier.source, payload)


def _collect(outcomes: Arrivals, progress: Progress) -> None:
    _, names = outcomes.wait(STALL_LIMIT_S)
    if not names:
        raise NeverArrived(f"nothing came home for {STALL_LIMIT_S} s, {len(progress.out)} are out")
    for name in names:
        if tid := progress.out.pop(name[:16], None):
            progress.home.append(tid)


def _sample(pair: Pair, progress: Progress, elapsed_s: float, looks_up: bool) -> Sample:
    resident = {name: resident_bytes(pid) for name, pid in pair.carrier.pids.items()}
    print(f"  {len(progress.home)} home after {elapsed_s:.0f} s, resident {resident}", file=sys.stderr)
    ids = random.choices(progress.home, k=LOOKUPS) if looks_up else []
    get_ms = [_get_ms(pair, tid) for tid in ids]
    return Sample(len(progress.home), elapsed_s, resident, get_ms, [_show_ms(pair, one) for one in ids[:SHOWS]])


def _show_ms(pair: Pair, tid: str) -> float:
    command = [sys.executable, "-m", "handoffd", "show", tid, "--json", "--config", str(pair.sender.config)]
    started_ns = time.monotonic_ns()
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise NeverArrived(f"handoffd show {tid} ended with {answer.returncode}: {answer.stderr.strip()}")
    return (time.monotonic_ns() - started_ns) / NS_PER_MS


def _get_ms(pair: Pair, tid: str) -> float:
    host = pair.sender
    started_ns = time.monotonic_ns()
    status, _ = get(host.plain_port, f"/api/v1/handoffs/{tid}", pair.agent_token)
    if status != 200:
        raise NeverArrived(f"looking up {tid} at {host.name} answered {status}")
    return (time.monotonic_ns() - started_ns) / NS_PER_MS
