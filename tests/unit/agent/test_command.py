import io
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest
from tests.fakes.leap import Leap
from tests.unit.agent.conftest import eventually

from handoffd.agent.command import Command
from handoffd.agent.wake import Wake
from handoffd.offspring import Offspring


def shell(script: str, timeout_s: float | None = None) -> Command:
    return Command(["/bin/sh", "-c", script], timeout_s)


@pytest.fixture
def lock(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY)


def is_running(pid: int) -> bool:
    """Whether it runs; a dead child that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_exit_0_is_no_objection(wake: Wake, lock: int) -> None:
    assert shell("exit 0").run(b"", {}, lock, wake) is None


def test_the_payload_comes_on_standard_input(wake: Wake, lock: int, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    assert shell(f"cat > {tmp_path}/got").run(data, {}, lock, wake) is None
    assert (tmp_path / "got").read_bytes() == data


def test_a_command_need_not_read_its_input(wake: Wake, lock: int) -> None:
    assert shell("true").run(b"x" * 1_000_000, {}, lock, wake) is None


def test_the_environment_is_ours_and_the_given_one(wake: Wake, lock: int, tmp_path: Path) -> None:
    assert shell(f'echo "$PATH $HANDOFF_ID" > {tmp_path}/got').run(b"", {"HANDOFF_ID": "id"}, lock, wake) is None
    assert (tmp_path / "got").read_text() == f"{os.environ['PATH']} id\n"


def test_a_refusal_tells_the_exit_code_and_the_end_of_standard_error(wake: Wake, lock: int) -> None:
    words = shell("head -c 100000 /dev/zero | tr '\\0' x >&2; echo no line free >&2; exit 3").run(b"", {}, lock, wake)
    assert words is not None
    assert words.startswith("exit 3: xxx")
    assert words.endswith("xno line free")
    assert len(words) < 450


def test_a_silent_refusal_tells_the_exit_code(wake: Wake, lock: int) -> None:
    assert shell("exit 7").run(b"", {}, lock, wake) == "exit 7"


def test_standard_error_is_passed_on(wake: Wake, lock: int, capfd: pytest.CaptureFixture[str]) -> None:
    shell("echo progress >&2").run(b"", {}, lock, wake)
    assert capfd.readouterr().err == "progress\n"


def test_standard_output_can_be_sent_elsewhere(wake: Wake, lock: int, capfd: pytest.CaptureFixture[str]) -> None:
    Command(["/bin/echo", "result"], output=sys.stderr.fileno()).run(b"", {}, lock, wake)
    assert capfd.readouterr().out == ""


def test_a_killed_command_tells_the_signal(wake: Wake, lock: int) -> None:
    assert shell("kill -SEGV $$").run(b"", {}, lock, wake) == "killed by signal 11 (Segmentation fault)"


@pytest.mark.parametrize("path", ["/no/such/command", "/etc/hostname"])
def test_a_command_that_cannot_start_is_a_refusal(wake: Wake, lock: int, path: str) -> None:
    words = Command([path]).run(b"", {}, lock, wake)
    assert words is not None
    assert words.startswith(f"cannot start {path}: ")


def test_a_background_process_does_not_hold_up_the_end(wake: Wake, lock: int, tmp_path: Path) -> None:
    assert shell(f"sleep 60 & echo $! > {tmp_path}/pid").run(b"", {}, lock, wake) is None
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_time_out_ends_the_whole_group(wake: Wake, lock: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoffd.offspring.time", Leap(tmp_path / "pid"))
    script = f"sleep 60 & echo $! > {tmp_path}/pid; echo ready >&2; sleep 60"
    assert shell(script, 30.0).run(b"", {}, lock, wake) == "timed_out: not done within 30 s"
    eventually(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_a_stop_ends_the_command(wake: Wake, lock: int, tmp_path: Path) -> None:
    stop_when(wake, tmp_path / "ready")
    words = shell(f"touch {tmp_path}/ready; sleep 60").run(b"", {}, lock, wake)
    assert words == "listener_interrupted: the listener was stopped"


def test_a_stop_ends_those_who_ignore_sigterm(
    wake: Wake, lock: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.agent.command.TERM_GRACE_S", 0.2)
    stop_when(wake, tmp_path / "ready")
    deaf = f"trap '' TERM; (exec sleep 61) & echo $! > {tmp_path}/pid; touch {tmp_path}/ready; while :; do wait; done"
    assert shell(deaf).run(b"", {}, lock, wake) is not None
    eventually(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_a_command_may_tidy_up_on_sigterm(wake: Wake, lock: int, tmp_path: Path) -> None:
    stop_when(wake, tmp_path / "ready")
    script = f"trap 'echo tidy > {tmp_path}/note; exit 0' TERM; touch {tmp_path}/ready; while :; do sleep 0.02; done"
    assert shell(script).run(b"", {}, lock, wake) == "listener_interrupted: the listener was stopped"
    assert (tmp_path / "note").read_text() == "tidy\n"


def test_others_of_the_group_may_tidy_up_after_its_leader_has_gone(wake: Wake, lock: int, tmp_path: Path) -> None:
    stop_when(wake, tmp_path / "ready")
    tidy = f"until grep -q ') Z' /proc/$$/stat; do sleep 0.02; done; echo tidy > {tmp_path}/note; exit 0"
    script = f'(trap "{tidy}" TERM; touch {tmp_path}/ready; while :; do sleep 0.02; done) & wait'
    assert shell(script).run(b"", {}, lock, wake) == "listener_interrupted: the listener was stopped"
    assert (tmp_path / "note").read_text() == "tidy\n"


def test_a_command_that_never_stops_to_talk_runs_out_of_time(
    wake: Wake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.offspring.time", Leap(tmp_path / "ready"))
    flood = f"touch {tmp_path}/ready; exec cat /dev/zero >&2"
    process = subprocess.Popen(["/bin/sh", "-c", flood], stderr=subprocess.PIPE, start_new_session=True)

    def hear(chunk: bytes) -> None:
        """Take so long that the pipe holds more each time."""
        eventually(lambda: is_readable(process.stderr) or not is_running(process.pid))

    end = Offspring(process, 400, 2.0, hear).watch(wake, lambda: None, 30.0)
    assert end.why == "timed_out: not done within 30 s"


def test_a_time_longer_than_the_kernel_can_wait_is_a_time(wake: Wake, lock: int) -> None:
    assert shell("exit 0", 1e12).run(b"", {}, lock, wake) is None


def test_a_reader_of_standard_error_that_has_gone_stops_no_work(
    wake: Wake, lock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with io.TextIOWrapper(open(writer, "wb", buffering=0)) as gone:
        monkeypatch.setattr("sys.stderr", gone)
        assert shell("echo progress >&2; exit 0").run(b"", {}, lock, wake) is None


def test_what_fails_in_here_leaves_no_command_behind(wake: Wake) -> None:
    process = subprocess.Popen(["/bin/sh", "-c", "echo >&2; sleep 60"], stderr=subprocess.PIPE, start_new_session=True)

    def fail(chunk: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Offspring(process, 400, 2.0, fail).watch(wake, lambda: None, None)
    assert process.wait(10.0) == -signal.SIGKILL


def test_the_lock_is_inherited_by_all_of_the_command(wake: Wake, lock: int, tmp_path: Path) -> None:
    shell(f"(readlink /proc/self/fd/{lock}) > {tmp_path}/seen").run(b"", {}, lock, wake)
    assert (tmp_path / "seen").read_text().strip() == str(tmp_path)


def is_readable(pipe: IO[bytes] | None) -> bool:
    """Whether a pipe holds something."""
    assert pipe is not None
    return bool(select.select([pipe], [], [], 0)[0])


def stop_when(wake: Wake, ready: Path) -> None:
    """Stop as soon as the file exists."""

    def stop() -> None:
        eventually(ready.exists)
        wake.stop()

    threading.Thread(target=stop).start()
