"""The sections about hosts that only dial out: pull links, a star, a hub that a thousand wait at, a drain.

It owns their targets. Pull and push take turns in blocks, so that both meet the same weather.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.drain import Drain, drain
from benchmarks.effort import MIB, WARM_UP, Effort
from benchmarks.host import Stanza, add_token, configure, daemon, make_host, token_hash, write
from benchmarks.measure import Lone, NeverArrived, burst, lone, percentile
from benchmarks.pair import HUB, dialled, introduce, introduce_dialler, pair, star, two_hosts
from benchmarks.process import first_line, module, processor_share, resident_bytes, running
from benchmarks.table import Row

PULL_LIMIT = 2.5
"""Pull needs two more one-way trips, and a flush, than push."""
URGENT_LIMIT_MS = 1_000
IDLE_POLLS_LIMIT_PERCENT = 3


def pull(directory: Path, effort: Effort) -> list[Row]:
    """Measure a peer that dials in beside one that is called."""
    with pair(directory / "push") as called, dialled(directory / "pull") as dialling:
        for carrier in (called.carrier, dialling):
            lone(carrier, WARM_UP)
        pushed, pulled = [], []
        for _ in range(effort.lone_blocks):
            pushed.append(lone(called.carrier, effort.lone_per_block))
            pulled.append(lone(dialling, effort.lone_per_block))
        rates = [burst(dialling, effort.burst).rate for _ in range(effort.bursts)]
    push_ms, pull_ms = _visible(pushed), _visible(pulled)
    ratio = percentile(pull_ms, 0.5) / percentile(push_ms, 0.5)
    return [
        *_lone_rows("pull", pulled),
        Row("push beside it: lone handoff, visible at B, p50", percentile(push_ms, 0.5), " ms"),
        Row("pull against push: lone handoff, p50", ratio, "x", limit=PULL_LIMIT),
        Row(f"pull: burst of {effort.burst:,}, until the last is visible", statistics.median(rates), "/s"),
    ]


def middle(directory: Path, effort: Effort) -> list[Row]:
    """Measure two hosts that only dial out, and the hub between them."""
    with star(directory) as carrier:
        lone(carrier, WARM_UP)
        blocks = [lone(carrier, effort.lone_per_block) for _ in range(effort.lone_blocks)]
        rates = [burst(carrier, effort.burst).rate for _ in range(effort.bursts)]
    return [
        *_lone_rows("star", blocks),
        Row(f"star: burst of {effort.burst:,}, until the last is visible", statistics.median(rates), "/s"),
    ]


def polls(directory: Path, effort: Effort) -> list[Row]:
    """Measure a hub at which agents, then hosts that dial in, wait for something to come."""
    rows = []
    for kind in ("agents", "peers"):
        with _hub_with(directory / kind, kind, effort.polls) as pid:
            share = processor_share(pid, effort.idle_s)
            what = f"hub, {effort.polls:,} {kind} polling"
            rows += [
                Row(f"{what}: processor, share of a core", share * 100, " %", limit=IDLE_POLLS_LIMIT_PERCENT),
                Row(f"{what}: RSS", resident_bytes(pid) / MIB, " MiB"),
            ]
    return rows


def outage(directory: Path, effort: Effort) -> list[Row]:
    """Measure how a backlog drains after an outage, and what it does to urgent handoffs."""
    rows = []
    for way, meet in (("push", introduce), ("pull", introduce_dialler)):
        bob, alice = two_hosts(directory / way)
        meet(bob, alice)
        rows += _drain_rows(way, drain(bob, alice, effort.backlog))
    return rows


def _visible(blocks: list[Lone]) -> list[float]:
    return [ms for block in blocks for ms in block.visible_ms]


def _lone_rows(way: str, blocks: list[Lone]) -> list[Row]:
    visible, outcome = _visible(blocks), [ms for block in blocks for ms in block.outcome_ms]
    return [
        Row(f"{way}: lone handoff, visible at B, p50", percentile(visible, 0.5), " ms"),
        Row(f"{way}: lone handoff, visible at B, p99", percentile(visible, 0.99), " ms"),
        Row(f"{way}: outcome home, p50", percentile(outcome, 0.5), " ms"),
    ]


def _drain_rows(way: str, drained: Drain) -> list[Row]:
    what = f"{way}, backlog of {drained.count:,}"
    return [
        Row(f"{what}: from the start of B's daemon to the first", drained.first_s, " s"),
        Row(f"{what}: from the first to the last", drained.rate, "/s"),
        Row(f"{what}: urgent one meanwhile, p50", percentile(drained.urgent_ms, 0.5), " ms"),
        Row(f"{what}: urgent one meanwhile, slowest", max(drained.urgent_ms), " ms", limit=URGENT_LIMIT_MS),
    ]


@contextmanager
def _hub_with(directory: Path, kind: str, count: int) -> Iterator[int]:
    """Run a hub and its clients; give its process id once all of them wait. Raises NeverArrived."""
    names = [f"{kind[:-1]}-{number}" for number in range(count)]
    hub = make_host(directory, HUB, *(names if kind == "agents" else ()))
    tokens = {name: add_token(hub, name) for name in names}
    listed = directory / "tokens.txt"
    write(listed, "".join(f"{name} {token}\n" for name, token in tokens.items()).encode())
    peers: dict[str, Stanza] = {name: {"agents": [name], "accepts": token_hash(name)} for name in names}
    configure(hub, peers if kind == "peers" else {}, talkative=names if kind == "agents" else ())
    command = module("pollers", kind, str(hub.tls_port), str(hub.certificate), str(listed))
    with daemon(hub) as pid, running(command) as clients:
        first_line(clients)
        yield pid
        if clients.poll() is not None:
            raise NeverArrived(f"the {kind} that were to poll ended with {clients.returncode}")
