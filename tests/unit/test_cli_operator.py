"""`handoffd reject` and `resolve` against a socket that answers as a daemon would, and against none."""

import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.handmade import HANDOFF_ID, QUEUED, RECEIPT, SENT, Ground, T, X, payload

from handoffd.cli import invoke
from handoffd.custody import layout
from handoffd.custody.entry import Entry
from handoffd.custody.reading import Reading
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


def run(ground: Ground, *more: str) -> int:
    return invoke(["reject", T, "--root", str(ground.root), "--yes", "--timeout-s", "0", *more])


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


def test_the_verdict_is_waited_for(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(QUEUED)
    with daemon(ground, 200, {"tid": T, "state": "stored"}):
        writer = threading.Timer(0.2, lambda: ground.end(Reason.REVOKED, State.REVOKED))
        writer.start()
        assert run(ground, "--timeout-s", "30") == 0
        writer.join()
    assert "is withdrawn: no agent has it" in capsys.readouterr().out


def test_reject_asks_first(ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ground.put(QUEUED)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert invoke(["reject", T, "--root", str(ground.root)]) == 2
    err = capsys.readouterr().err
    assert "is queued. Take it back" in err
    assert "no terminal to ask on; give --yes" in err


# ------------------------------------------------------------------------------------------------- no daemon


@pytest.fixture
def stopped(ground: Ground) -> Ground:
    """A root as a daemon leaves it that is stopped."""
    for directory in ("relay/wish", "relay/tmp"):
        (ground.root / directory).mkdir()
    ground.put("relay/format", b"1\n")
    return ground


def test_without_a_daemon_the_wish_is_written_down(stopped: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.put(QUEUED)
    assert run(stopped) == 75
    assert os.listdir(stopped.root / "relay/wish") == [T]
    assert "the daemon is stopped: when it starts it asks alice-vm to give it back" in capsys.readouterr().out
    (line,) = lines(stopped)
    assert (line["event"], line["tid"]) == ("withdraw_asked", T)


def test_what_nobody_has_taken_is_withdrawn_without_a_daemon(stopped: Ground) -> None:
    stopped.put(f"handoff/{X}")
    assert run(stopped) == 0
    assert sorted(os.listdir(stopped.root / "rejected")) == [X, f"{X}.reason"]
    record = json.loads((stopped.root / f"rejected/{X}.reason").read_bytes())
    assert (record["state"], record["delivered"], record["tid"]) == ("revoked", "never_sent", T)
    (line,) = lines(stopped)
    assert (line["event"], line["role"]) == ("revoked", "local")


def test_what_has_ended_is_told_without_a_daemon_and_without_a_question(stopped: Ground) -> None:
    stopped.end(Reason.COMPLETED, State.COMPLETED)
    assert invoke(["reject", T, "--root", str(stopped.root)]) == 1


def test_a_daemon_that_holds_the_lock_and_does_not_answer_is_not_written_around(
    stopped: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped.put(QUEUED)
    held = layout.lock(stopped.root)
    try:
        assert run(stopped) == 75
    finally:
        os.close(held)
    assert "another handoffd runs on" in capsys.readouterr().err
    assert os.listdir(stopped.root / "relay/wish") == []


def test_a_tree_of_another_version_is_left_alone(stopped: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.put(QUEUED)
    stopped.put("relay/format", b"2\n")
    assert run(stopped) == 75
    assert "relay/format is '2'" in capsys.readouterr().err


def test_a_take_that_was_cut_short_needs_the_daemon(stopped: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.put(f"relay/outbox/alice-vm/taking.{'0' * 16}~{X}")
    assert run(stopped) == 69
    assert "start it" in capsys.readouterr().err


def test_one_in_doubt_is_given_up_without_a_daemon(stopped: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.put(SENT)
    assert invoke(["resolve", T, "--yes", "--root", str(stopped.root)]) == 0
    record, _ = stopped.reading.outcome(T) or (None, 0)
    assert record is not None
    assert (record.reason, record.delivered) == (Reason.OUTCOME_UNKNOWN, "unknown")
    assert "its next start moves the file" in capsys.readouterr().err
    (line,) = lines(stopped)
    assert (line["event"], line["reason"]) == ("unknown", "outcome_unknown")


@pytest.mark.parametrize("verb", ["reject", "resolve"])
def test_what_went_on_meanwhile_is_not_touched(stopped: Ground, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    stopped.put(SENT)
    asked = Reading.find

    def find(reading: Reading, ident: str) -> list[Entry]:
        found = asked(reading, ident)
        (stopped.root / SENT).unlink()
        return found

    monkeypatch.setattr(Reading, "find", find)
    assert invoke([verb, T, "--yes", "--root", str(stopped.root)]) == 75
    assert stopped.reading.outcome(T) is None


def lines(ground: Ground) -> list[dict[str, object]]:
    return [json.loads(line) for line in ground.journal_path.read_bytes().splitlines()]


def test_what_this_host_received_is_not_its_to_withdraw(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(RECEIPT)
    assert run(ground) == 1
    assert "not sent by this host" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["reject", "resolve"])
def test_a_name_that_two_handoffs_bear_changes_neither(
    ground: Ground, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    other = payload(resume_hint="a second call within the second")
    ground.put(QUEUED)
    ground.put(f"relay/outbox/alice-vm/{transfer_id(other)}~{X}", other)
    assert invoke([verb, HANDOFF_ID, "--yes", "--root", str(ground.root)]) == 2
    err = capsys.readouterr().err
    assert f"2 handoffs answer to {HANDOFF_ID}, and nothing was changed; name one by its T: " in err
    assert f"{T[:12]} (queued)" in err
    assert f"{transfer_id(other)[:12]} (queued)" in err


def test_resolve_asks_first_and_changes_nothing_unasked(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.put(QUEUED)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert invoke(["resolve", T, "--root", str(ground.root)]) == 2
    err = capsys.readouterr().err
    assert "it may have reached an agent. End it as outcome_unknown?" in err
    assert "nothing was changed" in err
    assert ground.only().word == "queued"


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 69)])
def test_on_a_terminal_the_answer_counts(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    ground.put(QUEUED)
    (ground.root / QUEUED).rename(ground.root / f"relay/outbox/alice-vm/taking.{'0' * 16}~{X}")
    stdin = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    assert invoke(["resolve", T, "--root", str(ground.root)]) == code


def test_what_is_not_in_doubt_is_given_up_by_force_alone(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    data = payload(expires_s=4e9)
    tid = transfer_id(data)
    ground.put(f"relay/sent/alice-vm/{tid}~{X}", data)
    assert invoke(["resolve", tid, "--yes", "--root", str(ground.root)]) == 1
    assert "is not in doubt: stored at alice-vm" in capsys.readouterr().err
    with daemon(ground, 200, {"tid": tid, "state": "unknown", "record": {"reason": "outcome_unknown"}}):
        assert invoke(["resolve", tid, "--yes", "--force", "--root", str(ground.root)]) == 0


def test_resolve_tells_how_the_handoff_ended(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(QUEUED)
    with daemon(ground, 200, {"tid": T, "state": "unknown", "record": {"reason": "outcome_unknown"}}) as asked:
        assert invoke(["resolve", T, "--yes", "--root", str(ground.root)]) == 0
    assert b"POST /operator/resolve" in asked[0]
    assert "unknown (outcome_unknown)" in capsys.readouterr().out
