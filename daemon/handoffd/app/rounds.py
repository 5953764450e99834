"""The rounds: what custody does unasked, on its own thread, by the clock and by the watch's hints; and the last act.

It owns the moment after which nothing is done unasked any more. It knows no handoff. The rules that must stay true: a
root whose directories were replaced is not walked again; and once the orderly stop has begun nothing is published or
taken, for the clean mark says that every unclaimed file is back.
"""

from collections.abc import Sequence
from typing import Final

from handoffd.custody import layout
from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.message import Seen
from handoffd.link.watch import WatchLost

WALKED: Final = (*layout.AGENTS_DIRECTORIES, *layout.RELAY_DIRECTORIES)
REST_TICKS: Final = 30
"""A root where nothing is open is walked on every thirtieth tick: an idle day has 86,400 ticks, each into cold caches.
On the others it is only asked whether a file has come that the watch did not tell of."""


class Rounds:
    """Walks a root. Every method is for the custody thread."""

    def __init__(self, engine: Engine, fs: LinuxFilesystem) -> None:
        self._engine, self._fs = engine, fs
        self._over = False
        self._rested = REST_TICKS
        self._changed_ns = self._empty_since_ns = 0

    def tick(self) -> bool:
        """Scan, observe, expire; True when files are left to be looked at. Raises WatchLost."""
        if self._over or self._may_rest():
            return False
        for name in WALKED:
            if self._fs.moved(name):
                raise WatchLost(
                    f"{self._fs.root / name} was replaced or removed while in use; put it back and start handoffd again"
                )
        return self._engine.tick([0.0])[0]

    def _may_rest(self) -> bool:
        self._rested += 1
        if self._rested < REST_TICKS and self._engine.is_at_rest and self._is_empty():
            return True
        self._rested = 0
        return False

    def _is_empty(self) -> bool:
        """Look into handoff/ only if it has changed: listing it is most of what a tick at rest costs.

        A stamp that stood still for a whole tick is older than the kernel's clock: whatever comes later gets another.
        """
        changed_ns = self._fs.changed_ns(layout.HANDOFF)
        if changed_ns == self._empty_since_ns:
            return True
        stood_still, self._changed_ns = changed_ns == self._changed_ns, changed_ns
        if self._fs.names(layout.HANDOFF):
            return False
        if stood_still:
            self._empty_since_ns = changed_ns
        return True

    def look(self, hints: Sequence[Seen]) -> list[bool]:
        """Follow hints, one answer each; True as in `tick`."""
        return [False] * len(hints) if self._over else self._engine.look(hints)

    def end(self) -> None:
        """Leave in order, for good. Raises OSError, FlushFailed: then the next start decides."""
        self._over = True
        self._engine.stop()
