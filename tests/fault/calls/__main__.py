"""Strikes a real process at every mutating call of every story, side by side, and says which promises did not hold.

python -m tests.fault.calls                       # everything
python -m tests.fault.calls --what kill --links pair
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing import Pool

from tests.fakes.scene import BIRTHS, MANY_SCENES, PULL_SCENES, PUSH_SCENES, Scene
from tests.fault.calls.play import Stage
from tests.fault.calls.points import WHAT, Tally, go_through
from tests.fault.calls.remote import Nursery
from tests.fault.calls.tracer import cannot_trace
from tests.fault.ground import memory

SCENES = [*PUSH_SCENES, *BIRTHS, *MANY_SCENES, *PULL_SCENES]
_stages: list[Stage] = []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; 1 when something was broken or not reached, 77 when it cannot run here."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.calls", description=__doc__.partition("\n")[0])
    parser.add_argument("--what", action="append", choices=WHAT, help="default: each of them")
    parser.add_argument("--links", action="append", choices=["pair", "spoke", "star"], help="default: each of them")
    parser.add_argument("--thin", action="store_true", help="of errors and second blows only what `make test` plays")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    options = parser.parse_args(arguments)
    if (reason := cannot_trace()) is not None:
        print(f"skipped: {reason}")
        return 77
    scenes = [scene for scene in SCENES if scene.kind in (options.links or [scene.kind])]
    tasks = [
        (what, number, scene, not options.thin) for what in options.what or WHAT for number, scene in enumerate(scenes)
    ]
    return _run(tasks, options.jobs)


def _run(tasks: list[tuple[str, int, Scene, bool]], jobs: int) -> int:
    began, tallies = time.monotonic(), {what: Tally() for what in WHAT}
    with Pool(jobs, initializer=_begin) as pool:
        for what, tally in pool.imap_unordered(_one, tasks):
            tallies[what].add(tally)
            for words in tally.broken:
                print(f"BROKEN {words}", flush=True)
            for words in tally.missed:
                print(f"NOT REACHED {words}", flush=True)
    for what, tally in tallies.items():
        print(f"{what}: {tally.scenes} scenes, {tally.points} points, {tally.held} held")
    print(f"{sum(tally.points for tally in tallies.values())} points in {time.monotonic() - began:.0f} s")
    return int(any(tally.broken or tally.missed for tally in tallies.values()))


def _begin() -> None:
    logging.disable(logging.CRITICAL)  # engines tell of every peer that is silent
    _stages.append(Stage(Nursery(), memory()))


def _one(task: tuple[str, int, Scene, bool]) -> tuple[str, Tally]:
    what, number, scene, whole = task
    return what, go_through(_stages[0], scene, what, number=number, whole=whole)


if __name__ == "__main__":
    sys.exit(main())
