"""What wakes a listener that waits: a signal to stop, an arrival, or the end of its patience.

It knows signals and one pipe. The rule that must stay true: a wake-up is only a hint; whoever is woken looks for
itself, and looks anyway every POLL_S.
"""

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

POLL_S = 0.2
"""Between looks when no hint comes: a look costs some 0.1 ms (0.05 % of a core), a caller's patience is 15 s."""
_PIPE_BYTES = 4096


class Wake:
    """A pipe that signals write into; one per process."""

    def __init__(self, on_stop: Callable[[], None] = lambda: None) -> None:
        """`on_stop` is called when a stop is asked for: it ends what this process waits for beside the pipe."""
        self.stopping = False
        self.on_stop = on_stop
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that is readable once something happened."""
        return self._reader

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reader)
        os.close(self._writer)

    def stop(self) -> None:
        """Ask for an orderly end, from any thread."""
        self.stopping = True
        self.on_stop()
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._writer, b"\0")

    def drain(self) -> None:
        """Forget what woke us."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._reader, _PIPE_BYTES)) == _PIPE_BYTES:
                pass

    def wait(self, timeout_s: float) -> None:
        """Return when something happened, or after timeout_s."""
        select.select([self._reader], [], [], timeout_s)
        self.drain()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Stop on SIGTERM, SIGINT and SIGHUP, wake on SIGIO, as long as the context lasts. Main thread only."""
        handlers = {signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop, signal.SIGIO: self._on_hint}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: it shall outlive its terminal
            handlers[signal.SIGHUP] = self._on_stop
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        # A handler alone could run just before select and be slept over; the pipe is written by the C handler.
        writer = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(writer)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def arrivals(self, directory: Path) -> Iterator[bool]:
        """Be sent SIGIO when a name appears in the directory; yields whether the kernel does that here.

        Must stand inside `signals`: an unhandled SIGIO ends the process.
        """
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield _is_told(fd)
        finally:
            os.close(fd)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        self.on_stop()

    def _on_hint(self, number: int, frame: FrameType | None) -> None:
        pass


def _is_told(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT)
    except OSError:
        return False
    return True
