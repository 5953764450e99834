"""A terminal that is drawn upon: cursor hidden, keys not echoed, and all of it put right again, however it ends.

It owns the terminal's modes and the signals meanwhile. It knows nothing of what is drawn. The rule that must stay
true: whoever gets the terminal next (the shell after Ctrl-C, SIGTERM, SIGHUP, Ctrl-Z or an error) finds it as it was.
"""

import contextlib
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from handoffd.cli.frame import CLEAR, HIDE, SHOW

QUIT = b"q"
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOCAL_FLAGS = 3
"""Where tcgetattr keeps ECHO and ICANON."""


class Ended(BaseException):
    """A signal that ends the drawing came; not for anybody's `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Terminal:
    """The terminal on standard output, drawn upon within `drawing`."""

    def __init__(self) -> None:
        self._out = sys.stdout.fileno()
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._modes: list[Any] | None = None
        self._resized = False
        self.fresh = True
        """Whether nothing of ours stands above the cursor: at first, and after others had the terminal."""

    def size(self) -> tuple[int, int]:
        """Return columns and rows, at this moment."""
        found = os.get_terminal_size(self._out)
        return found.columns, found.lines

    def draw(self, frame: str) -> None:
        """Draw a frame, in one go, so that no half of it is seen."""
        # Nobody can tell where a terminal of a new size put our rows, so there it begins with an empty one.
        lead = CLEAR if self._resized else ""
        self.fresh = self._resized = False
        self._write(lead + frame)

    def _write(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._out, data) :]

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Take the terminal for the block. Raises Ended within it."""
        wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = {number: signal.signal(number, _end) for number in _ENDS}
        before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resize)
        woken = signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        self._wake = wake_in
        try:
            self._take()
            yield
        finally:
            for number in _ENDS:
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave it half put right
            self._give()
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake_in)
            os.close(wake_out)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the window was resized; tell whether to go on: False when `q` was pressed."""
        watched = [self._wake] if self._keys is None else [self._wake, self._keys]
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            ready, _, _ = select.select(watched, [], [], left_s)
            if self._keys in ready:
                pressed = os.read(self._keys, 64)
                if QUIT in pressed:
                    return False
                if not pressed:
                    watched.remove(self._keys)
            if self._wake in ready:
                os.read(self._wake, 64)
                return True
        return True

    # ------------------------------------------------------------ taking and giving

    def _take(self) -> None:
        if self._keys is not None:
            self._modes = termios.tcgetattr(self._keys)
            quiet = termios.tcgetattr(self._keys)
            quiet[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)
            termios.tcsetattr(self._keys, termios.TCSADRAIN, quiet)
        self._write(HIDE)
        self.fresh = True

    def _give(self) -> None:
        with contextlib.suppress(OSError, termios.error):  # a terminal that is gone needs nothing
            self._write(("" if self.fresh else "\r\n") + SHOW)
            if self._keys is not None and self._modes is not None:
                # What was typed meanwhile was not for the shell.
                termios.tcsetattr(self._keys, termios.TCSAFLUSH, self._modes)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: give the terminal back, stop, and take it again in the foreground."""
        self._give()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self._take()

    def _resize(self, number: int, frame: FrameType | None) -> None:
        self.fresh = self._resized = True


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def end_by(number: int) -> None:
    """End this process by a signal, as whoever waits for it expects; Ctrl-C is an ordinary end and returns."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
