"""Runs in a process of its own, on a package with a mistake in it, and says on its last line what noticed it.

python -m tests.mistakes.hunt TREE simulator FIRST COUNT HOSTS
python -m tests.mistakes.hunt TREE traces MODEL FIRST COUNT
python -m tests.mistakes.hunt TREE tests PATH...

TREE is the directory of the package under test: anything else being imported would make every mistake look caught, or
none.
"""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import handoffd

PLUGINS = ("-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout")
"""What the settings in pyproject.toml need; loading all that are installed takes longer than the tests."""


class FirstFailure:
    """A pytest plugin that notes the first test that failed."""

    def __init__(self) -> None:
        self.test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.test = self.test or (report.nodeid if report.failed else "")


def simulate(first: int, count: int, hosts: int) -> dict[str, object] | None:
    """Play the schedules of so many seeds; return the first that something noticed, None if there is none."""
    # Not at the top: pytest is to rewrite the assertions of all rigs before they are imported.
    from tests.simulator.schedule import draw
    from tests.simulator.shrink import failure

    for seed in range(first, first + count):
        words = failure(draw(seed, hosts))
        if words is not None:
            return {"seed": seed, "words": words}
    return None


def trace(model: Path, first: int, count: int) -> dict[str, object] | None:
    """Have the traces of so many seeds judged; return the first that is no path of the model, None if there is none."""
    from tests.simulator.paths_check import check

    for seed in range(first, first + count):
        wrong = check((seed, seed + 1), model).wrong
        if wrong:
            return {"seed": seed, "words": wrong[0].partition(" at: ")[2].partition("\n")[0]}
    return None


def run_tests(paths: Sequence[str]) -> dict[str, object] | None:
    """Run tests until one fails; return it, None if all pass."""
    first = FirstFailure()
    code = pytest.main([*paths, "-x", "-q", *PLUGINS], plugins=[first])
    if code == pytest.ExitCode.TESTS_FAILED:
        return {"test": first.test}
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"the tests {paths} did not run: {code!r}")
    return None


def main(arguments: Sequence[str]) -> int:
    """Hunt, and print what was found as JSON."""
    tree, layer, *rest = arguments
    if not Path(handoffd.__file__).is_relative_to(tree):
        raise SystemExit(f"the package under test is {handoffd.__file__}, not the one in {tree}")
    logging.disable(logging.CRITICAL)  # engines tell of every disk that fails
    print(json.dumps(_hunt(layer, rest)))
    return 0


def _hunt(layer: str, words: Sequence[str]) -> dict[str, object] | None:
    if layer == "tests":
        return run_tests(words)
    if layer == "traces":
        return trace(Path(words[0]), int(words[1]), int(words[2]))
    first, count, hosts = map(int, words)
    return simulate(first, count, hosts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
