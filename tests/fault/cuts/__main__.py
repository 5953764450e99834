"""Cuts the power many times, side by side, and says which promises did not hold.

python -m tests.fault.cuts --cuts 20000 --filesystem ext4 --filesystem xfs --jobs 2
python -m tests.fault.cuts --play 4711 --filesystem xfs
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fault.cuts.disk import MEMORY, SIZES, Disk, missing, own_mounts
from tests.fault.cuts.run import Tally, plan, run

from handoffd.custody.filesystem import LinuxFilesystem

PORTION = 100
"""Cuts that one disk takes before another is made."""
PROGRESS = 1_000
JOBS_A_CORE = 3
"""Most of a cut is waiting: for the kernel to let go of a mount and of a loop device."""


def portion(task: tuple[str, int, int]) -> Tally:
    """Cut the power of a new disk of a kind so many times, with the seeds from the first on."""
    kind, first, cuts = task
    tally = Tally()
    with TemporaryDirectory(dir=MEMORY) as ground:
        disk = Disk(kind, Path(ground))
        try:
            seed = first
            while tally.cuts < cuts:
                tally.add(run(plan(seed), disk))
                seed += 1
        finally:
            disk.close()
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; 1 when something was broken, 77 when it cannot run here."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.cuts", description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=20_000, help="how many at least (default: 20000)")
    parser.add_argument("--filesystem", action="append", choices=sorted(SIZES), help="default: each of them")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    jobs = JOBS_A_CORE * (os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=jobs, help=f"processes (default: {JOBS_A_CORE} a core)")
    parser.add_argument(
        "--careless", action="store_true", help="flush no directory: what breaks then shows that the cuts are real"
    )
    parser.add_argument("--play", type=int, help="play one seed, with what it says")
    options = parser.parse_args(arguments)
    kinds = options.filesystem or sorted(SIZES)
    for kind in kinds:
        if (reason := missing(kind)) is not None:
            print(f"skipped: {reason}")
            return 77
    logging.disable(logging.CRITICAL)  # engines tell of every start that doubts
    if options.careless:
        LinuxFilesystem.sync_directories = lambda self, directories: None  # type: ignore[method-assign]
    if options.play is not None:
        own_mounts()
        tally = portion((kinds[0], options.play, 1))
        print(plan(options.play), tally)
        return int(bool(tally.broken))
    return _run_many(kinds, options.cuts, options.seed, options.jobs)


def _run_many(kinds: Sequence[str], cuts: int, seed: int, jobs: int) -> int:
    began = time.monotonic()
    portions = -(-cuts // PORTION)
    # Each portion has seeds of its own; not all of them are used, since some seeds cut twice.
    tasks = [(kinds[n % len(kinds)], seed + n * PORTION, min(PORTION, cuts - n * PORTION)) for n in range(portions)]
    tallies = {kind: Tally() for kind in kinds}
    for (kind, _, _), tally in zip(tasks, _side_by_side(tasks, jobs), strict=True):
        tallies[kind].add(tally)
        _say_how_far(tallies, tally.cuts, time.monotonic() - began)
        for words in tally.broken:
            print(f"BROKEN {kind} {words}", flush=True)
    for kind, tally in tallies.items():
        print(f"{kind}: {tally.cuts} power cuts in {tally.runs} stories, broken: {len(tally.broken)}")
        print(f"  {tally.rewritten} times the sender's own file was lost before custody, and written again")
        for reason, number in tally.endings.most_common():
            print(f"  {number:8} {reason}")
    print(f"{sum(tally.cuts for tally in tallies.values())} power cuts in {time.monotonic() - began:.0f} s")
    return int(any(tally.broken for tally in tallies.values()))


def _say_how_far(tallies: dict[str, Tally], new: int, took_s: float) -> None:
    total, broken = sum(one.cuts for one in tallies.values()), sum(len(one.broken) for one in tallies.values())
    if total // PROGRESS > (total - new) // PROGRESS:
        print(f"... {total} power cuts, broken: {broken}, {took_s:.0f} s", flush=True)


def _side_by_side(tasks: Sequence[tuple[str, int, int]], jobs: int) -> Iterator[Tally]:
    if jobs == 1:
        own_mounts()
        yield from map(portion, tasks)
        return
    with Pool(jobs, initializer=own_mounts) as pool:
        yield from pool.imap(portion, tasks)


if __name__ == "__main__":
    sys.exit(main())
