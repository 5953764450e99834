"""The daemon's life: start, readiness, stop, and every start that is refused (docs/operations.md)."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.spec.daemon.rig import DEADLINE_S, HANDOFFD, Host, Pair, until


@pytest.fixture
def manager(place: Path) -> Iterator[socket.socket]:
    """A service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(place / "notify"))
        listening.settimeout(DEADLINE_S)
        yield listening


def said(manager: socket.socket, word: str) -> str:
    """Wait for a notification that holds this word."""
    while True:
        told = manager.recv(4096).decode()
        if word in told.splitlines():
            return told


def refused(host: Host, code: int) -> str:
    """Let the daemon start, see it end with this code, return what it said."""
    host.start()
    assert host.exit_code() == code
    return host.log()


def test_the_service_manager_is_told_of_readiness_life_reload_and_stop(lone: Host, manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "1000000"}
    lone.start(env=environment)
    assert "STATUS=serving" in said(manager, "READY=1")
    assert lone.is_ready()
    said(manager, "WATCHDOG=1")
    said(manager, "WATCHDOG=1")
    lone.signal(signal.SIGHUP)
    assert re.search(r"MONOTONIC_USEC=\d+", said(manager, "RELOADING=1"))
    said(manager, "READY=1")
    lone.signal(signal.SIGTERM)
    said(manager, "STOPPING=1")
    assert lone.exit_code() == 0


def test_an_orderly_stop_takes_unclaimed_files_back_and_the_next_start_publishes_them(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.published(tid)
    assert hardy_pair.alice.stop() == 0
    assert name not in hardy_pair.alice.names("handoff")
    assert hardy_pair.alice.names("relay/inbox/bob-vm") == [name, f"{name}.new"]
    assert hardy_pair.alice.read("relay", "boot") == b"clean\n"
    assert not (hardy_pair.alice.root / "relay" / "handoffd.sock").exists()
    assert hardy_pair.alice.journal()[-1]["event"] == "daemon_stopped"
    hardy_pair.alice.start().ready()
    assert hardy_pair.alice.read("relay", "boot") != b"clean\n"
    hardy_pair.alice.archive(hardy_pair.alice.claim(tid))
    assert hardy_pair.bob.ended(tid)["reason"] == "completed"


@pytest.mark.slow
def test_a_stop_does_not_wait_for_polls_that_hang(hardy_pair: Pair) -> None:
    poll = subprocess.Popen(
        [sys.executable, "-c", POLL, str(hardy_pair.alice.local_port), hardy_pair.alice.token()], stdout=subprocess.PIPE
    )
    assert poll.stdout is not None
    assert poll.stdout.readline() == b"asked\n"
    hardy_pair.alice.signal(signal.SIGTERM)
    assert hardy_pair.alice.exit_code() == 0
    told, _ = poll.communicate(timeout=DEADLINE_S)
    assert told in (b"204\n", b"gone\n")


POLL = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
headers = {"Authorization": "Bearer " + sys.argv[2]}
try:
    connection.request("GET", "/api/v1/handoffs/poll?agent=alice&wait=30", headers=headers)
    print("asked", flush=True)
    print(connection.getresponse().status)
except OSError:
    print("gone")
"""


def test_a_second_daemon_on_a_root_is_refused(lone: Host, place: Path) -> None:
    lone.start().ready()
    second = subprocess.run(
        [*HANDOFFD, "run", "--config", str(lone.config)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert second.returncode == 75
    assert "another handoffd runs on" in second.stderr
    assert str(lone.root) in second.stderr
    assert lone.is_ready()


def test_a_newer_layout_is_refused_and_both_versions_are_named(lone: Host) -> None:
    lone.start().ready()
    lone.stop()
    (lone.root / "relay" / "format").write_text("2\n")
    words = refused(lone, 2)
    assert "'2'" in words
    assert "'1'" in words


@pytest.mark.slow
def test_a_root_that_is_not_there_is_refused(lone: Host) -> None:
    shutil.rmtree(lone.root)
    assert f"{lone.root} does not exist" in refused(lone, 2)


def test_an_address_beyond_loopback_is_refused_without_tls(lone: Host) -> None:
    lone.edit(f"{{address: 127.0.0.1, port: {lone.local_port}}}", f"{{address: 0.0.0.0, port: {lone.local_port}}}")
    words = refused(lone, 2)
    assert "TLS" in words or "tls" in words
    assert not (lone.root / "relay").exists()


@pytest.mark.slow
def test_a_port_in_use_is_named(lone: Host) -> None:
    with socket.create_server(("127.0.0.1", lone.local_port)):
        words = refused(lone, 1)
    assert f"cannot listen on 127.0.0.1:{lone.local_port}: Address already in use" in words


@pytest.mark.slow
def test_a_directory_we_may_not_rename_in_is_refused_with_the_remedy(lone: Host) -> None:
    without_rights = capless()
    (lone.root / "handoff").chmod(0o500)
    lone.start(*without_rights)
    assert lone.exit_code() != 0
    assert "chgrp" in lone.log()
    assert "chmod" in lone.log()


@pytest.mark.slow
def test_a_root_we_may_not_enter_is_refused_with_the_remedy(lone: Host) -> None:
    without_rights = capless()
    lone.root.chmod(0o500)
    lone.start(*without_rights)
    assert lone.exit_code() == 77
    assert str(lone.root) in lone.log()


def capless() -> tuple[str, ...]:
    """What to put before a command so that modes of files mean something to it, even for root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv: root may read everything")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.slow
def test_a_file_nobody_may_read_stays_with_one_event(lone: Host) -> None:
    lone.start(*capless()).ready()
    file = lone.root / "handoff" / "secret-0.json"
    file.with_name(".secret.tmp").write_text("{}")
    file.with_name(".secret.tmp").chmod(0)
    file.with_name(".secret.tmp").rename(file)
    assert "denied" in lone.told("left_alone", file="secret-0.json")["detail"]
    assert file.exists()


@pytest.mark.slow
def test_run_imports_nothing_of_the_command_line(lone: Host) -> None:
    probe = (
        "import sys, threading, os, signal, time\n"
        "from handoffd.__main__ import outcome\n"
        "threading.Timer(0.0, lambda: None)\n"
        "import handoffd.app.daemon as daemon\n"
        "def at_ready(self, status): os.kill(os.getpid(), signal.SIGTERM)\n"
        "daemon.Manager.ready = at_ready\n"
        f"code = outcome(['run', '--config', {str(lone.config)!r}])\n"
        "print(code, sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("0 "), done.stderr
    for name in ("typer", "rich", "click", "cryptography", "watchfiles"):
        assert f"'{name}'" not in done.stdout


@pytest.mark.slow
def test_a_fault_of_ours_ends_the_daemon_with_its_traceback_and_loses_nothing(hardy_pair: Pair) -> None:
    bob, alice = hardy_pair.hosts
    tid = bob.hand_over("alice")
    name = alice.published(tid)
    alice.kill()
    probe = (
        "from handoffd.__main__ import outcome\n"
        "import handoffd.app.daemon as daemon\n"
        "def broken(self): raise LookupError('a fault put in by a test')\n"
        "daemon.Manager.ready = lambda self, status: setattr(daemon.Rounds, 'tick', broken)\n"
        f"raise SystemExit(outcome(['run', '--config', {str(alice.config)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "handoffd has a fault and ends" in done.stderr
    assert "LookupError: a fault put in by a test" in done.stderr
    assert name in alice.names("handoff")
    alice.start()
    alice.archive(alice.claim(tid))
    assert bob.ended(tid)["reason"] == "completed"


@pytest.mark.slow
def test_a_stop_during_the_start_ends_it_at_once(lone: Host) -> None:
    lone.start()
    until("it begins", (lone.root / "relay").exists)
    assert lone.stop() in (0, -signal.SIGTERM)
    lone.start().ready()


@pytest.mark.slow
def test_a_fresh_daemon_is_small(pair: Pair) -> None:
    assert max(host.resident_mib() for host in pair.hosts) < 80


@pytest.mark.slow
def test_the_log_as_json_parses_line_by_line(stopped_pair: Pair) -> None:
    for host in stopped_pair.hosts:
        host.add("log: {format: json, level: info}\n")
    stopped_pair.start().deliver()
    for host in stopped_pair.hosts:
        assert host.stop() == 0
        lines = [json.loads(line) for line in host.log().splitlines()]
        assert {"daemon_started", "link_up", "completed", "daemon_stopped"} <= {line.get("event") for line in lines}
        assert all({"at", "level", "logger"} <= line.keys() for line in lines)
