"""Running hosts for every scenario, and their story when one fails."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.hosts import Hosts
from harness.pair import Pair
from harness.star import Star


def pytest_report_header() -> str:
    return f"hosts: {os.environ.get('HANDOFFD_SUITE_DIR', '(not set: start this suite with integration/run)')}"


@pytest.fixture(scope="session")
def containers() -> Pair:
    """Both containers, up for the whole session; integration/run takes them down."""
    pair = Pair(*_place())
    pair.bring_up()
    return pair


@pytest.fixture(scope="session")
def star_containers() -> Star:
    """A hub, two spokes and a proxy, up from the first scenario that asks for them."""
    star = Star(*_place())
    star.bring_up()
    return star


def _place() -> tuple[Path, tuple[int, int], str]:
    user, group = (int(number) for number in os.environ["HANDOFFD_SUITE_USER"].split(":"))
    return Path(os.environ["HANDOFFD_SUITE_DIR"]), (user, group), os.environ["HANDOFFD_SUITE_IMAGE"]


@pytest.fixture
def strangers(containers: Pair, request: pytest.FixtureRequest) -> Pair:
    """Two fresh hosts whose daemons do not run yet: for scenarios that change a configuration first."""
    containers.fresh()
    request.node.stash[_HOSTS] = containers
    return containers


@pytest.fixture
def pair(strangers: Pair) -> Pair:
    """Two fresh hosts, daemons running and linked, nobody listening."""
    strangers.start()
    return strangers


@pytest.fixture
def unstarted_star(star_containers: Star, request: pytest.FixtureRequest) -> Star:
    """A fresh hub and two spokes whose daemons do not run yet."""
    star_containers.fresh()
    request.node.stash[_HOSTS] = star_containers
    return star_containers


@pytest.fixture
def star(unstarted_star: Star) -> Star:
    """A fresh hub and two spokes, daemons running, both dialled in, nobody listening."""
    unstarted_star.start()
    return unstarted_star


_HOSTS = pytest.StashKey[Hosts]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the hosts' story to the report of a failed scenario."""
    report = yield
    if report.failed and _HOSTS in item.stash:
        report.sections.append(("the hosts", item.stash[_HOSTS].story()))
    return report
