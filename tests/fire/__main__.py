"""The soak from the command line: `python -m tests.fire --minutes 60`; docs/guarantees.md tells of a run."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random, SystemRandom

from tests.fire.ground import Ground
from tests.fire.soak import FAULT_EVERY_S, Soak


def main() -> int:
    """Run it, print what happened, and return 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.fire", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--fault-every", type=float, default=FAULT_EVERY_S, metavar="S")
    parser.add_argument("--rate", type=float, default=1.0, metavar="N", help="handoffs a second, each way")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    parser.add_argument("--directory", type=Path, help="where the roots are made; kept if given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = options.directory or Path(made)
        directory.mkdir(parents=True, exist_ok=True)
        ground = Ground(directory)
        soak = Soak(ground, Random(options.seed), options.minutes * 60, options.fault_every, options.rate)
        print(f"seed {options.seed}, {options.minutes:g} min, roots in {directory}", flush=True)
        started = time.monotonic()
        try:
            ground.start()
            wrong = soak.run(lambda line: print(line, flush=True))
            _tell(soak, time.monotonic() - started)
        finally:
            ground.end()
    for line in wrong:
        print(f"WRONG  {line}")
    print("nothing was lost, doubled or grew" if not wrong else f"{len(wrong)} things were wrong")
    return 1 if wrong else 0


def _tell(soak: Soak, took_s: float) -> None:
    print(f"took {took_s / 60:.1f} min; faults: {dict(soak.faults)}")
    claims = [sum(story.claims.values()) for story in soak.history.stories.values()]
    print(f"written: {len(claims)}; tries to claim: {sum(claims)}; ends: {dict(soak.history.reasons())}")
    for host in soak.ground.pair.hosts:
        if (quarters := soak.usage.quarters(host)) is None:
            print(f"{host.name}: too few samples to speak of growth")
            continue
        (rss, files), (late_rss, late_files) = quarters
        print(f"{host.name}: {rss:.1f} MiB and {files:.0f} files, later {late_rss:.1f} MiB and {late_files:.0f} files")


if __name__ == "__main__":
    sys.exit(main())
