"""`handoffd reject`, `resolve` and `status` against a socket that answers as a daemon would, and against none."""

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.handmade import QUEUED, RECEIPT, Ground, T

from handoffd.cli import invoke


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


def run(ground: Ground, *more: str) -> int:
    return invoke(["reject", T, "--root", str(ground.root), *more])


@contextmanager
def daemon(ground: Ground, status: int, told: dict[str, object]) -> Iterator[list[bytes]]:
    """Answer one request on the root's socket; what was asked is in the list afterwards."""
    asked: list[bytes] = []
    body = json.dumps(told).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(ground.root / "relay/handoffd.sock"))
        server.listen()
        server.settimeout(30)

        def serve() -> None:
            client, _ = server.accept()
            with client:
                while b"\r\n\r\n" not in b"".join(asked) or (b"POST" in asked[0] and b"}" not in b"".join(asked)):
                    asked.append(client.recv(4096))
                client.sendall(head + body)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(30)


def test_a_handoff_that_nobody_has_is_withdrawn(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(QUEUED)
    with daemon(ground, 200, {"tid": T, "state": "revoked"}) as asked:
        assert run(ground) == 0
    assert b"POST /operator/withdraw" in asked[0]
    assert T.encode() in b"".join(asked)
    assert "no agent has it" in capsys.readouterr().out


@pytest.mark.parametrize(("state", "code"), [("published", 75), ("claimed", 1), ("completed", 1)])
def test_what_is_not_taken_back_yet_or_ever_is_told(ground: Ground, state: str, code: int) -> None:
    ground.put(QUEUED)
    with daemon(ground, 200, {"tid": T, "state": state}):
        assert run(ground, "--json") == code


def test_a_refusal_of_the_daemon_is_passed_on(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(QUEUED)
    with daemon(ground, 404, {"detail": "There is no such handoff."}):
        assert run(ground) == 1
    assert "There is no such handoff." in capsys.readouterr().err


def test_without_a_daemon_it_says_so(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(QUEUED)
    assert run(ground) == 69
    assert "no daemon runs on" in capsys.readouterr().err


def test_what_this_host_received_is_not_its_to_withdraw(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(RECEIPT)
    assert run(ground) == 1
    assert "not sent by this host" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_resolve_asks_first_and_changes_nothing_unasked(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    ground.put(QUEUED)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert invoke(["resolve", T, "--root", str(ground.root)]) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert ground.only().word == "queued"


def test_resolve_tells_how_the_handoff_ended(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(QUEUED)
    with daemon(ground, 200, {"tid": T, "state": "unknown", "record": {"reason": "outcome_unknown"}}) as asked:
        assert invoke(["resolve", T, "--yes", "--root", str(ground.root)]) == 0
    assert b"POST /operator/resolve" in asked[0]
    assert "unknown (outcome_unknown)" in capsys.readouterr().out


LINK = {
    "peer": "alice-vm",
    "state": "up",
    "since": "2026-11-20T10:00:00.000Z",
    "error": None,
    "url": "https://alice-vm:8788",
    "homes": ["alice"],
    "round_trip_ms": 0.4,
    "clock_offset_ms": -3,
    "in_flight": 0,
    "waiting": 2,
}
STATUS = {
    "host": "bob-vm",
    "root": "/srv/voice-shared",
    "version": "1",
    "epoch": "e" * 32,
    "ready": True,
    "counts": {"sender_queued": 2, "signatures": 9},
    "links": [LINK],
}


def test_status_shows_links_and_what_is_in_hand(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(ground, 200, STATUS):
        assert invoke(["status", "--root", str(ground.root)]) == 0
    out = capsys.readouterr().out
    assert "alice-vm  up since" in out
    assert "round trip 0.4 ms, clock -3 ms" in out
    assert "in hand: 2 sender queued" in out


def test_status_puts_trouble_first_and_fails(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"word": "wrong_token", "detail": "401", "remedy": "exchange the tokens again"}
    with daemon(ground, 200, {**STATUS, "links": [{**LINK, "state": "refused", "error": error}]}):
        assert invoke(["status", "--root", str(ground.root)]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "warning: alice-vm: wrong_token: 401; exchange the tokens again"


def test_a_link_that_is_up_without_news_of_outcomes_is_trouble_too(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"word": "no_news", "detail": "403 forbidden", "remedy": "see the peer's journal"}
    with daemon(ground, 200, {**STATUS, "links": [{**LINK, "error": error}]}):
        assert invoke(["status", "--root", str(ground.root)]) == 1
    assert "warning: alice-vm: no_news: 403 forbidden" in capsys.readouterr().out
