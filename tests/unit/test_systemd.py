"""The notification protocol against a real datagram socket."""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from handoffd.systemd import SEND_LIMIT_S, Manager, ping_interval_s


def listen_at(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address)
    listener.settimeout(5)
    return listener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with listen_at(str(tmp_path / "notify")) as listener:
        yield listener


@pytest.fixture
def manager(listener: socket.socket) -> Manager:
    return Manager({"NOTIFY_SOCKET": listener.getsockname()})


def heard(listener: socket.socket) -> dict[str, str]:
    lines = listener.recv(4096).decode().split("\n")
    return dict(line.split("=", 1) for line in lines)


def test_ready_carries_a_line_of_status(manager: Manager, listener: socket.socket) -> None:
    assert manager.ready("2 agents, 1 peer")
    assert heard(listener) == {"READY": "1", "STATUS": "2 agents, 1 peer"}


def test_reloading_carries_the_monotonic_time_it_began(manager: Manager, listener: socket.socket) -> None:
    before_us = time.monotonic_ns() // 1000
    assert manager.reloading()
    after_us = time.monotonic_ns() // 1000
    message = heard(listener)
    assert message["RELOADING"] == "1"
    assert before_us <= int(message["MONOTONIC_USEC"]) <= after_us
    assert len(message) == 2


def test_stopping_is_told_once_it_begins(manager: Manager, listener: socket.socket) -> None:
    assert manager.stopping()
    assert heard(listener) == {"STOPPING": "1", "STATUS": "stopping"}


def test_the_watchdog_is_fed(manager: Manager, listener: socket.socket) -> None:
    assert manager.alive()
    assert heard(listener) == {"WATCHDOG": "1"}


def test_a_status_with_a_line_break_cannot_begin_another_assignment(manager: Manager, listener: socket.socket) -> None:
    assert manager.status("peer \u00fc\nREADY=1")
    assert heard(listener) == {"STATUS": "peer \u00fc READY=1"}


def test_an_abstract_socket_is_reached() -> None:
    name = f"handoffd-{uuid.uuid4().hex}"
    with listen_at("\0" + name) as listener:
        assert Manager({"NOTIFY_SOCKET": "@" + name}).alive()
        assert heard(listener) == {"WATCHDOG": "1"}


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_manager_nobody_is_told(environment: dict[str, str]) -> None:
    assert Manager(environment).ready("serving") is False


def test_a_manager_that_went_away_is_no_error(manager: Manager, listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.close()
    assert manager.alive() is False
    os.unlink(address)
    assert manager.alive() is False


def test_a_manager_that_does_not_read_is_not_waited_for(manager: Manager) -> None:
    # The kernel queues a few datagrams (net.unix.max_dgram_qlen); far beyond that, sending must give up.
    limit = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 2
    told = [manager.alive() for _ in range(limit)]
    assert told[0] is True
    assert told[-1] is False
    assert SEND_LIMIT_S < 1


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_of_its_patience(environment: dict[str, str], interval_s: float | None) -> None:
    assert ping_interval_s(environment) == interval_s
