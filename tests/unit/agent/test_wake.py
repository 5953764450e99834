import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.agent.conftest import eventually

from handoffd.agent.wake import Wake

LONG_S = 30.0
"""Far beyond any wake-up: a wait of this length fails by the test's time-out."""


def test_a_stop_ends_a_wait(wake: Wake) -> None:
    thread = threading.Thread(target=wake.wait, args=(LONG_S,))
    thread.start()
    wake.stop()
    thread.join(LONG_S / 2)
    assert not thread.is_alive()
    assert wake.stopping


def test_a_stop_before_the_wait_is_not_slept_over(wake: Wake) -> None:
    wake.stop()
    wake.wait(LONG_S)


def test_patience_ends_a_wait_without_a_stop(wake: Wake) -> None:
    wake.wait(0.0)
    assert not wake.stopping


@pytest.fixture
def hang_ups() -> Iterator[None]:
    """Let SIGHUP come, whoever started this process or ran in it before has had it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_ups")
def test_sigterm_sigint_and_sighup_stop(wake: Wake) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        wake.stopping = False
        with wake.signals():
            os.kill(os.getpid(), number)
            wake.wait(LONG_S)
            eventually(lambda: wake.stopping)


def test_a_hang_up_that_was_ignored_at_the_start_stays_so(wake: Wake) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with wake.signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_of_before_come_back(wake: Wake) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with wake.signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_arrival_ends_a_wait(wake: Wake, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "handoff").mkdir()
    with wake.signals(), wake.arrivals(tmp_path / "handoff"):
        timer = threading.Timer(0.05, os.rename, (tmp_path / "elsewhere", tmp_path / "handoff" / "x.json"))
        timer.start()
        wake.wait(LONG_S)
        timer.join()
    assert not wake.stopping


def test_a_flood_of_hints_does_not_block(wake: Wake) -> None:
    for _ in range(100_000):
        wake.stop()
    wake.drain()
    wake.wait(0.0)
