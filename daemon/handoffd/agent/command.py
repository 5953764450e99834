"""One command per handoff: payload on standard input, verdict by exit code, a clock, and no survivors.

It knows processes, not handoffs. The rule that must stay true: when `run` returns because of time or a stop, nothing
of the command's process group is running any more.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from handoffd.agent.wake import Wake

TERM_GRACE_S = 2.0
"""From SIGTERM to SIGKILL: time to hang up a line, short against a caller's patience of 15 s."""
TAIL_CHARS = 400
"""Of standard error, in the reason; with the rest of it this stays within 500."""
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `timeout_s` None: as long as it takes. `output`: a file number for its standard output."""

    argv: Sequence[str]
    timeout_s: float | None = None
    output: int | None = None

    def run(self, data: bytes, environment: Mapping[str, str], lock: int, wake: Wake) -> str | None:
        """Run it and return None for exit 0, else the reason in words.

        The descriptor `lock` is inherited, so that it stays open as long as anything of the command runs.
        """
        try:
            process = self._start(data, environment, lock)
        except OSError as error:
            return f"cannot start {self.argv[0]}: {error.strerror}"
        return _Watch(process, self.timeout_s, wake).verdict()

    def _start(self, data: bytes, environment: Mapping[str, str], lock: int) -> "subprocess.Popen[bytes]":
        # In memory, not a pipe and not the file: a command may read slowly or never, and gets what was verified.
        memory = os.memfd_create("handoff", os.MFD_CLOEXEC)
        with open(memory, "r+b") as stdin:
            stdin.write(data)
            stdin.seek(0)
            return subprocess.Popen(
                self.argv,
                stdin=stdin,
                stdout=self.output,
                stderr=subprocess.PIPE,
                env={**os.environ, **environment},
                pass_fds=(lock,),
                start_new_session=True,
            )


class _Watch:
    def __init__(self, process: "subprocess.Popen[bytes]", timeout_s: float | None, wake: Wake) -> None:
        self._process = process
        self._timeout_s = timeout_s
        self._wake = wake
        assert process.stderr is not None
        self._stderr: IO[bytes] = process.stderr
        self._tail = b""

    def verdict(self) -> str | None:
        exited = os.pidfd_open(self._process.pid)
        os.set_blocking(self._stderr.fileno(), False)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(exited, selectors.EVENT_READ)
                selector.register(self._stderr, selectors.EVENT_READ)
                selector.register(self._wake, selectors.EVENT_READ)
                ended = self._follow(selector, exited)
                if ended is not None:
                    self._end_group(selector, exited)
                self._read()
        finally:
            os.close(exited)
            self._stderr.close()
        code = self._process.wait()
        return ended or self._words(code)

    def _follow(self, selector: selectors.BaseSelector, exited: int) -> str | None:
        """Return None when it exited by itself, else why it must end."""
        until = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        while not self._turn(selector, exited, until):
            if self._wake.stopping:
                return "listener_interrupted: the listener was stopped"
            if until is not None and time.monotonic() >= until:
                return f"timed_out: not done within {self._timeout_s:g} s"
        return None

    def _turn(self, selector: selectors.BaseSelector, exited: int, until: float | None) -> bool:
        """Wait once, pass on what happened, and tell whether the process has exited."""
        left_s = None if until is None else max(0.0, until - time.monotonic())
        ready = {key.fd for key, _ in selector.select(left_s)}
        if self._wake.fileno() in ready:
            self._wake.drain()
        if self._stderr.fileno() in ready and not self._read():
            selector.unregister(self._stderr)
        return exited in ready

    def _read(self) -> bool:
        """Pass on what standard error holds now; False at its end."""
        while True:
            try:
                chunk = os.read(self._stderr.fileno(), _CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
            # Four bytes are the most a character takes.
            self._tail = (self._tail + chunk)[-4 * TAIL_CHARS :]

    def _end_group(self, selector: selectors.BaseSelector, exited: int) -> None:
        self._signal(signal.SIGTERM)
        until = time.monotonic() + TERM_GRACE_S
        while time.monotonic() < until and not self._turn(selector, exited, until):
            pass
        # Also when the leader is gone: others of its group may have ignored SIGTERM. The leader is not reaped yet,
        # so the group's number cannot belong to anybody else.
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _words(self, code: int) -> str | None:
        if code == 0:
            return None
        head = f"exit {code}" if code > 0 else f"killed by signal {-code} ({signal.strsignal(-code)})"
        tail = self._tail.decode(errors="replace").strip()[-TAIL_CHARS:]
        return f"{head}: {tail}" if tail else head
