"""A clock for what waits for a command: its time is over as soon as the command is where the test wants it."""

import time
from pathlib import Path

FAR_S = 1e6


class Leap:
    """Stands for the module `time`: once `ready` exists it is FAR_S later. The first reading is always of now.

    Who reads the clock has to be woken: the command says something on its standard error when it is ready.
    """

    def __init__(self, ready: Path) -> None:
        self._ready = ready
        self._is_read = False

    def monotonic(self) -> float:
        far_s = FAR_S if self._is_read and self._ready.exists() else 0.0
        self._is_read = True
        return time.monotonic() + far_s
