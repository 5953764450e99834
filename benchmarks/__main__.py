"""Run the benchmark and print its table: `python -m benchmarks`, see `--help`.

Targets that are missed are information: the exit code is 0 when everything could be measured, 1 when something could
not, and the table has what there is.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.effort import QUICK, Effort
from benchmarks.host import DidNotStart
from benchmarks.measure import NeverArrived
from benchmarks.section import SECTIONS, STANDARD
from benchmarks.table import Row, as_markdown, write_into

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
PLACE = Path(__file__).parent.parent / "build"


def main() -> int:
    """Measure the chosen sections one after the other and print their rows."""
    options = _options()
    options.directory.mkdir(parents=True, exist_ok=True)
    machine = _machine(options.directory)
    place = Path(tempfile.mkdtemp(prefix="bench-", dir=options.directory.resolve()))
    try:
        rows, failures = _measure(options, place)
    finally:
        # Only now: ext4 creates files slower for a while after a mass deletion.
        shutil.rmtree(place, ignore_errors=True)
    text = f"{machine}\n\n{as_markdown(rows)}"
    print("\n".join((text, *failures)))
    if options.write and not failures:
        write_into(PAGE, text)
    return int(bool(failures))


def _measure(options: argparse.Namespace, place: Path) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    failures: list[str] = []
    for name in options.only or [*STANDARD, *(["long"] if options.long else [])]:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            for row in SECTIONS[name](place / name, QUICK if options.quick else Effort()):
                rows.append(row)  # one by one: what was measured before a failure is kept
        except (DidNotStart, NeverArrived) as error:
            failures.append(f"not measured: {name}: {error}")
    return rows, failures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure handoffd beside the physical floor.")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section alone; may be repeated")
    parser.add_argument("--long", action="store_true", help="also 100,000 handoffs through one pair")
    parser.add_argument("--quick", action="store_true", help="fewer of everything: to see that it works, not how fast")
    parser.add_argument("--directory", type=Path, default=PLACE, help="where roots are made; its disk is what counts")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE.name}")
    return parser.parse_args()


def _machine(directory: Path) -> str:
    cpus = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0].strip(" \t:")
    return (
        f"{os.cpu_count()} cores ({cpus or platform.machine()}), Linux {platform.release().partition('-')[0]}, "
        f"{_file_system(directory)}, Python {platform.python_version()}; load before the run {os.getloadavg()[0]:.2f}"
    )


def _file_system(directory: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = {str(directory.resolve()), *map(str, directory.resolve().parents)}
    return max((point, kind) for point, kind in mounts if point in above)[1]


if __name__ == "__main__":
    sys.exit(main())
