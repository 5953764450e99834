"""Hostile input by the million: `python -m tests.hostile --inputs 1000000 --requests 100000`."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.hostile.ground import besieged
from tests.hostile.siege import Siege
from tests.property.test_admission_mutations import judge, mutant


def main() -> int:
    """Run both; return 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="payloads through admission")
    parser.add_argument("--requests", type=int, default=100_000, help="requests to a running daemon")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    started, chance = time.monotonic(), random.Random(options.seed)
    verdicts = Counter(judge(mutant(chance)) for _ in range(options.inputs))
    print(f"seed {options.seed}; admission: {options.inputs} inputs in {time.monotonic() - started:.0f} s,", end=" ")
    print(
        f"{verdicts['admitted']} admitted and readable, the others refused for {len(verdicts) - 1} reasons", flush=True
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hf-") as directory, besieged(Path(directory)) as pair:
        siege = Siege(pair, options.seed)
        wrong = siege.run(options.requests)
        pair.deliver()
    print(f"daemon: {options.requests} requests in {time.monotonic() - started:.0f} s; by status, 0 for none:", end=" ")
    print(dict(sorted(siege.answers.items())))
    print(f"memory by tenths of the run, MiB: {', '.join(f'{rss:.1f}' for rss in siege.rss_mib)}")
    for line in wrong:
        print(f"WRONG  {line}")
    print("no crash, no 5xx, nothing outside the root, memory flat" if not wrong else f"{len(wrong)} things were wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
