"""Settings of all tests: what Hypothesis draws, what is slow, and tools that must not be missing.

A test that lacks a tool skips with the reason `needs <tool>: <why>`. Where HANDOFFD_REQUIRE names that tool, as it
does in continuous integration, the skip is a failure: a suite must not turn green by doing less.
"""

import gc
import os
import re
import signal
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.fakes.mishap import Mishaps

# Fakes and rigs say what they compared, as tests do.
TESTS = Path(__file__).parent
RIGS = [path for path in TESTS.rglob("*.py") if not path.name.startswith(("test_", "conftest"))]
pytest.register_assert_rewrite(*(".".join(("tests", *path.relative_to(TESTS).with_suffix("").parts)) for path in RIGS))

# A job in the background of a shell inherits an ignored SIGINT, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline would make a busy machine fail a correct test. Every run draws the same examples, so that a change is
# judged by what it changed; `pytest --hypothesis-profile=search` draws others, and prints how to draw one again.
settings.register_profile("search", deadline=None, print_blob=True)
settings.register_profile("handoffd", settings.get_profile("search"), derandomize=True)
settings.load_profile("handoffd")

# Whole daemons, real terminals, random histories, waits of seconds, megabytes of hostile input: for `make test`. What
# remains is `make check`, about a minute.
SLOW_PLACES = (
    "tests/property/test_chain_histories.py",
    "tests/property/test_custody_histories.py",
    "tests/property/test_pull_histories.py",
    "tests/unit/link/test_gate.py",
    "tests/unit/link/test_visit.py",
    "tests/spec/daemon/",
    "tests/spec/page/",
    "tests/spec/test_watch_in_tmux.py",
    "tests/unit/hub/test_hostile.py",
)

REQUIRED_TOOLS = frozenset(os.environ.get("HANDOFFD_REQUIRE", "").split())


@pytest.fixture(autouse=True)
def mishaps() -> "Generator[Mishaps]":
    """What the bulkheads of engines caught in this test; what is left of it at the end fails the test."""
    from tests.fakes.mishap import watched_bulkheads  # only now: what it imports is rewritten before

    with watched_bulkheads() as caught:
        yield caught


def missing_tool(report: pytest.TestReport) -> str | None:
    """Return the tool a skipped test lacked, if it says so."""
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    found = re.search(r"\bneeds ([a-z0-9_-]+):", reason)
    return found[1] if found else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW_PLACES):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    # All that was imported and collected stays; to look it over for cycles again and again was a tenth of the work.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    tool = missing_tool(report)
    if tool in REQUIRED_TOOLS:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {report.longrepr[2]}, and HANDOFFD_REQUIRE names {tool!r}"
    return report
