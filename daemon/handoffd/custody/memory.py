"""What must be remembered of transfers long after they ended, in as few bytes as can be.

It owns the signed identities (S) and which outcomes may be deleted. Both are bounded by the handoffs of their time:
about 26 bytes for an S, 13 for an outcome. The rule that must stay true: what is dropped here may only make a later
answer more cautious, never a second delivery.
"""

from array import array
from hashlib import blake2b

from handoffd.protocol.name import TransferId
from handoffd.protocol.timing import HOUR_S, SIGNATURE_MEMORY_S

_WORD_BYTES = 8
_FIRST_CELLS = 64
_FULLEST = 0.75
"""Above it linear probing gets slow."""


class _Words:
    """A hash set of 64-bit words other than 0, 8 bytes a cell; Python's own takes 100 for the same."""

    def __init__(self) -> None:
        self._cells = _zeros(_FIRST_CELLS)
        self.used = 0

    def __contains__(self, word: int) -> bool:
        return self._cells[self._find(word)] == word

    def add(self, word: int) -> None:
        """Enter; once is enough."""
        if self.used + 1 > _FULLEST * len(self._cells):
            self._grow()
        at = self._find(word)
        self.used += not self._cells[at]
        self._cells[at] = word

    def _find(self, word: int) -> int:
        cells = self._cells
        at = word % len(cells)
        while cells[at] not in (0, word):
            at = (at + 1) % len(cells)
        return at

    def _grow(self) -> None:
        """By half: what is doubled is half empty."""
        old = self._cells
        self._cells = _zeros(len(old) * 3 // 2)
        for word in old:
            if word:
                self._cells[self._find(word)] = word


class _Table(_Words):
    """Such a set with a 64-bit value to each word, 0 where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._values = _zeros(_FIRST_CELLS)

    def get(self, key: int) -> int:
        """Return the value, 0 if there is none."""
        return self._values[self._find(key)]

    def put(self, key: int, value: int) -> None:
        """Enter or replace."""
        self.add(key)
        self._values[self._find(key)] = value

    def _grow(self) -> None:
        keys, values = self._cells, self._values
        super()._grow()
        self._values = _zeros(len(self._cells))
        for key, value in zip(keys, values, strict=True):
            if key:
                self._values[self._find(key)] = value


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
    """Transfers whose outcome may be deleted, by the hour from which on it may: 64 bits of each, no name.

    Whoever lists the outcomes asks for each whether it is due; what was due then is forgotten when all were asked.
    One that is not noted but agrees with one that is would go in the other's time: late bytes of it could be let in
    again. So the bits are a hash of T under a key that no other process knows: nobody can look for such a T, be it for
    a payload of his own or of others, and by chance there is one among 100,000 noted and 1,000,000 outcomes once in
    180 million times.
    """

    def __init__(self, key: str) -> None:
        """`key`: at most 64 characters that cannot be guessed."""
        self._key = key.encode()
        self._hours: dict[int, _Words] = {}
        self._asked_until = 0

    def add(self, tid: TransferId, at: float) -> None:
        """Note that the outcome of T may be deleted once the clock is past `at`, POSIX seconds; once is enough."""
        # Not among those that are being asked for: its name may have had its turn already.
        hour = max(_hour(at), self._asked_until) + 1
        self._hours.setdefault(hour, _Words()).add(self._word(tid))

    def begin(self, now: float) -> None:
        """Fix what is due: what may be deleted now."""
        self._asked_until = _hour(now)

    def is_due(self, tid: str) -> bool:
        """Tell whether the outcome of T was due at the beginning."""
        word = self._word(tid)
        return any(word in words for hour, words in self._hours.items() if hour <= self._asked_until)

    def end(self) -> None:
        """Forget what was due: it was asked for each outcome."""
        for hour in [hour for hour in self._hours if hour <= self._asked_until]:
            del self._hours[hour]

    def __len__(self) -> int:
        return sum(words.used for words in self._hours.values())

    def _word(self, tid: str) -> int:
        return int.from_bytes(blake2b(tid.encode(), digest_size=_WORD_BYTES, key=self._key).digest()) or 1


def _zeros(cells: int) -> "array[int]":
    return array("Q", bytes(_WORD_BYTES * cells))


def _word(digest: str) -> int:
    return int(digest[:16], 16) or 1


def _hour(moment: float) -> int:
    return int(moment // HOUR_S)
