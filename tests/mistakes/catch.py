"""Catches a mistake: plants it into a copy of the package and lets the layers of tests look for it.

It owns the order of the layers and their bounds. What was found at the last measurement is a hint where to look first;
what counts is what is found now.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mistakes.table import Mistake

REPOSITORY = Path(__file__).parents[2]
FOUND = Path(__file__).with_name("found.json")
SCHEDULES = 3_000
"""How many schedules the simulator gets to notice a mistake."""
PATIENCE_S = 600.0
"""A mistake may make anything hang; what hangs is not caught."""


@dataclass(frozen=True, slots=True)
class Catch:
    """What noticed a mistake: the simulator at its schedule number `schedules`, with these words, or a test."""

    schedules: int | None = None
    words: str = ""
    test: str | None = None


def caught(mistake: Mistake, hint: Catch | None = None, schedules: int = SCHEDULES) -> Catch | None:
    """Return what notices the mistake: the tests that the table names for it, else the simulator; None: nothing."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        mistake.plant(tree)
        if hint is not None and (found := _look_again(tree, hint)) is not None:
            return found
        if mistake.tests:
            return _hunt(tree, "tests", *mistake.tests)
        return _hunt(tree, "simulator", "0", str(schedules))


def _look_again(tree: Path, hint: Catch) -> Catch | None:
    if hint.test is not None:
        return _hunt(tree, "tests", hint.test)
    return _hunt(tree, "simulator", str((hint.schedules or 1) - 1), "1")


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
