"""handoffd.demo: the two agents as programs of their own, and how processes are started and ended."""

import ast
import contextlib
import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from handoffd.demo.host import Host, held_ports
from handoffd.demo.play import AGENT, CALLER
from handoffd.demo.process import Actor, end, start, start_leashed

LIMIT_S = 20
CALL = {"to": "alice", "caller": "Anna", "reason": "calendar", "transcript": [], "lifetime_s": 60}


@contextlib.contextmanager
def agent(directory, name):
    (directory / "secret").write_text("between bob and alice")
    arguments = ("--root", str(directory), "--name", name, "--secret-file", str(directory / "secret"))
    actor = Actor(name, "here", AGENT, directory / "log", *arguments)
    try:
        yield actor
    finally:
        end([actor.process], 5)


def ask(actor, do, **fields):
    order = actor.order(do, **fields)
    deadline = time.monotonic() + LIMIT_S
    while order.told is None:
        assert time.monotonic() < deadline, f"{actor.name} does not answer"
        assert actor.process.poll() is None, f"{actor.name} ended"
        actor.hear()
    return order.told


@pytest.mark.parametrize("script", [AGENT, CALLER], ids=lambda path: path.name)
def test_an_agent_imports_the_standard_library_alone(script):
    nodes = list(ast.walk(ast.parse(script.read_text())))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names


def test_what_one_agent_writes_another_claims_with_a_good_signature(tmp_path):
    with agent(tmp_path, "bob") as bob, agent(tmp_path, "alice") as alice:
        sent = ask(bob, "hand_over", **CALL)
        taken = ask(alice, "take")

    assert taken["sha256"] == sent["sha256"]
    assert taken["signature"] == "good"
    assert (tmp_path / "claimed" / sent["file"]).exists()


def test_an_altered_payload_has_a_bad_signature(tmp_path):
    with agent(tmp_path, "bob") as bob, agent(tmp_path, "alice") as alice:
        sent = ask(bob, "hand_over", **CALL)
        path = tmp_path / "handoff" / sent["file"]
        path.write_text(path.read_text().replace("calendar", "calender"))
        assert ask(alice, "take")["signature"] == "bad"


def test_a_second_claim_is_told_as_lost(tmp_path):
    with agent(tmp_path, "bob") as bob, agent(tmp_path, "alice") as alice:
        file = ask(bob, "hand_over", **CALL)["file"]
        assert "lost" not in ask(alice, "claim", file=file)
        assert ask(alice, "claim", file=file)["lost"] == "ENOENT"


def test_an_agent_leaves_what_is_for_others(tmp_path):
    with agent(tmp_path, "bob") as bob, agent(tmp_path, "alice") as alice:
        ask(bob, "hand_over", **CALL | {"to": "gordon"})
        sent = ask(bob, "hand_over", **CALL | {"caller": "Bernd"})
        assert ask(alice, "see")["file"] == sent["file"]


def test_what_is_filed_away_has_a_turn_more_and_the_digest_that_was_told(tmp_path):
    with agent(tmp_path, "bob") as bob, agent(tmp_path, "alice") as alice:
        file = ask(bob, "hand_over", **CALL)["file"]
        ask(alice, "take")
        filed = ask(alice, "file_away", file=file, text="Goodbye.")

    content = (tmp_path / "archive" / filed["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == filed["sha256"]
    assert json.loads(content)["transcript"][-1]["text"] == "Goodbye."
    assert not (tmp_path / "claimed" / file).exists()


def test_an_agent_that_waits_ends_when_it_is_told_to(tmp_path):
    with agent(tmp_path, "alice") as alice:
        alice.order("take")
    assert alice.process.returncode == -signal.SIGTERM


def test_an_agent_that_waits_ends_with_whoever_told_it_to(tmp_path):
    with agent(tmp_path, "alice") as alice:
        alice.order("take")
        alice.process.stdin.close()
        assert alice.process.wait(LIMIT_S) == 0


def test_a_process_that_will_not_end_is_killed(tmp_path):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = start([sys.executable, "-c", deaf], tmp_path / "log", pipes=True)
    assert process.stdout.readline() == b"deaf\n"
    end([process], 0.1)
    assert process.returncode == -signal.SIGKILL


def test_a_stopped_process_is_ended_too(tmp_path):
    process = start(["sleep", "60"], tmp_path / "log")
    process.send_signal(signal.SIGSTOP)
    end([process], 5)
    assert process.returncode == -signal.SIGTERM


LEASHING = """
import signal, sys, time
from pathlib import Path
from handoffd.demo.process import start_leashed
process = start_leashed(["sleep", "60"], Path(sys.argv[1]))
if sys.argv[2] == "stopped":
    process.send_signal(signal.SIGSTOP)
print(process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_leashed_process_does_not_outlive_the_one_that_started_it(tmp_path, state):
    command = [sys.executable, "-c", LEASHING, str(tmp_path / "log"), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as starter:
        leashed = os.pidfd_open(int(starter.stdout.readline()))
        starter.kill()
    ended = select.select([leashed], [], [], LIMIT_S)[0]
    os.close(leashed)
    assert ended


def test_a_leash_without_a_process_leaves_nothing_open(tmp_path):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        start_leashed([str(tmp_path / "nothing")], tmp_path / "log")
    assert os.listdir("/proc/self/fd") == before


def test_ports_are_different_nobody_elses_and_a_daemon_can_listen_there():
    with held_ports() as ports:
        assert len(set(ports)) == 2
        for port in ports:
            with socket.socket() as another, pytest.raises(OSError, match="in use"):
                another.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()


def test_a_journal_is_read_line_by_line_and_a_torn_line_later(tmp_path):
    host = Host(tmp_path, "bob-vm", "bob")
    assert host.news() == []
    (host.root / "relay").mkdir(parents=True)
    journal = host.root / "relay" / "events.jsonl"
    journal.write_text('{"event":"a"}\n{"eve')
    assert host.news() == [{"event": "a"}]
    with journal.open("a") as file:
        file.write('nt":"b"}\n')
    assert host.news() == [{"event": "b"}]


def test_bytes_that_a_daemon_has_not_read_are_counted(tmp_path):
    host = Host(tmp_path, "bob-vm", "bob")
    address = ("127.0.0.1", host.tls_port)
    with socket.create_server(address) as server, socket.create_connection(address) as client:
        reader, _ = server.accept()
        with reader:
            assert host.unread_bytes() == 0
            client.sendall(b"x" * 5_000)
            deadline = time.monotonic() + LIMIT_S
            while host.unread_bytes() != 5_000:
                assert time.monotonic() < deadline


def test_a_daemon_that_stands_still_is_told_from_one_that_sleeps(tmp_path):
    host = Host(tmp_path, "bob-vm", "bob")
    host.daemon = start(["sleep", "60"], tmp_path / "log")
    try:
        assert not host.is_stopped()
        host.signal(signal.SIGSTOP)
        deadline = time.monotonic() + LIMIT_S
        while not host.is_stopped():
            assert time.monotonic() < deadline
    finally:
        end([host.daemon], 5)
    assert host.has_ended()
    assert isinstance(host.daemon, subprocess.Popen)
