"""Settings of all tests: Hypothesis without deadlines, what is slow, and tools that must not be missing.

A test that lacks a tool skips with the reason `needs <tool>: <why>`. Where HANDOFFD_REQUIRE names that tool, as it
does in continuous integration, the skip is a failure: a suite must not turn green by doing less.
"""

import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Fakes and rigs say what they compared, as tests do.
TESTS = Path(__file__).parent
RIGS = [path for path in TESTS.rglob("*.py") if not path.name.startswith(("test_", "conftest"))]
pytest.register_assert_rewrite(*(".".join(("tests", *path.relative_to(TESTS).with_suffix("").parts)) for path in RIGS))

# A deadline would make a busy machine fail a correct test.
settings.register_profile("handoffd", deadline=None, print_blob=True)
settings.load_profile("handoffd")

# Whole daemons, and megabytes of hostile input: seconds each, so for `make test` and not for `make check`.
SLOW_PLACES = ("tests/spec/daemon/", "tests/unit/hub/test_hostile.py")

REQUIRED_TOOLS = frozenset(os.environ.get("HANDOFFD_REQUIRE", "").split())


def missing_tool(report: pytest.TestReport) -> str | None:
    """Return the tool a skipped test lacked, if it says so."""
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    found = re.search(r"\bneeds ([a-z0-9_-]+):", reason)
    return found[1] if found else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW_PLACES):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    tool = missing_tool(report)
    if tool in REQUIRED_TOOLS:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {report.longrepr[2]}, and HANDOFFD_REQUIRE names {tool!r}"
    return report
