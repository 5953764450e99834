"""Runs many schedules, side by side, and keeps what fails.

python -m tests.simulator --schedules 20000 --seed 1 --hosts 2 --jobs 2
python -m tests.simulator --play FILE
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import Pool, get_context
from multiprocessing.pool import Pool as PoolOfProcesses
from pathlib import Path

from tests.simulator import compiled
from tests.simulator.portion import Report, again, run
from tests.simulator.schedule import draw, from_text, to_text
from tests.simulator.shrink import failure, shrink

PORTION = 250
BLOCK = 100_000
"""After so many it is told how far the run has come: everything up to there is played, compared and reported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; 1 when something was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__.partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--hosts", type=int, default=2, choices=range(2, 6), help="2 to 5 (default: 2)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--keep", type=Path, default=Path("build/simulator"), help="where shortened failures go")
    parser.add_argument("--play", type=Path, help="play one kept schedule and say what it breaks")
    parser.add_argument("--compiled", action="store_true", help="play compiled copies, made first; for long runs")
    options = parser.parse_args(arguments)
    if options.compiled:
        return _run_compiled(options)
    logging.disable(logging.CRITICAL)  # engines tell of every disk that fails
    if options.play is not None:
        words = failure(from_text(options.play.read_text()))
        print(words or "all promises kept")
        return int(words is not None)
    return _run_many(options)


def _run_compiled(options: argparse.Namespace) -> int:
    places = [f"--keep={options.keep.resolve()}", *([f"--play={options.play.resolve()}"] if options.play else [])]
    numbers = [f"--{name}={getattr(options, name)}" for name in ("schedules", "seed", "hosts", "jobs")]
    try:
        return compiled.run([*numbers, *places])
    except compiled.CannotCompile as error:
        print(f"cannot compile: {error}", file=sys.stderr)
        return 2


def _run_many(options: argparse.Namespace) -> int:
    end, began = options.seed + options.schedules, time.monotonic()
    total = Report()
    with Pool(options.jobs) as pool:
        for first in range(options.seed, end, BLOCK):
            last = min(first + BLOCK, end)
            portions = [(at, min(at + PORTION, last), options.hosts) for at in range(first, last, PORTION)]
            _run_block(portions, pool, options.jobs, total)
            if last < end:
                took_s = time.monotonic() - began
                told = f"{total.played} played, up to seed {last - 1}, in {took_s:.0f} s; broken: {len(total.failures)}"
                print(told, flush=True)
    took_s = time.monotonic() - began
    print(
        f"{total.summary(options.hosts)} in {took_s:.1f} s: {total.played / total.processor_s:.0f} a second of a core"
    )
    print(total.table())
    for seed, _ in total.failures[:3]:
        print(f"shortened: {_keep(seed, options.hosts, options.keep)}")
    return int(bool(total.failures))


def _run_block(portions: list[tuple[int, int, int]], pool: PoolOfProcesses, jobs: int, total: Report) -> None:
    """Play these, some of them twice, and tell at once what is broken."""
    for report in pool.imap(run, portions):
        total.add(report)
        _tell(report.failures)
    different = list(_different(total, portions, jobs))
    total.failures += different
    _tell(different)


def _tell(failures: Sequence[tuple[int, str]]) -> None:
    for seed, words in failures:
        print(f"BROKEN seed {seed}: {words}", flush=True)


def _different(total: Report, portions: list[tuple[int, int, int]], jobs: int) -> Iterator[tuple[int, str]]:
    """Play some once more, in processes whose sets and dictionaries have another order; return what came out else."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "4711" if before != "4711" else "815"
    try:
        with get_context("spawn").Pool(jobs, logging.disable) as pool:
            for prints in pool.imap(again, portions, chunksize=8):
                for seed, fingerprint in prints.items():
                    if total.prints.get(seed, fingerprint) != fingerprint:
                        yield seed, "played twice, it came out differently"
    finally:
        os.environ.pop("PYTHONHASHSEED")
        if before is not None:
            os.environ["PYTHONHASHSEED"] = before


def _keep(seed: int, hosts: int, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{hosts}-hosts-{seed}.txt"
    short = shrink(draw(seed, hosts))
    path.write_text(f"# {failure(short)}\n{to_text(short)}")
    return path


if __name__ == "__main__":
    sys.exit(main())
