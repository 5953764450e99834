"""Objects over a socket, between a test and the process it torments.

Nothing here is a mutating call (`write` would be one): sockets are read and written by recv and send.
"""

import contextlib
import pickle
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handoffd.custody.tree import Settings


@dataclass(frozen=True)
class Opening:
    """What an engine is opened with. `stamps`: which time of the test a time of the kernel stands for."""

    root: Path
    settings: Settings
    stamps: dict[int, int]


@dataclass(frozen=True)
class Asked:
    """A call of one of the engine's methods, and what the test's clocks show."""

    method: str
    arguments: tuple[Any, ...]
    wall_s: float
    boot_s: float


@dataclass(frozen=True)
class Told:
    """What it returned or raised, and what has happened to the disk and in the journal since the answer before."""

    result: Any
    error: Exception | None
    epoch: str
    changes: int
    trace: list[str] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    stamps: dict[int, int] = field(default_factory=dict)


class Channel:
    """One end. `receive` returns None when the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._in, self._out = end.makefile("rb"), end.makefile("wb")

    def send(self, message: object) -> None:
        """Raises OSError when the other end is gone."""
        pickle.dump(message, self._out)
        self._out.flush()

    def receive(self) -> Any:
        try:
            return pickle.load(self._in)
        except (EOFError, ConnectionResetError):
            return None

    def close(self) -> None:
        for one in (self._in, self._out, self._end):
            with contextlib.suppress(BrokenPipeError):
                one.close()
