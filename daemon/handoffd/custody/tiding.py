"""What a peer we dial is still to be told: each T that came from it, until it said that it may be forgotten.

It owns the order of changes. Nothing is dropped from it but by a forget or a deleted outcome: a telling of all that
lacks a T means to the peer that this host has lost it (docs/custody.md section 11.2).
"""

from collections import OrderedDict
from itertools import islice

from handoffd.protocol.name import TransferId


class Unforgotten:
    """One peer's, oldest change first; numbers count changes and start at 1."""

    def __init__(self) -> None:
        self._last = 0
        self._numbers: OrderedDict[TransferId, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._numbers)

    def note(self, tid: TransferId) -> None:
        """Put T last."""
        self._last += 1
        self._numbers.pop(tid, None)
        self._numbers[tid] = self._last

    def drop(self, tid: TransferId) -> None:
        """Forget T."""
        self._numbers.pop(tid, None)

    def since(self, number: int, limit: int) -> tuple[list[TransferId], int, bool]:
        """Return at most `limit` T changed after `number`, the number to go on from, and whether there are more."""
        found = list(islice(self._after(number), limit + 1))
        more = len(found) > limit
        page = found[:limit]
        return [tid for tid, _ in page], page[-1][1] if more else self._last, more

    def _after(self, number: int) -> "list[tuple[TransferId, int]]":
        newest: list[tuple[TransferId, int]] = []
        for tid in reversed(self._numbers):
            if self._numbers[tid] <= number:
                break
            newest.append((tid, self._numbers[tid]))
        newest.reverse()
        return newest
