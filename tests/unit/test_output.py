"""Standard output that nobody reads, that is full or closed: told as such, and never as a fault of the program.

Standard error in the same state: nothing ends because of it.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handoffd.cli.failure import ExitCode
from handoffd.output import OutputFailed, ReaderLeft, drop, guarded, whispering

FULL = "handoffd: standard output: No space left on device; what was to be told is not complete: send it where "


def handoffd(words: list[str], stdout: int | None = None, **more: object) -> tuple[int, str]:
    """Return exit code and standard error of a command in a process of its own."""
    command = [sys.executable, "-m", "handoffd", *words]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **more)  # type: ignore[call-overload]
    return done.returncode, done.stderr


@pytest.fixture
def looks(tmp_path: Path) -> list[str]:
    (tmp_path / "handoff").mkdir()
    (tmp_path / "relay/outcome").mkdir(parents=True, mode=0o700)
    return ["ls", "--root", str(tmp_path)]


@pytest.mark.parametrize("more", [(), ("--json",), ("--help",)])
def test_a_full_disk_under_standard_output_is_named(looks: list[str], more: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        code, told = handoffd([*looks, *more], full.fileno())
    assert code == 1
    assert told.startswith(FULL)
    assert told.count("\n") == 1


@pytest.mark.parametrize("more", [(), ("--json",), ("--help",)])
def test_a_reader_that_left_is_no_error_to_talk_of(looks: list[str], more: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert handoffd([*looks, *more], writer) == (ExitCode.READER_LEFT, "")
    finally:
        os.close(writer)


def test_without_any_standard_output_nothing_is_begun(looks: list[str]) -> None:
    code, told = handoffd(looks, preexec_fn=lambda: os.close(1))
    assert (code, told) == (2, "handoffd: standard output is closed; redirect it, to /dev/null if nobody reads it\n")


def test_a_guarded_stream_writes_what_it_is_given(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w", encoding="utf-8") as plain:
        stream = guarded(plain)
        print("grüezi", file=stream, flush=True)
        stream.buffer.write(b"\x00\n")
        stream.flush()
        assert stream.fileno() == plain.fileno()
        assert (tmp_path / "out").read_bytes() == "grüezi\n\0\n".encode()


def test_what_fails_is_told_by_its_own_name_and_can_be_dropped() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe, open("/dev/full", "w") as full:
        for plain, error in ((pipe, ReaderLeft), (full, OutputFailed)):
            stream = guarded(plain)
            print("words", file=stream)
            with pytest.raises(error) as raised:
                stream.flush()
            assert not isinstance(raised.value, OSError)
            drop(stream)
            stream.flush()


def test_what_is_larger_than_any_buffer_fails_the_same_way() -> None:
    with open("/dev/full", "w") as full:
        stream = guarded(full)
        with pytest.raises(OutputFailed, match="No space left"):
            stream.buffer.write(b"x" * 10 * io.DEFAULT_BUFFER_SIZE)
        drop(stream)


def test_what_nobody_can_be_told_on_standard_error_is_lost_and_no_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe, open("/dev/full", "w") as full:
        for plain in (pipe, full):
            stream = whispering(plain)
            print("words", file=stream, flush=True)
            stream.buffer.write(b"x" * 10 * io.DEFAULT_BUFFER_SIZE)
            stream.flush()


def test_standard_error_is_written_as_before(tmp_path: Path) -> None:
    with open(tmp_path / "err", "w", encoding="ascii", errors="backslashreplace", buffering=1) as plain:
        print("gr\u00fcezi", file=whispering(plain))
        assert (tmp_path / "err").read_text() == "gr\\xfcezi\n"


@pytest.mark.parametrize("closed", [(2,), (0, 2), (0, 1, 2)])
def test_a_command_without_standard_error_does_what_it_is_for(looks: list[str], closed: tuple[int, ...]) -> None:
    code, _ = handoffd(looks, preexec_fn=lambda: [os.close(number) for number in closed])
    assert code == (2 if 1 in closed else 0)


def test_the_daemon_needs_no_standard_output(tmp_path: Path) -> None:
    words = ["run", "--config", str(tmp_path / "none.yaml")]
    assert handoffd(words, preexec_fn=lambda: os.close(1))[1].startswith(f"handoffd: {tmp_path / 'none.yaml'}: ")
