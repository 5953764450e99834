"""Catches a mistake: plants it into a copy of the package and lets the layers of tests look for it.

It owns the order of the layers and their bounds. What was found at the last measurement is a hint where to look first;
what counts is what is found now.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from tests.mistakes.table import Mistake
from tests.simulator.paths_check import build_model

REPOSITORY = Path(__file__).parents[2]
FOUND = Path(__file__).with_name("found.json")
SCHEDULES = {2: 12_000, 3: 1_500}
"""How many schedules of so many hosts the simulator gets to notice a mistake: of three, one is a relay at times."""
TRACED = 600
"""How many more it gets whose traces the protocol model judges, which is slower."""
PATIENCE_S = 600.0
"""A mistake may make anything hang; what hangs is not caught."""


@dataclass(frozen=True, slots=True)
class Catch:
    """What noticed a mistake: the simulator at its schedule number `schedules` of `hosts`, with these words, or a test.

    `traced`: no promise was broken; the protocol model said that what the hosts showed is no path of it.
    """

    schedules: int | None = None
    words: str = ""
    test: str | None = None
    traced: bool = False
    hosts: int = 2


def caught(
    mistake: Mistake, hint: Catch | None = None, schedules: Mapping[int, int] = MappingProxyType(SCHEDULES)
) -> Catch | None:
    """Return what notices the mistake: the tests that the table names for it, else the simulator, else the model that
    judges its traces; None: nothing."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        mistake.plant(tree)
        if hint is not None and (found := _look_again(tree, hint)) is not None:
            return found
        if mistake.tests:
            return _hunt(tree, "tests", *mistake.tests)
        for hosts, count in schedules.items():
            if (found := _hunt_schedules(tree, 0, count, hosts)) is not None:
                return found
        return _hunt_traces(tree, 0, TRACED)


def _look_again(tree: Path, hint: Catch) -> Catch | None:
    if hint.test is not None:
        return _hunt(tree, "tests", hint.test)
    first = (hint.schedules or 1) - 1
    return _hunt_traces(tree, first, 1) if hint.traced else _hunt_schedules(tree, first, 1, hint.hosts)


def _hunt_schedules(tree: Path, first: int, count: int, hosts: int) -> Catch | None:
    found = _hunt(tree, "simulator", str(first), str(count), str(hosts))
    return found and replace(found, hosts=hosts)


@cache
def _model() -> Path:
    place = tempfile.TemporaryDirectory()
    atexit.register(place.cleanup)
    return build_model(Path(place.name))


def _hunt_traces(tree: Path, first: int, count: int) -> Catch | None:
    """Raises CannotReplay when the model cannot be compiled here."""
    found = _hunt(tree, "traces", str(_model()), str(first), str(count))
    return found and replace(found, traced=True)


def _hunt(tree: Path, *what: str) -> Catch | None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mistakes.hunt", str(tree), *what],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"hunting with {what} went wrong:\n{done.stdout}{done.stderr}"
    found = json.loads(done.stdout.splitlines()[-1])
    if found is None:
        return None
    return Catch(test=found["test"]) if "test" in found else Catch(found["seed"] + 1, found["words"])


def last_found() -> dict[str, Catch]:
    """Return what was found at the last measurement, by the mistakes' names."""
    return {name: Catch(**entry) for name, entry in json.loads(FOUND.read_text()).items()} if FOUND.exists() else {}


def keep_found(found: dict[str, Catch]) -> None:
    """Write down what was found."""
    FOUND.write_text(json.dumps({name: asdict(one) for name, one in found.items()}, indent=1) + "\n")
