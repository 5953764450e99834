"""Limits on how much one token may ask: requests a second for an agent, bytes in memory for both.

It knows no request and no clock; `now_s` is any steady time. The rules that must stay true: what is taken from a
budget is given back exactly once; and new limits meet what is used already, so that no reload gives anything back.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from handoffd.hub.refusal import rate_limited


class Bucket:
    """A token bucket: `burst` requests at once, `rate` a second after that."""

    __slots__ = ("_at_s", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: int, now_s: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left = self._burst
        self._at_s = now_s

    def change(self, rate: float, burst: int) -> None:
        """Go on with other numbers; what is left stays, up to the new burst."""
        self._rate = rate
        self._burst = float(burst)

    def take(self, now_s: float) -> float:
        """Take one; return 0.0, or the seconds to wait when there is none."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._left < 1.0:
            return (1.0 - self._left) / self._rate
        self._left -= 1.0
        return 0.0


class Turnstile:
    """One bucket for each token of an agent, kept by the token's hash."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, Bucket] = {}

    def change(self, rate: float, burst: int) -> None:
        """Go on with other numbers, for all tokens."""
        self._rate = rate
        self._burst = burst
        for bucket in self._buckets.values():
            bucket.change(rate, burst)

    def pass_one(self, digest: str, now_s: float) -> None:
        """Let one request pass. Raises Refused when the token has used up its share."""
        bucket = self._buckets.get(digest)
        if bucket is None:
            bucket = self._buckets[digest] = Bucket(self._rate, self._burst, now_s)
        wait_s = bucket.take(now_s)
        if wait_s:
            raise rate_limited(wait_s, f"More than {self._rate:g} requests a second; at most {self._burst} at once.")


class Budget:
    """Bytes in memory for each party, an agent or a peer, up to a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used: defaultdict[str, int] = defaultdict(int)

    def change(self, limit_bytes: int) -> None:
        """Go on with another limit; what is held stays held, also above it."""
        self._limit = limit_bytes

    @contextmanager
    def hold(self, party: str, size: int) -> Iterator[None]:
        """Hold so many bytes for a while. Raises Refused when that is over the limit beside what is held."""
        # A lone request always passes, or a limit below one batch would shut the peer out for ever.
        if self._used[party] and self._used[party] + size > self._limit:
            raise rate_limited(1.0, f"More than {self._limit} bytes from you are being worked on.")
        self._used[party] += size
        try:
            yield
        finally:
            self._used[party] -= size
