"""When the gate asks /hello next: not too often, sooner for a reason, not while the peer wants to be left alone.

It owns one point in time on the loop's clock and knows no reason. The rule that must stay true: two probes are never
closer than PROBE_GAP_S, and none is made during a hold, however much anybody hurries.
"""

import asyncio
from typing import Final

from handoffd.protocol.timing import RETRY_DELAYS_S

PROBE_GAP_S: Final = RETRY_DELAYS_S[0]
"""Probes are at least this far apart, however many offers arrive and answers fail."""
_PROBING: Final = float("inf")


class Pace:
    """The time of the next probe. `probing` and `rest` are for the one who probes, the others for everybody."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._earliest = self._loop.time()
        self._next = _PROBING
        self._hold_until = float("-inf")
        self._wake = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether the peer wants to be left alone now."""
        return self._loop.time() < self._hold_until

    def hurry(self) -> None:
        """Probe as soon as the gap allows; during a probe, again after it."""
        self._by(self._loop.time())

    def nudge(self) -> None:
        """Probe as soon as the gap allows, unless that is what happens anyway."""
        if PROBE_GAP_S < self._next - self._loop.time() < _PROBING:
            self.hurry()

    def hold(self, wait_s: float) -> None:
        """Leave the peer alone for so long, then probe."""
        self._hold_until = max(self._hold_until, self._loop.time() + max(wait_s, PROBE_GAP_S))
        self._next = self._hold_until
        self._wake.set()

    def probing(self) -> None:
        """A probe begins: what hurries from now on wants the next one."""
        self._next = _PROBING

    async def rest(self, delay_s: float) -> None:
        """Wait for the time of the next probe: after `delay_s`, or earlier if somebody hurries."""
        self._earliest = self._loop.time() + PROBE_GAP_S
        self._next = max(self._next, self._earliest, self._hold_until)
        self._by(self._loop.time() + delay_s)
        while (left_s := self._next - self._loop.time()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _by(self, moment_s: float) -> None:
        self._next = min(self._next, max(moment_s, self._earliest, self._hold_until))
        self._wake.set()
