"""A pair of hosts for each test, or one for all tests of a file that change nothing but processes and handoffs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.spec.daemon.rig import DEADLINE_S, Host, Pair, ending
from tests.spec.daemon.strangers import Strangers

LIMIT_S = 5 * DEADLINE_S
"""A test waits for several things, and each may take a busy machine long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path: a unix socket below it may have 107 bytes."""
    return tmp_path_factory.mktemp("d")


@pytest.fixture
def stopped_pair(place: Path) -> Iterator[Pair]:
    """Two paired hosts whose daemons the test starts."""
    pair = Pair(place)
    with ending(*pair.hosts):
        yield pair


@pytest.fixture
def pair(stopped_pair: Pair) -> Pair:
    """Two linked daemons of this test alone."""
    return stopped_pair.start()


@pytest.fixture(scope="module")
def calm_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two linked daemons of a whole file."""
    pair = Pair(tmp_path_factory.mktemp("d"))
    with ending(*pair.hosts):
        yield pair.start()


@pytest.fixture
def hardy_pair(calm_pair: Pair) -> Pair:
    """The file's two daemons, brought up again after whatever the test before did to them."""
    for host in calm_pair.hosts:
        host.revive()
    return calm_pair.linked()


@pytest.fixture
def lone(place: Path) -> Iterator[Host]:
    """A host without peers whose daemon the test starts."""
    host = Host(place / "a", "bob-vm", "bob")
    host.init()
    with ending(host):
        yield host


@pytest.fixture
def stopped_two(place: Path) -> Iterator[Strangers]:
    """Two such hosts whose daemons the test starts."""
    strangers = Strangers(place)
    with ending(*strangers.hosts):
        yield strangers
        strangers.end()


@pytest.fixture
def two(stopped_two: Strangers) -> Strangers:
    """Two running daemons of hosts that do not know each other."""
    stopped_two.start()
    return stopped_two
