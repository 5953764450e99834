"""A command and all that it starts, watched: until it exits or must end, and then nothing of it runs any more.

It owns the end of a process group and the end of its standard error. It knows neither handoffs nor why a command must
end. The rule that must stay true: when `watch` returns, nothing of a group that had to end is running any more.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

_CHUNK_BYTES = 65_536
"""As much as a pipe holds."""
_LOOK_S = 0.05
"""Between looks whether a group has ended: its leader's end is told by the kernel, that of the others is not."""
_LONGEST_SELECT_S = 3_600.0
"""The kernel's own limit is 24 days; whoever waits longer looks again."""


class Nudge(Protocol):
    """Something to be woken by."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""


@dataclass(frozen=True, slots=True)
class End:
    """How a command ended. `why`: for what it had to, None when it exited by itself; `code` as subprocess has it;
    `tail`: the end of its standard error."""

    why: str | None
    code: int
    tail: str

    @property
    def words(self) -> str:
        """Return the exit code or the signal in words."""
        return (
            f"exit {self.code}" if self.code > 0 else f"killed by signal {-self.code} ({signal.strsignal(-self.code)})"
        )


class Offspring:
    """A command that leads a session of its own, with its standard error on a pipe.

    `keep_chars` of that are kept, and `hear` gets all of it. From SIGTERM to SIGKILL it has `grace_s`.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        keep_chars: int,
        grace_s: float,
        hear: Callable[[bytes], None] = lambda chunk: None,
    ) -> None:
        self._process, self._grace_s, self._hear = process, grace_s, hear
        assert process.stderr is not None
        self._stderr: IO[bytes] = process.stderr
        self._keep_bytes = 4 * keep_chars  # four bytes are the most a character takes
        self._tail = b""

    def watch(self, nudge: Nudge, must_end: Callable[[], str | None], timeout_s: float | None) -> End:
        """Wait until it exits; or until `must_end`, asked when `nudge` wakes and when the time is over, says why."""
        exited = os.pidfd_open(self._process.pid)
        os.set_blocking(self._stderr.fileno(), False)
        try:
            with selectors.DefaultSelector() as selector:
                for one in (exited, self._stderr, nudge):
                    selector.register(one, selectors.EVENT_READ)
                why = self._follow(selector, exited, must_end, timeout_s)
                if why is not None:
                    selector.unregister(nudge)
                    self._end_group(selector, exited)
        except BaseException:
            self._signal(signal.SIGKILL)  # nobody would watch it any more
            raise
        finally:
            os.close(exited)
            self._read()
            self._stderr.close()
        return End(why, self._process.wait(), self._tail.decode(errors="replace"))

    def _follow(
        self, selector: selectors.BaseSelector, exited: int, must_end: Callable[[], str | None], timeout_s: float | None
    ) -> str | None:
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._turn(selector, exited, until):
            if (why := must_end()) is not None:
                return why
            if until is not None and time.monotonic() >= until:
                return f"timed_out: not done within {timeout_s:g} s"
        return None

    def _turn(self, selector: selectors.BaseSelector, exited: int, until: float | None) -> bool:
        """Wait once, hear what it said, and tell whether the leader has exited."""
        left_s = _LONGEST_SELECT_S if until is None else max(0.0, until - time.monotonic())
        ready = {key.fd for key, _ in selector.select(min(left_s, _LONGEST_SELECT_S))}
        if self._stderr.fileno() in ready and not self._read():
            selector.unregister(self._stderr)
        return exited in ready

    def _read(self) -> bool:
        """Take what standard error holds now; False at its end."""
        # Once and not until it is empty: a command that never stops to talk must not keep us from its end.
        try:
            chunk = os.read(self._stderr.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return True
        if chunk:
            self._hear(chunk)
        self._tail = (self._tail + chunk)[-self._keep_bytes :]
        return bool(chunk)

    def _end_group(self, selector: selectors.BaseSelector, exited: int) -> None:
        self._signal(signal.SIGTERM)
        until = time.monotonic() + self._grace_s
        while not self._turn(selector, exited, until) and time.monotonic() < until:
            pass
        selector.unregister(exited)
        while self._has_others() and time.monotonic() < until:
            self._turn(selector, exited, min(until, time.monotonic() + _LOOK_S))
        # The leader is not reaped yet, so the group's number cannot belong to anybody else.
        self._signal(signal.SIGKILL)

    def _has_others(self) -> bool:
        """Tell whether anything of the group but its leader is alive."""
        return any(_is_alive_in(self._process.pid, stat) for stat in Path("/proc").glob("[0-9]*/stat"))

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _is_alive_in(group: int, stat: Path) -> bool:
    """Tell by proc_pid_stat(5) whether a process is of this group; one that only waits to be reaped does not count."""
    with contextlib.suppress(OSError):  # it has ended meanwhile
        state, _, its_group = stat.read_bytes().rpartition(b")")[2].split()[:3]
        return int(its_group) == group and state != b"Z"
    return False
