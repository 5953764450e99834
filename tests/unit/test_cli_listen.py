import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from handoffd.agent import AgentName, Draft, Mailbox, Written
from handoffd.cli import listen
from handoffd.cli.failure import ExitCode, Failure

DEADLINE_S = 20.0
PROGRAM = """
import sys, typer
from handoffd.cli import listen
app = typer.Typer()
app.callback()(lambda: None)
listen.register(app)
sys.exit(app(standalone_mode=False))
"""
Listen = Callable[..., int]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "pair.secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def base(root: Path, secret: Path) -> list[str]:
    return ["listen", "--root", str(root), "--agent", "alice", "--secret-file", str(secret)]


@pytest.fixture
def run(base: list[str]) -> Listen:
    """Listen for alice with further arguments, in this process, and return the exit code."""
    app = typer.Typer()
    app.callback()(lambda: None)
    listen.register(app)
    return lambda *more: int(app([*base, *more], standalone_mode=False) or 0)


def give(root: Path, secret: bytes = b"s3cret") -> Written:
    return Mailbox(root, AgentName("bob"), {"*": secret}).write_handoff(Draft(to="alice", reason="why"))


def eventually(holds: Callable[[], object]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, "never came true"
        threading.Event().wait(0.01)


@contextmanager
def listening(arguments: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `handoffd listen` as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def reasons(root: Path) -> list[str]:
    return [path.read_text().strip() for path in (root / "rejected").glob("*.reason")]


def test_a_command_that_succeeds_completes_the_handoff(
    run: Listen, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written = give(root)
    data = written.path.read_text()
    assert run("--once", "--exec", "cat") == ExitCode.OK
    said = capfd.readouterr()
    assert said.out == data
    assert said.err == f"{written.envelope.handoff_id} from bob: completed\n"


def test_a_command_that_fails_rejects_it(run: Listen, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    give(root)
    assert run("--once", "--exec", "sh -c 'echo busy >&2; exit 4'") == ExitCode.FAILED
    assert reasons(root) == ["exit 4: busy"]
    assert "rejected (exit 4: busy)" in capfd.readouterr().err


def test_json_keeps_standard_output_for_the_ends(run: Listen, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written = give(root)
    run("--once", "--json", "--exec", "echo from the command")
    said = capfd.readouterr()
    assert said.err == "from the command\n"
    end = json.loads(said.out)
    assert (end["handoff_id"], end["from"], end["state"]) == (written.envelope.handoff_id, "bob", "completed")
    assert Path(end["path"]).exists()


def test_a_time_out_rejects(run: Listen, root: Path) -> None:
    give(root)
    assert run("--once", "--timeout-s", "0.2", "--exec", "sleep 60") == ExitCode.FAILED
    assert reasons(root) == ["timed_out: not done within 0.2 s"]


def test_a_bootstrap_is_written_without_a_command(run: Listen, root: Path, tmp_path: Path) -> None:
    written = give(root)
    assert run("--once", "--bootstrap", str(tmp_path)) == ExitCode.OK
    assert (tmp_path / "handoffs" / f"{written.envelope.handoff_id}.json").exists()


def test_a_forged_handoff_is_rejected_and_does_not_count(
    run: Listen, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    give(root, b"another secret")
    genuine = give(root)
    assert run("--once", "--exec", "true") == ExitCode.OK
    assert reasons(root) == ["bad_hmac: not signed with the secret shared with bob"]
    assert f"{genuine.envelope.handoff_id} from bob: completed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "word"),
    [("cat > call", "'>'"), ("cat 2>/dev/null", "'2>/dev/null'"), ("cat | tee call", "'|'"), ("cat &", "'&'")],
)
def test_what_only_a_shell_would_read_is_warned_of(
    run: Listen, root: Path, capfd: pytest.CaptureFixture[str], command: str, word: str
) -> None:
    give(root)
    assert run("--once", "--exec", command) == ExitCode.FAILED
    assert f"warning: --exec: no shell reads {word}, cat gets it as it is" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["true", "sh -c 'cat > /dev/null; true'", "true a|b x;y -> --"])
def test_nothing_is_warned_of_that_a_command_may_be_meant_to_get(
    run: Listen, root: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    give(root)
    assert run("--once", "--exec", command) == ExitCode.OK
    assert "warning" not in capfd.readouterr().err


def test_a_state_directory_in_which_no_bootstrap_can_be_is_refused_before_anything_is_claimed(
    run: Listen, root: Path, tmp_path: Path
) -> None:
    give(root)
    (tmp_path / "handoffs").touch()
    with pytest.raises(Failure, match="handoffs is no directory; move it away") as caught:
        run("--once", "--bootstrap", str(tmp_path))
    assert caught.value.code == ExitCode.USAGE
    assert os.listdir(root / "handoff") != []


def test_a_full_disk_after_the_work_says_what_becomes_of_the_claim(
    run: Listen, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    give(root)
    monkeypatch.setattr("handoffd.agent.mailbox.write_new", full)
    with pytest.raises(Failure, match="the next listener rejects as listener_interrupted; make room"):
        run("--once", "--exec", "false")


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ([], "--exec COMMAND, --bootstrap DIR, or both"),
        (["--exec", "no-such-command -x"], "no such command: 'no-such-command'"),
        (["--exec", ""], "no such command"),
        (["--exec", "sh -c 'open"], "No closing quotation"),
        (["--bootstrap", "/no/such/state"], "/no/such/state"),
        (["--exec", "true", "--agent", "Alice"], "--agent"),
        (["--exec", "true", "--root", "/no/such/root"], "/no/such/root"),
        (["--exec", "true", "--secret-file", "gordon=/no/such/secret"], "/no/such/secret"),
        (["--exec", "true", "--secret-file", "Bob=/etc/hostname"], "Bob"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_claimed(run: Listen, root: Path, arguments: list[str], place: str) -> None:
    give(root)
    with pytest.raises(Failure) as caught:
        run("--once", *arguments)
    assert caught.value.code == ExitCode.USAGE
    assert place in str(caught.value)
    assert os.listdir(root / "claimed") == []


def test_sigterm_ends_the_command_rejects_and_exits(base: list[str], root: Path, tmp_path: Path) -> None:
    give(root)
    with listening([*base, "--exec", f"sh -c 'echo $$ > {tmp_path}/pid; sleep 60'"]) as process:
        eventually((tmp_path / "pid").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    assert reasons(root) == ["listener_interrupted: the listener was stopped"]
    assert os.listdir(root / "claimed") == []


def test_a_stop_before_anything_came_says_so_with_once(base: list[str], root: Path) -> None:
    with listening([*base, "--once", "--exec", "true"]) as process:
        eventually((root / "rejected").exists)
        eventually(lambda: catches(process.pid, signal.SIGTERM))
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == ExitCode.TRY_AGAIN


def test_a_killed_listener_is_explained_by_the_next_one(base: list[str], root: Path, tmp_path: Path) -> None:
    give(root)
    with listening([*base, "--exec", f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60'"]) as process:
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        process.kill()
        process.wait()
        with listening([*base, "--exec", f"touch {tmp_path}/ran"]):
            give(root)
            eventually((tmp_path / "ran").exists)  # the next one works, and leaves the running command alone
            assert reasons(root) == []
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            eventually(lambda: reasons(root))
    assert reasons(root) == ["listener_interrupted: the listener ended before the handoff did"]


def test_an_arrival_is_claimed_by_one_of_two_listeners(base: list[str], root: Path, tmp_path: Path) -> None:
    command = [*base, "--exec", f"sh -c 'echo $HANDOFF_ID >> {tmp_path}/ran'"]
    with listening(command), listening(command):
        ids = [give(root).envelope.handoff_id for _ in range(20)]
        eventually(lambda: len(list((root / "archive").glob("*.json"))) == 20)
    assert sorted((tmp_path / "ran").read_text().split()) == sorted(ids)
    assert os.listdir(root / "claimed") == []


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none_is_refused_before_anything_is_claimed(run: Listen, text: str) -> None:
    with pytest.raises(Failure, match="give seconds, more than 0") as caught:
        run("--exec", "true", "--timeout-s", text)
    assert caught.value.code == ExitCode.USAGE


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal."""
    return bool(int(status(pid, "SigCgt"), 16) & (1 << (number - 1)))
