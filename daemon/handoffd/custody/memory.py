"""What must be remembered of transfers long after they ended, in as few bytes as can be.

It owns the signed identities (S) and the outcomes that may be deleted. Both are bounded by the handoffs of their
time: about 40 bytes for an S, 70 for an outcome. The rule that must stay true: what is dropped here may only make a
later answer more cautious, never a second delivery.
"""

from array import array

from handoffd.protocol.name import TransferId
from handoffd.protocol.timing import HOUR_S, SIGNATURE_MEMORY_S

_FIRST_CELLS = 64
_FULLEST = 0.6
"""Above it linear probing gets slow."""


class _Table:
    """A hash table of 64-bit keys and values, 16 bytes a cell; Python's own takes 200 for the same."""

    def __init__(self) -> None:
        self._cells = array("Q", bytes(16 * _FIRST_CELLS))
        self.used = 0

    def get(self, key: int) -> int:
        """Return the value, 0 if there is none."""
        return self._cells[2 * self._find(key) + 1]

    def put(self, key: int, value: int) -> None:
        """Enter or replace."""
        if self.used + 1 > _FULLEST * len(self._cells) / 2:
            self._grow()
        at = 2 * self._find(key)
        self.used += not self._cells[at]
        self._cells[at], self._cells[at + 1] = key, value

    def _find(self, key: int) -> int:
        mask = len(self._cells) // 2 - 1
        at = key & mask
        while self._cells[2 * at] not in (0, key):
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        old = self._cells
        self._cells = array("Q", bytes(2 * 8 * len(old)))
        for at in range(0, len(old), 2):
            if old[at]:
                new = 2 * self._find(old[at])
                self._cells[new], self._cells[new + 1] = old[at], old[at + 1]


class Signatures:
    """S -> T until expires_at + SIGNATURE_MEMORY_S, 64 bits of each, one table for each hour of expiry.

    Two S that agree in 64 bits would get the second one refused as `variant`; by chance that needs 4 billion of them,
    and nobody gains by making it happen to payloads of his own.
    """

    def __init__(self) -> None:
        self._hours: dict[int, _Table] = {}

    def holder_differs(self, identity: str, tid: TransferId) -> bool:
        """Tell whether S is known with other bytes than T."""
        return self._held(_word(identity)) not in (0, _word(tid))

    def reserve(self, identity: str | None, tid: TransferId, expires_at: float) -> None:
        """Remember the first durable bytes of S."""
        if identity is not None and not self._held(_word(identity)):
            table = self._hours.setdefault(_hour(expires_at), _Table())
            table.put(_word(identity), _word(tid))

    def release(self, identity: str, tid: TransferId) -> None:
        """Take a reservation back: its bytes did not become durable."""
        for table in self._hours.values():
            if table.get(_word(identity)) == _word(tid):
                table.put(_word(identity), 0)

    def sweep(self, now: float) -> None:
        """Drop what has passed its time."""
        for hour in [hour for hour in self._hours if hour < _hour(now - HOUR_S - SIGNATURE_MEMORY_S)]:
            del self._hours[hour]

    def __len__(self) -> int:
        return sum(table.used for table in self._hours.values())

    def _held(self, key: int) -> int:
        for table in self._hours.values():
            value = table.get(key)
            if value:
                return value
        return 0


class Forgettable:
    """Transfers whose outcome may be deleted, by the hour from which on it may."""

    def __init__(self) -> None:
        self._hours: dict[int, bytearray] = {}
        self._noted: dict[int, _Table] = {}

    def add(self, tid: TransferId, at: float) -> None:
        """Note that the outcome of T may be deleted once the clock is past `at`, POSIX seconds; once is enough."""
        hour = _hour(at) + 1
        noted = self._noted.setdefault(hour, _Table())
        if not noted.get(_word(tid)):
            noted.put(_word(tid), 1)
            self._hours.setdefault(hour, bytearray()).extend(bytes.fromhex(tid))

    def take(self, now: float, limit: int) -> list[TransferId]:
        """Return up to `limit` whose time has come, and forget them here."""
        taken: list[TransferId] = []
        for hour in sorted(hour for hour in self._hours if hour <= _hour(now)):
            digests = self._hours[hour]
            while digests and len(taken) < limit:
                taken.append(TransferId(digests[-32:].hex()))
                del digests[-32:]
            if not digests:
                del self._hours[hour]
                self._noted.pop(hour, None)
        return taken

    def __len__(self) -> int:
        return sum(len(digests) for digests in self._hours.values()) // 32


def _word(digest: str) -> int:
    return int(digest[:16], 16) or 1


def _hour(moment: float) -> int:
    return int(moment // HOUR_S)
