"""Ctrl-C, and what ends a command from outside: put off where it must not cut a few lines in two, and alike elsewhere.

It owns the handlers while they run. The rule that must stay true: an interrupt is put off, never lost.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)
"""From a service manager, and from a terminal that was closed."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off SIGINT, SIGTERM and SIGHUP: KeyboardInterrupt is raised after the block instead.

    For writing small files and short requests, not for waiting.
    """
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDINGS)}
    heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt too, so that what was begun is taken back."""
    before = {number: signal.getsignal(number) for number in ENDINGS}
    heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
