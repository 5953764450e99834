"""The operator's views of a running daemon and of a stopped one (docs/journal.md, docs/directories.md)."""

import json
import os
from typing import Any

import pytest
from tests.spec.daemon.rig import Pair, payload, tid_of, until

pytestmark = pytest.mark.slow


def test_ls_show_trace_and_events_say_the_same_with_the_daemon_running_and_stopped(hardy_pair: Pair) -> None:
    ended = hardy_pair.deliver()
    hardy_pair.bob.told("completed", tid=ended)
    waiting = hardy_pair.bob.hand_over("alice")
    hardy_pair.alice.published(waiting)
    hardy_pair.bob.told("published", tid=waiting)
    running = views(hardy_pair, ended)
    hardy_pair.bob.kill()
    assert views(hardy_pair, ended) == running
    assert running["listed"].items() >= {ended: "completed", waiting: "stored"}.items()
    assert running["shown"] == ("completed", "bob", "alice")
    assert {"started", "published", "completed"} <= set(running["traced"])
    assert running["told"].count("completed") == 1


def views(pair: Pair, tid: str) -> dict[str, Any]:
    """What a person sees on bob's host, without ages."""
    shown = pair.bob.tell("show", tid)
    return {
        "listed": {line["tid"]: line["state"] for line in pair.bob.tell("ls")},
        "shown": (shown["state"], shown["from"], shown["to"]),
        "traced": [line["event"] for line in pair.bob.tell("trace", tid)["timeline"]],
        "told": [line["event"] for line in told(pair, "--handoff", tid)],
    }


def told(pair: Pair, *words: str) -> list[dict[str, str]]:
    done = pair.bob.command("events", "--json", "--limit", "0", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_view_is_readable_as_text_and_shows_no_transcript(hardy_pair: Pair) -> None:
    data = payload("bob", "alice", transcript=[{"role": "user", "text": "my card number"}])
    tid = hardy_pair.bob.write(data)
    hardy_pair.alice.archive(hardy_pair.alice.claim(tid))
    hardy_pair.bob.told("completed", tid=tid)
    for words in (("ls",), ("show", tid), ("trace", tid), ("events",)):
        done = hardy_pair.bob.command(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "completed" in done.stdout
        assert "my card number" not in done.stdout
    assert hardy_pair.bob.command("show", tid, "--payload").stdout.encode() == data


def test_events_f_shows_a_new_edge(hardy_pair: Pair) -> None:
    following = hardy_pair.bob.begin("events", "-f", "--json")
    assert following.stdout is not None
    seen = b""

    def shows(word: bytes) -> bool:
        nonlocal seen
        seen += following.stdout.read() or b""  # type: ignore[union-attr]
        return word in seen

    until("it follows", lambda: shows(b"daemon_started"))
    tid = hardy_pair.deliver()
    until("the new edge is shown", lambda: shows(tid.encode()))


def test_a_writer_takes_back_what_waits_at_the_peer(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.published(tid)
    hardy_pair.bob.told("published", tid=tid)
    assert hardy_pair.bob.command("reject", tid, "--yes", "--timeout-s", "30").returncode == 0
    for host in hardy_pair.hosts:
        assert host.ended(tid)["reason"] == "revoked"
    assert name not in hardy_pair.alice.names("handoff")


def test_a_writer_cannot_take_back_what_is_claimed(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.claim(tid)
    hardy_pair.bob.told("claimed", tid=tid)
    assert hardy_pair.bob.command("reject", tid, "--yes").returncode == 1
    hardy_pair.alice.archive(name)
    assert hardy_pair.bob.ended(tid)["reason"] == "completed"


def test_a_wish_told_to_a_stopped_host_is_carried_out_when_it_starts(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    hardy_pair.alice.published(tid)
    hardy_pair.bob.told("published", tid=tid)
    hardy_pair.bob.stop()
    done = hardy_pair.bob.command("reject", tid, "--yes")
    assert done.returncode == 75
    assert "when it starts it asks alice-vm to give it back" in done.stdout
    hardy_pair.bob.start()
    for host in hardy_pair.hosts:
        assert host.ended(tid)["reason"] == "revoked"
    until("the wish is gone", lambda: not hardy_pair.bob.names("relay/wish"))


def test_one_given_up_on_a_stopped_host_is_cleared_away_when_it_starts(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.published(tid)
    hardy_pair.bob.told("published", tid=tid)
    hardy_pair.bob.stop()
    assert hardy_pair.bob.command("resolve", tid, "--yes").returncode == 1  # not in doubt
    assert hardy_pair.bob.command("resolve", tid, "--yes", "--force").returncode == 0
    hardy_pair.bob.start().ready()
    assert hardy_pair.bob.ended(tid)["reason"] == "outcome_unknown"
    until("its file is in rejected/", lambda: any(tid[:12] in one for one in hardy_pair.bob.names("rejected")))
    os.rename(hardy_pair.alice.root / "handoff" / name, hardy_pair.alice.root / "claimed" / name)
    hardy_pair.alice.archive(name)
    assert hardy_pair.alice.ended(tid)["reason"] == "completed"
    assert hardy_pair.bob.ended(tid)["reason"] == "outcome_unknown"


def test_a_command_that_needs_the_daemon_says_so_when_it_is_stopped(hardy_pair: Pair) -> None:
    hardy_pair.bob.stop()
    done = hardy_pair.bob.command("status")
    assert done.returncode == 69
    assert "no daemon runs" in done.stdout
    assert "handoffd run" in done.stdout or "systemctl" in done.stdout


def test_the_socket_is_the_operator_s_alone(hardy_pair: Pair) -> None:
    socket = hardy_pair.bob.root / "relay" / "handoffd.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    assert os.stat(hardy_pair.bob.root / "relay").st_mode & 0o777 == 0o700
    assert tid_of(b"")
