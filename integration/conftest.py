"""Two running hosts for every scenario, and their story when one fails."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.pair import Pair


def pytest_report_header() -> str:
    return f"hosts: {os.environ.get('HANDOFFD_SUITE_DIR', '(not set: start this suite with integration/run)')}"


@pytest.fixture(scope="session")
def containers() -> Pair:
    """Both containers, up for the whole session; integration/run takes them down."""
    user, group = (int(number) for number in os.environ["HANDOFFD_SUITE_USER"].split(":"))
    pair = Pair(Path(os.environ["HANDOFFD_SUITE_DIR"]), (user, group), os.environ["HANDOFFD_SUITE_IMAGE"])
    pair.bring_up()
    return pair


@pytest.fixture
def strangers(containers: Pair, request: pytest.FixtureRequest) -> Pair:
    """Two fresh hosts whose daemons do not run yet: for scenarios that change a configuration first."""
    containers.fresh()
    request.node.stash[_PAIR] = containers
    return containers


@pytest.fixture
def pair(strangers: Pair) -> Pair:
    """Two fresh hosts, daemons running and linked, nobody listening."""
    strangers.start()
    return strangers


_PAIR = pytest.StashKey[Pair]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add both hosts' story to the report of a failed scenario."""
    report = yield
    if report.failed and _PAIR in item.stash:
        report.sections.append(("both hosts", item.stash[_PAIR].story()))
    return report
