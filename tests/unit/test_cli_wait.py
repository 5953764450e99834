"""`handoffd wait` on a directory: what it tells, when it ends, and that it sleeps in between."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from handoffd.agent import ANYONE, Draft, Mailbox, Written, agent_name
from handoffd.cli import invoke, wait

SECRET = b"pair-secret"


def write(root: Path, to: str = "alice", age_s: float = 0.0) -> Written:
    bob = Mailbox(root, agent_name("bob"), {ANYONE: SECRET}, now=lambda: time.time() - age_s)
    return bob.write_handoff(Draft(to=to, reason="test", ttl_s=60.0))


def run(root: Path, *more: str) -> int:
    return invoke(["wait", "--agent", "alice", "--root", str(root), *more])


def test_what_is_there_is_told_at_once_and_not_claimed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = write(tmp_path)
    assert run(tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "handoff_id": written.envelope.handoff_id,
        "tid": written.envelope.tid,
        "from": "bob",
        "expires_at": written.envelope.expires_text,
        "path": str(written.path),
    }
    assert written.path.exists()
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == f"{written.envelope.handoff_id}  {written.path}\n"


def test_what_is_anothers_or_too_late_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, to="carol")
    write(tmp_path, age_s=61.0)
    (tmp_path / "handoff" / "odd.json").write_bytes(b"no handoff")
    assert run(tmp_path, "--timeout-s", "0") == 75


def test_an_arrival_wakes_it_long_before_it_would_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "LOOK_S", 600.0)
    writer = threading.Timer(0.3, write, (tmp_path,))
    writer.start()
    assert run(tmp_path) == 0
    writer.join()
    assert "bob-alice" in capsys.readouterr().out


def test_a_signal_ends_it(tmp_path: Path) -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert run(tmp_path) == 130


def test_a_root_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere") == 2
    assert "there is no such directory" in capsys.readouterr().err
