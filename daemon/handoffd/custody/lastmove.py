"""Last moves: what remains to be done with the files of a handoff that has its outcome (R5), now or on a later tick.

It owns those that the disk refused and knows no directory. The rule that must stay true: a disk that refuses them holds
nothing else up; they are tried on every tick, and every start repeats them too.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from handoffd.custody.ledger import Receipt, Sending
from handoffd.custody.tree import Tree
from handoffd.protocol.name import TransferId
from handoffd.protocol.record import Record

Part = TypeVar("Part", Sending, Receipt)


class LastMoves(Generic[Part]):
    """Makes the moves of one role; `move` raises OSError if the disk refuses, and may be repeated."""

    def __init__(self, tree: Tree, move: Callable[[Part, Record], None]) -> None:
        self._tree = tree
        self._move: Callable[[Part, Record], None] = move
        self._left: dict[TransferId, tuple[Part, Record]] = {}

    @property
    def waits(self) -> bool:
        """Whether some wait for the disk."""
        return bool(self._left)

    def make(self, part: Part, record: Record) -> bool:
        """Make them, or keep them for later: then False."""
        try:
            self._move(part, record)
        except OSError as error:
            self.keep(part, record, error)
            return False
        return True

    def keep(self, part: Part, record: Record, error: OSError) -> None:
        """Have them made later, because of this."""
        self._left[part.tid] = (part, record)
        detail = f"ended; its files wait for the disk: {error.strerror}"
        self._tree.note_edge("parked", part.facts, role=part.role, peer=part.peer, detail=detail)

    def repeat(self) -> None:
        """Try again what was kept."""
        for part, record in list(self._left.values()):
            with suppress(OSError):
                self._move(part, record)
                del self._left[part.tid]
