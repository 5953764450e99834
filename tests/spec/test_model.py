"""docs/custody.md, chapter 15: the model of the protocol holds, and would notice if it did not."""

import re
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulator.paths_check import CannotReplay, build_model

# Side by side, two quiet cores need about a minute. What is much larger does not belong into
# `make test`: that is told in states, which are the same on every processor; the limit of time only ends a mistake.
STATES = 60_000_000
LIMIT_CPU_S = 600
PATIENCE_S = 900
STANDARD_RUNS = 22
SEEDED_MISTAKES = 53
HARMLESS_FLUSHES = 2

pytestmark = [pytest.mark.model, pytest.mark.timeout(PATIENCE_S + 60)]


class Run:
    """One process of the checker, writing to a file, so that two can work side by side."""

    def __init__(self, checker: Path, *options: str) -> None:
        self._path = checker.with_name("".join(options) or "standard")
        self._deadline = time.monotonic() + PATIENCE_S
        with self._path.open("w") as output:
            self._process = subprocess.Popen([checker, *options], stdout=output, stderr=output)
        # Beyond the limit the kernel ends it with SIGXCPU, which is no exit code 0.
        resource.prlimit(self._process.pid, resource.RLIMIT_CPU, (LIMIT_CPU_S, LIMIT_CPU_S + 1))

    def finish(self) -> tuple[int, str]:
        """Wait until the deadline at most and return exit code and output."""
        code = self._process.wait(max(0, self._deadline - time.monotonic()))
        return code, self._path.read_text()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_model(tmp_path_factory.mktemp("model"))
    except CannotReplay as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def runs(checker: Path) -> Iterator[tuple[Run, Run]]:
    standard, mistakes = Run(checker), Run(checker, "--mistakes")
    yield standard, mistakes
    standard.end()
    mistakes.end()


def test_every_invariant_holds_in_every_order_of_events(runs: tuple[Run, Run]) -> None:
    code, output = runs[0].finish()
    verdicts = re.findall(r"^(ok|BROKEN) +(.+?) +(\d+) states", output, re.MULTILINE)
    assert [title for verdict, title, _ in verdicts if verdict != "ok"] == [], output
    assert len(verdicts) == STANDARD_RUNS, output
    assert sum(int(states) for _, _, states in verdicts) <= STATES
    assert code == 0


def test_every_seeded_mistake_is_caught(runs: tuple[Run, Run]) -> None:
    code, output = runs[1].finish()
    verdicts = re.findall(r"^ +(ok|BROKEN) ", output, re.MULTILINE)
    assert verdicts.count("BROKEN") == SEEDED_MISTAKES, output
    assert verdicts.count("ok") == HARMLESS_FLUSHES, output
    assert output.endswith(f"0 of {SEEDED_MISTAKES + HARMLESS_FLUSHES} not as expected\n")
    assert code == 0


def test_a_mistake_is_shown_step_by_step(checker: Path) -> None:
    shown = subprocess.run([checker, "--mistake", "lease_by_copy"], capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    assert "I1 two homes have it" in shown.stdout.splitlines()[0]
    steps = re.findall(r"^ +\d+  (.+)$", shown.stdout, re.MULTILINE)
    assert steps[-1] == "B gets the bytes   (the second B)"


def test_the_checker_refuses_an_option_it_does_not_know(checker: Path) -> None:
    assert subprocess.run([checker, "--no-such-option"], capture_output=True, check=False).returncode == 2
