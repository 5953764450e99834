"""A browser and hosts for all tests of a file."""

from collections.abc import Iterator

import pytest
from tests.spec.daemon.rig import Host, ending
from tests.spec.page.browser import Browser, chromium, missing
from tests.spec.page.scene import Scene, scene


@pytest.fixture(scope="session")
def one_browser() -> Iterator[Browser]:
    why = missing()
    if why:
        pytest.skip(f"needs chromium: {why}")
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """A browser that has been nowhere."""
    one_browser.open("about:blank")
    one_browser.dress()
    one_browser.complaints()
    one_browser.requests()
    yield one_browser
    one_browser.open("about:blank")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Hosts with handoffs in every state."""
    with scene(tmp_path_factory.mktemp("d")) as made:
        yield made.play()


@pytest.fixture
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host without peers whose daemon the test starts."""
    host = Host(tmp_path_factory.mktemp("d"), "bob-vm", "bob")
    host.init()
    with ending(host):
        yield host
