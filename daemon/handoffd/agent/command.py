"""One command per handoff: payload on standard input, verdict by exit code, a clock, and no survivors.

It knows processes, not handoffs. The rule that must stay true: when `run` returns because of time or a stop, nothing
of the command's process group is running any more.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handoffd.agent.wake import Wake
from handoffd.offspring import Offspring

TERM_GRACE_S = 2.0
"""From SIGTERM to SIGKILL: time to hang up a line, short against a caller's patience of 15 s."""
STOPPED = "listener_interrupted: the listener was stopped"
TAIL_CHARS = 400
"""Of standard error, in the reason; with the rest of it this stays within 500."""


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
        return _verdict(process, self.timeout_s, wake)

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


def _verdict(process: "subprocess.Popen[bytes]", timeout_s: float | None, wake: Wake) -> str | None:
    def must_end() -> str | None:
        wake.drain()
        return STOPPED if wake.stopping else None

    end = Offspring(process, TAIL_CHARS, TERM_GRACE_S, _pass_on).watch(wake, must_end, timeout_s)
    if end.why is not None or end.code == 0:
        return end.why
    tail = end.tail.strip()[-TAIL_CHARS:]
    return f"{end.words}: {tail}" if tail else end.words


def _pass_on(chunk: bytes) -> None:
    with contextlib.suppress(OSError):  # what nobody can read any more stops no work
        sys.stderr.buffer.write(chunk)
        sys.stderr.flush()
