"""Changes the code of some modules in a copy, mutant by mutant, and counts which of them the tests kill.

python -m tests.mutation protocol                      every module of that package
python -m tests.mutation custody/closing custody/recall
python -m tests.mutation --sample 3 custody            one mutant in three, the same ones whenever the code is the same
python -m tests.mutation --again custody               only what lived or was not run, where the module is as it was
python -m tests.mutation --again --tests tests/unit/custody/test_guard.py custody    and only by new tests

A survivor needs an entry in survivors.toml with its reason, or a test that kills it.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from math import gcd

from tests.mutation.ground import COPY, REPOSITORY, Mutant, prepare
from tests.mutation.page import MADE, NOTICED, keep, reasons
from tests.mutation.plugin import ASKED, FARED

KNOWN = REPOSITORY / "build" / "mutants.json"
"""How each mutant fared in its last run, by the module's text and the mutant's name."""
PROTOCOL_TESTS = ("admission", "moment", "name", "payload", "reason", "record", "signature", "timing", "offset")
SUITES = {
    "protocol": [f"tests/unit/test_{name}.py" for name in PROTOCOL_TESTS],
    "custody": [
        *sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("tests/spec/test_custody_*.py")),
        "tests/unit/custody",
        "tests/spec/test_clock_skew.py",
        *(f"tests/unit/test_{name}.py" for name in ("desk", "filesystem", "reading", "views_of_two_engines")),
        *(f"tests/unit/test_cli_{name}.py" for name in ("fsck", "operator", "prune", "resend")),
    ],
}
"""Tests by package: those that are about it. Whole daemons are slow, and notice too much to tell what a module's own
tests are worth."""
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "tests.mutation.plugin")
"""What the settings in pyproject.toml need, and what runs the mutants; the fewer, the quicker is a test."""
STUCK_S = 60
"""A test that waits so long under a mutant has failed."""
NOT_RUN = "not run"


def run(mutants: Sequence[Mutant], asked: Sequence[str] | None) -> dict[str, str]:
    """Run mutants of the copy and return how they fared, by name; `asked`: only these tests, None: the suites."""
    if not mutants:
        return {}
    packages = dict.fromkeys(mutant.module.partition("/")[0] for mutant in mutants)
    tests = asked or [path for package in packages for path in SUITES[package]]
    (COPY / ASKED).write_text(
        json.dumps([[mutant.name, str(COPY / "handoffd" / f"{mutant.module}.py"), *mutant.lines] for mutant in mutants])
    )
    (COPY / FARED).touch()
    plugins = [argument for name in PLUGINS for argument in ("-p", name)]
    settings = ["-p", "no:cacheprovider", "--capture=no", "-q", "-m", "not slow", "-o", f"timeout={STUCK_S}"]
    command = [sys.executable, "-m", "pytest", *plugins, *settings, *tests]
    done = subprocess.run(command, cwd=COPY, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, check=False)
    if done.returncode != 0:
        print("the run was cut short", file=sys.stderr)
    return {name: status for name, status, _ in map(json.loads, (COPY / FARED).read_text().splitlines())}


def suite(package: str) -> set[str]:
    """Return the files of a package's tests."""
    paths = [REPOSITORY / path for path in SUITES[package]]
    files = (file for path in paths for file in (path.glob("test_*.py") if path.is_dir() else [path]))
    return {str(file.relative_to(REPOSITORY)) for file in files}


def key(mutant: Mutant) -> str:
    return f"{mutant.source} {mutant.name}"


def lot(mutant: Mutant) -> int:
    """Return the mutant's number in the draw of a sample: one in N has a multiple of N."""
    return int(sha256(mutant.name.encode()).hexdigest(), 16)


def smaller_samples_first(mutants: Iterable[Mutant]) -> list[Mutant]:
    """Return them in an order in which a run that is cut short has done a smaller sample whole."""
    return sorted(mutants, key=lambda mutant: -gcd(lot(mutant), 24))


def main(arguments: Sequence[str]) -> int:
    """Run; 1 if a survivor has no reason or a mutant was not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--again", action="store_true", help="only what lived or was not run in the last run")
    parser.add_argument(
        "--tests", action="append", metavar="FILE", help="ask only this one of the suite; what it does not notice stays"
    )
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="one mutant in N")
    parser.add_argument("modules", nargs="+", help=f"packages ({', '.join(SUITES)}) or modules (custody/closing)")
    chosen = parser.parse_args(arguments)
    if any(module.partition("/")[0] not in SUITES for module in chosen.modules):
        parser.error(f"the packages are {', '.join(SUITES)}")
    suites = {file for module in chosen.modules for file in suite(module.partition("/")[0])}
    if not suites.issuperset(chosen.tests or ()):
        parser.error("--tests names a file that is in no suite of these modules")
    made = prepare(chosen.modules)
    mutants = smaller_samples_first(mutant for mutant in made if lot(mutant) % chosen.sample == 0)
    known: dict[str, str] = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    fared = run(
        [mutant for mutant in mutants if not (chosen.again and known.get(key(mutant)) in NOTICED)], chosen.tests
    )
    known.update(
        (key(mutant), fared[mutant.name])
        for mutant in mutants
        if mutant.name in fared and not (chosen.tests and fared[mutant.name] not in NOTICED)
    )
    KNOWN.write_text(json.dumps(known, indent=0))
    return report(made, {mutant: known.get(key(mutant), NOT_RUN) for mutant in mutants})


def report(made: Sequence[Mutant], fared: Mapping[Mutant, str]) -> int:
    """Write the figures down and say which survivors have no reason; return 1 if there is one or one was not run."""
    counts: dict[str, Counter[str]] = {}
    for mutant, status in fared.items():
        counts.setdefault(mutant.module, Counter())[status] += 1
    for mutant in made:
        counts.setdefault(mutant.module, Counter())[MADE] += 1
    alive = [mutant for mutant, status in fared.items() if status not in (*NOTICED, NOT_RUN)]
    why = reasons()
    unexplained = [mutant for mutant in alive if not any(reason.covers(mutant.module, mutant.change) for reason in why)]
    print(*(f"{mutant.name} ({fared[mutant]})\n{mutant.change}\n" for mutant in unexplained), sep="\n")
    missing = list(fared.values()).count(NOT_RUN)
    print(f"{len(fared)} mutants, alive: {len(alive)}, without a reason: {len(unexplained)}, not run: {missing}")
    if not missing:
        keep(counts)
    return int(bool(unexplained or missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
