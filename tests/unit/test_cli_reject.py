"""`handoffd reject` against a socket that answers as a daemon would, and against none."""

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
                while b"}" not in b"".join(asked):
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
