"""The sections of a run: what is started, what is measured on it, and which figures come of it.

It owns the targets. The floor and handoffd take turns in blocks, so that both meet the same weather.
"""

import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.carrier import Carrier, floor
from benchmarks.effort import MIB, WARM_UP, Effort
from benchmarks.endurance import EARLY, LookUps, Sample, endurance
from benchmarks.measure import NS_PER_MS, Lone, burst, lone, percentile, spread
from benchmarks.pair import pair
from benchmarks.process import FLUSHES, CannotTrace, counted_calls, processor_share, resident_bytes
from benchmarks.reach import middle, outage, polls, pull
from benchmarks.table import Row

WIRE_DELAY_MS = 50
FLAT_PERCENT = 10
"""Growth of memory from a tenth of the long run to its end that still counts as flat: what the allocator keeps."""

Section = Callable[[Path, Effort], Iterable[Row]]


def loopback(directory: Path, effort: Effort) -> list[Row]:
    """Measure latency, rate, cost and rest of two daemons beside the floor."""
    with floor(directory / "floor") as ground, pair(directory / "pair") as daemons:
        carriers = (ground, daemons.carrier)
        for carrier in carriers:
            lone(carrier, WARM_UP)
        return [
            *_latency(ground, daemons.carrier, effort),
            *_rest(daemons.carrier, effort),
            *_rate(ground, daemons.carrier, effort),
            *_cost(ground, daemons.carrier, effort),
        ]


def floor_alone(directory: Path, effort: Effort) -> list[Row]:
    """Measure the floor without handoffd."""
    with floor(directory) as ground:
        lone(ground, WARM_UP)
        blocks = [lone(ground, effort.lone_per_block) for _ in range(effort.lone_blocks)]
        durable = _durable_ms(ground, blocks)
        visible = [ms for block in blocks for ms in block.visible_ms]
        rates = [burst(ground, effort.burst).rate for _ in range(effort.bursts)]
    return [
        Row("lone 2 KB file, durable at B, p50", None, " ms", percentile(durable, 0.5)),
        Row("lone 2 KB file, durable at B, p99", None, " ms", percentile(durable, 0.99)),
        Row("lone 2 KB file, visible at B, p50", None, " ms", percentile(visible, 0.5)),
        Row("lone 2 KB file, visible at B, p99", None, " ms", percentile(visible, 0.99)),
        Row(f"burst of {effort.burst:,}, until the last is durable", None, "/s", statistics.median(rates)),
    ]


def wire(directory: Path, effort: Effort) -> list[Row]:
    """Measure two daemons with 50 ms between them, each way."""
    with pair(directory, delay_ms=WIRE_DELAY_MS) as daemons:
        lone(daemons.carrier, WARM_UP)
        times = lone(daemons.carrier, effort.wire_lone)
        bursts = [burst(daemons.carrier, effort.burst).visible_s for _ in range(effort.wire_bursts)]
    place = f"{WIRE_DELAY_MS} ms each way"
    return [
        Row(f"{place}: lone handoff, p50", percentile(times.visible_ms, 0.5), " ms", limit=60),
        Row(f"{place}: outcome home, p50", percentile(times.outcome_ms, 0.5), " ms"),
        Row(f"{place}: burst of {effort.burst:,}, until the last", statistics.median(bursts), " s", limit=3),
    ]


def scan(directory: Path, effort: Effort) -> list[Row]:
    """Measure two daemons that get no events from the kernel."""
    with pair(directory, watch="scan") as daemons:
        lone(daemons.carrier, 1)
        times = spread(daemons.carrier, effort.scan, mean_gap_s=0.15)
    return [
        Row("scan only: visible at B, p50", percentile(times, 0.5), " ms"),
        Row("scan only: visible at B, p99", percentile(times, 0.99), " ms", limit=1_200),
    ]


def long(directory: Path, effort: Effort) -> Iterator[Row]:
    """Measure what many handoffs leave behind. What is known is told first: the look-ups at the end may yet fail."""
    with pair(directory) as daemons, endurance(daemons) as run:
        run.until(EARLY)
        early = run.look_up()
        yield from _left_behind(run.until(effort.long), effort)
        yield from _look_ups(EARLY, early)
        yield from _look_ups(effort.long, run.look_up())


def _left_behind(samples: Sequence[Sample], effort: Effort) -> Iterator[Row]:
    last = samples[-1]
    settled = next(sample for sample in samples if sample.done >= effort.long / 10)
    yield Row(f"{last.done:,} handoffs: outcomes home", (last.done - EARLY) / last.elapsed_s, "/s")
    for name, resident in last.resident.items():
        growth = resident / settled.resident[name] - 1
        yield Row(f"RSS of {name} at {settled.done:,}", settled.resident[name] / MIB, " MiB")
        yield Row(f"RSS of {name} at {last.done:,}", resident / MIB, " MiB", limit=80)
        yield Row(f"RSS of {name}, growth in between", growth * 100, " %", limit=FLAT_PERCENT)


def _look_ups(done: int, times: LookUps) -> Iterator[Row]:
    yield Row(f"GET by id at {done:,}, p50", percentile(times.get_ms, 0.5), " ms")
    yield Row(f"GET by id at {done:,}, p99", percentile(times.get_ms, 0.99), " ms")
    yield Row(f"handoffd show at {done:,}, p50", percentile(times.show_ms, 0.5), " ms")


def _latency(ground: Carrier, carrier: Carrier, effort: Effort) -> list[Row]:
    floors, blocks = [], []
    for _ in range(effort.lone_blocks):
        floors.append(lone(ground, effort.lone_per_block))
        blocks.append(lone(carrier, effort.lone_per_block))
    durable = _durable_ms(ground, floors)
    visible = [ms for block in blocks for ms in block.visible_ms]
    outcome = [ms for block in blocks for ms in block.outcome_ms]
    return [
        _against("lone 2 KB handoff, visible at B, p50", visible, durable, 0.5, limit=2.5),
        _against("lone 2 KB handoff, visible at B, p99", visible, durable, 0.99, limit=4),
        Row("outcome home (archive/ at B to archive/ at A), p50", percentile(outcome, 0.5), " ms"),
        Row("outcome home (archive/ at B to archive/ at A), p99", percentile(outcome, 0.99), " ms"),
    ]


def _against(figure: str, times: list[float], floor_times: list[float], share: float, limit: float) -> Row:
    value, ground = percentile(times, share), percentile(floor_times, share)
    return Row(figure, value, " ms", ground, limit, limits_ratio=True)


def _durable_ms(ground: Carrier, blocks: list[Lone]) -> list[float]:
    durable_ns = ground.durable_ns()
    return [(durable_ns[name] - at_ns) / NS_PER_MS for block in blocks for name, at_ns in block.started_ns.items()]


def _rate(ground: Carrier, carrier: Carrier, effort: Effort) -> list[Row]:
    floors, bursts = [], []
    for _ in range(effort.bursts):
        floors.append(burst(ground, effort.burst).rate)
        bursts.append(burst(carrier, effort.burst))
    home = statistics.median(one.count / one.outcome_s for one in bursts)
    rate = statistics.median(one.rate for one in bursts)
    return [
        Row(
            f"burst of {effort.burst:,}, until the last is visible",
            rate,
            "/s",
            statistics.median(floors),
            3_000,
            "at least",
        ),
        Row(f"burst of {effort.burst:,}, until the last outcome is home", home, "/s"),
    ]


def _rest(carrier: Carrier, effort: Effort) -> list[Row]:
    with ThreadPoolExecutor(len(carrier.pids)) as pool:
        shares = list(pool.map(lambda pid: processor_share(pid, effort.idle_s), carrier.pids.values()))
    return [
        row
        for (name, pid), share in zip(carrier.pids.items(), shares, strict=True)
        for row in (
            Row(f"idle {name}: processor, share of a core", share * 100, " %", limit=0.05),
            Row(f"idle {name}: RSS", resident_bytes(pid) / MIB, " MiB", limit=80),
        )
    ]


def _cost(ground: Carrier, carrier: Carrier, effort: Effort) -> list[Row]:
    """Count per handoff and whole life, both ends together; limits as in docs/custody.md section 16."""
    try:
        return [
            *_calls("lone, whole life", ground, carrier, lambda one: lone(one, effort.traced), effort.traced, 12),
            *_calls(
                f"burst of {effort.traced_burst}, whole life",
                ground,
                carrier,
                lambda one: burst(one, effort.traced_burst),
                effort.traced_burst,
                4.08,
            ),
        ]
    except CannotTrace as error:
        print(f"system calls were not counted: {error}", file=sys.stderr)
        return []


def _calls(
    what: str, ground: Carrier, carrier: Carrier, act: Callable[[Carrier], object], count: int, limit: float
) -> list[Row]:
    counted = []
    for one in (ground, carrier):
        with counted_calls(list(one.pids.values())) as calls:
            act(one)
        counted.append(calls)
    flushes = [sum(calls[name] for name in FLUSHES) / count for calls in counted]
    every = [calls.total() / count for calls in counted]
    return [
        Row(f"flushes per handoff, {what}", flushes[1], "", flushes[0], limit),
        Row(f"system calls per handoff, {what}", every[1], "", every[0]),
    ]


SECTIONS: dict[str, Section] = {
    "floor": floor_alone,
    "loopback": loopback,
    "wire": wire,
    "scan": scan,
    "pull": pull,
    "star": middle,
    "polls": polls,
    "outage": outage,
    "long": long,
}
STANDARD = ("loopback", "wire", "scan", "pull", "star", "polls", "outage")
