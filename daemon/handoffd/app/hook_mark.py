"""Which handoffs have been hooked: one empty file each in `relay/hooked/`, as long as nobody has claimed them.

It knows names, not hooks. The rules that must stay true: a mark is made only after the hook has run, so a crash between
the two means once more, never not at all; and marks are no more than the handoffs that wait, and a few.
"""

import os
from pathlib import Path

from handoffd.custody.layout import HANDOFF, RELAY

SWEEP_EVERY = 256
"""Marks made between two looks for those whose handoff has gone."""


class Marks:
    """The marks of one root. Not flushed: after a power cut what was published is not believed anyway."""

    def __init__(self, root: Path) -> None:
        self._handoff = root / HANDOFF
        self._place = root / RELAY / "hooked"
        self._made = 0

    def is_marked(self, key: str) -> bool:
        """Tell whether this one has been hooked."""
        return (self._place / key).exists()

    def mark(self, key: str) -> None:
        """Note that it has been hooked, if it still waits. Raises OSError."""
        if not (self._handoff / _name(key)).exists():
            return  # claimed or ended: no start can find it again
        self._place.mkdir(mode=0o700, exist_ok=True)
        (self._place / key).touch(mode=0o600)
        self._made += 1
        if self._made % SWEEP_EVERY == 0:
            self.sweep()

    def sweep(self) -> None:
        """Remove the marks of what waits no more."""
        try:
            keys = os.listdir(self._place)
        except FileNotFoundError:
            return
        waiting = set(os.listdir(self._handoff))
        for key in keys:
            if _name(key) not in waiting:
                (self._place / key).unlink(missing_ok=True)


def key_of(name: str, written_ns: int | None) -> str:
    """Return the mark's name: a published name is unique; an agent's own comes again, with another time."""
    return name if written_ns is None else f"{name}~{written_ns}"


def _name(key: str) -> str:
    return key.partition("~")[0]
