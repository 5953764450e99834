"""One wake hook carried out: a command with a clock and no survivors, or one HTTP call to this machine.

It knows processes and sockets, not handoffs; it runs on a thread of its own. The rules that must stay true: when it
returns because of time or a stop, nothing of the command's process group runs any more; and of the payload only ids
and a path leave this process, by standard input, environment or body.
"""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from handoffd.offspring import Offspring

TERM_GRACE_S = 1.0
"""From SIGTERM to SIGKILL: a daemon that is being stopped has 3 s for all of it."""
TAIL_CHARS = 200
"""Of standard error, in the journal."""
_SERVICE_MANAGERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Of the daemon's environment, what a child of it must not use."""


@dataclass(frozen=True, slots=True)
class Hook:
    """What to do: `command` (its first word an absolute path) or `url`, for at most `timeout_s`."""

    command: tuple[str, ...] | None
    url: str | None
    timeout_s: float


class Cut(Exception):
    """The daemon is being stopped, and the hook with it."""


class Stop:
    """Ends every hook that is under way; set once."""

    def __init__(self) -> None:
        self.is_set = False
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._aborts: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor that is readable once it is set."""
        return self._reader

    def set(self) -> None:
        """Stop what is under way and what begins later."""
        with self._lock:
            if self.is_set:
                return
            self.is_set = True
            os.close(self._writer)
            aborts = list(self._aborts)
        for abort in aborts:
            abort()

    def close(self) -> None:
        """Release the descriptor, when nothing is under way any more."""
        os.close(self._reader)

    @contextlib.contextmanager
    def aborting(self, abort: Callable[[], None]) -> Iterator[None]:
        """Have `abort` called when it is set, as long as the context lasts."""
        with self._lock:
            self._aborts.add(abort)
        if self.is_set:
            abort()
        try:
            yield
        finally:
            with self._lock:
                self._aborts.discard(abort)


def run_command(hook: Hook, body: bytes, ids: Mapping[str, str], place: Path, stop: Stop) -> str | None:
    """Run the command in `place`; return None for exit 0, else what went wrong. Raises Cut."""
    assert hook.command is not None
    inherited = {name: value for name, value in os.environ.items() if name not in _SERVICE_MANAGERS}
    # In memory, not a pipe: a command may read slowly or never.
    memory = os.memfd_create("hook", os.MFD_CLOEXEC)
    with open(memory, "r+b") as stdin:
        stdin.write(body)
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                hook.command,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=place,
                env={**inherited, **ids},
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot start {hook.command[0]}: {error.strerror}"
    return _verdict(hook, process, stop)


def _verdict(hook: Hook, process: "subprocess.Popen[bytes]", stop: Stop) -> str | None:
    child = Offspring(process, TAIL_CHARS, TERM_GRACE_S)
    end = child.watch(stop, lambda: "cut" if stop.is_set else None, hook.timeout_s)
    if stop.is_set and end.why is not None:
        raise Cut
    if end.why is None and end.code == 0:
        return None
    head = end.words if end.why is None else f"timed out after {hook.timeout_s:g} s"
    tail = " ".join(end.tail.split())[-TAIL_CHARS:]
    return f"{head}: {tail}" if tail else head


def post(hook: Hook, body: bytes, stop: Stop) -> str | None:
    """Post the ids to the hook's URL; return None for a 2xx answer, else what went wrong. No redirect is followed.

    Raises Cut.
    """
    # Late: a daemon without such a hook has no use for it.
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415

    assert hook.url is not None
    parts = urlsplit(hook.url)
    until = time.monotonic() + hook.timeout_s
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=hook.timeout_s)
    try:
        connection.connect()
        with _clock(connection.sock, hook.timeout_s), stop.aborting(lambda: _abort(connection.sock)):
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        if stop.is_set:
            raise Cut from None
        if time.monotonic() >= until:
            return f"timed out after {hook.timeout_s:g} s"
        return f"{hook.url}: {type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if 200 <= status < 300 else f"{hook.url}: HTTP {status}"


@contextlib.contextmanager
def _clock(sock: socket.socket, limit_s: float) -> Iterator[None]:
    """Bound all of a call: a socket's own time-out begins anew with every byte that drips in."""
    timer = threading.Timer(limit_s, _abort, (sock,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _abort(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
