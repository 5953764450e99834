"""The long run: many handoffs through one pair, with memory sampled on the way and look-ups timed in between.

An agent in a process of its own claims and archives at the target. What is in flight is bounded, as it is when agents
wait for answers, so that the run measures length and not depth. Look-ups are timed when nothing is in flight, early and
late alike, so that they tell what history costs and not what else the daemon does.
"""

import contextlib
import hashlib
import http.client
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.arrival import Arrivals
from benchmarks.host import get
from benchmarks.measure import NS_PER_MS, NeverArrived
from benchmarks.pair import Pair
from benchmarks.payload import make_payload, publish
from benchmarks.process import first_line, module, resident_bytes, running

IN_FLIGHT = 400
STALL_LIMIT_S = 300
"""An hour's run is not thrown away because the machine was busy with something else for a minute."""
EARLY = 1_000
LOOKUPS, SHOWS = 200, 3
SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What was true when `done` handoffs had come home: seconds since the way to it began, bytes by daemon."""

    done: int
    elapsed_s: float
    resident: dict[str, int]


@dataclass(frozen=True, slots=True)
class LookUps:
    """Times of look-ups by id, in ms."""

    get_ms: Sequence[float]
    show_ms: Sequence[float]
    """With the command's start, which is nearly all of it."""


@dataclass(slots=True)
class Endurance:
    """A run that goes on: transfer ids that came home, and those still out, by caller hash."""

    pair: Pair
    outcomes: Arrivals
    ended: Callable[[], int | None]
    """The exit code of the agent, if it has one."""
    out: dict[str, str] = field(default_factory=dict)
    home: list[str] = field(default_factory=list)

    def until(self, count: int) -> list[Sample]:
        """Go on until `count` in all are home and none is out; return samples in order. Raises NeverArrived."""
        due = deque(count * step // SAMPLES for step in range(1, SAMPLES + 1))
        samples, before, started = [], len(self.home), time.monotonic()
        while due:
            self._fill(count)
            self._collect()
            passed = [due.popleft() for _ in range(sum(moment <= len(self.home) for moment in due))]
            if passed and passed[-1] > before:
                samples.append(self._sample(time.monotonic() - started))
        return samples

    def look_up(self) -> LookUps:
        """Time look-ups of what came home. Raises NeverArrived."""
        ids = random.choices(self.home, k=LOOKUPS)
        return LookUps([_get_ms(self.pair, one) for one in ids], [_show_ms(self.pair, one) for one in ids[:SHOWS]])

    def _fill(self, count: int) -> None:
        while len(self.out) < IN_FLIGHT and len(self.out) + len(self.home) < count:
            payload = make_payload()
            self.out[payload.caller_hash] = hashlib.sha256(payload.data).hexdigest()
            publish(self.pair.carrier.source, payload)

    def _collect(self) -> None:
        _, names = self.outcomes.wait(STALL_LIMIT_S)
        if not names:
            rejected = sum(1 for _ in (self.pair.carrier.source / "rejected").glob("*.json"))
            agent = "the agent runs" if self.ended() is None else f"the agent ended with {self.ended()}"
            raise NeverArrived(
                f"nothing came home for {STALL_LIMIT_S} s, {len(self.out)} are out, {rejected} in rejected/, {agent}"
            )
        for name in names:
            if tid := self.out.pop(name[:16], None):
                self.home.append(tid)

    def _sample(self, elapsed_s: float) -> Sample:
        resident = {name: resident_bytes(pid) for name, pid in self.pair.carrier.pids.items()}
        print(f"  {len(self.home)} home after {elapsed_s:.0f} s, resident {resident}", file=sys.stderr)
        return Sample(len(self.home), elapsed_s, resident)


@contextlib.contextmanager
def endurance(pair: Pair) -> Iterator[Endurance]:
    """Run the agent at the target, and be ready to send."""
    with (
        running(module("agent", str(pair.carrier.target))) as agent,
        Arrivals(pair.carrier.source / "archive") as outcomes,
    ):
        first_line(agent)
        yield Endurance(pair, outcomes, agent.poll)


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
    try:
        status, _ = get(host.plain_port, f"/api/v1/handoffs/{tid}", pair.agent_token)
    except (OSError, http.client.HTTPException) as error:
        raise NeverArrived(f"looking up {tid} at {host.name}: {error!r}") from None
    if status != 200:
        raise NeverArrived(f"looking up {tid} at {host.name} answered {status}")
    return (time.monotonic_ns() - started_ns) / NS_PER_MS
