"""A start that fails: what it says, and what it leaves alone."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handoffd.__main__ import outcome
from handoffd.app.process import _no_start

ROOT = Path("/srv/voice-shared")


@pytest.fixture(autouse=True)
def hang_ups() -> Iterator[None]:
    """What `run` does with SIGHUP ends with the test."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def error(number: int, words: str | None = None, name: str | None = None) -> OSError:
    return OSError(number, words or os.strerror(number), name)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (error(errno.EIO), "/srv/voice-shared: Input/output error"),
        (error(errno.EIO, name="/srv/voice-shared/relay/epoch"), "/srv/voice-shared/relay/epoch: Input/output error"),
        (error(errno.EMFILE, name="epoch"), "epoch below /srv/voice-shared: Too many open files"),
        (error(errno.EADDRINUSE, "cannot listen on 127.0.0.1:1: in use"), "cannot listen on 127.0.0.1:1: in use"),
    ],
)
def test_what_the_system_refused_is_told_with_its_place(refused: OSError, said: str) -> None:
    assert _no_start(ROOT, refused) == said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_what_to_do(number: int) -> None:
    said = _no_start(ROOT, error(number))
    assert said.startswith(f"/srv/voice-shared: {os.strerror(number)}; free space on /srv/voice-shared (df -h")
    assert said.endswith("then start again")


def test_a_relay_that_somebody_planted_stops_the_daemon_before_it_touches_the_root(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, root = tmp_path / "etc", tmp_path / "root"
    assert outcome(["init", "--dir", str(where), "--host", "bob-vm", "--root", str(root), "--agent", "bob"]) == 0
    (tmp_path / "theirs").mkdir()
    (root / "relay").symlink_to(tmp_path / "theirs")
    monkeypatch.setattr("handoffd.app.process.set_up_log", lambda config: None)
    assert outcome(["run", "--config", str(where / "handoffd.yaml")]) == 2
    assert f"{root / 'relay'} is a link" in caplog.text
    assert os.listdir(tmp_path / "theirs") == []


def test_a_hang_up_is_ignored_from_before_the_daemon_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    before, then = signal.getsignal(signal.SIGHUP), []

    class Loading:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "handoffd.app":
                then.append(signal.getsignal(signal.SIGHUP))

    monkeypatch.setattr(sys, "meta_path", [Loading, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "handoffd.app")
    try:
        assert outcome(["run", "--config", "/nowhere/handoffd.yaml"]) == 2
    finally:
        signal.signal(signal.SIGHUP, before)
    assert then == [signal.SIG_IGN]
