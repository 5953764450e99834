"""A request begun ahead of its payload: its head has left while custody still flushes, the body follows or never does.

It owns one beginning. It knows neither queue nor gate. The rule that must stay true: the body that follows is the one
it was begun for, under the same epoch; and no byte of it leaves before custody has offered it (I4).
"""

import asyncio
from typing import Final

from handoffd.custody.message import Offer
from handoffd.link.lane import Opening
from handoffd.protocol.name import TransferId

AHEAD_S: Final = 2.0
"""A flush takes milliseconds. A file that another claimed meanwhile is never offered, and the peer waits 10 s at the
most for the body of what was begun."""


class Ahead:
    """What was begun for T under an epoch. `offer` is the payload that was sent on, once it was."""

    def __init__(self, tid: TransferId, epoch: str, opening: Opening) -> None:
        self.opening = opening
        self.offer: Offer | None = None
        self._tid, self._epoch = tid, epoch
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, offer: Offer, epoch: str) -> bool:
        """Send the payload on at once if this was begun for it and the peer is still there; else give up."""
        fits = (
            not self._over.done()
            and (offer.tid, offer.path, epoch) == (self._tid, (), self._epoch)
            and self.opening.alive
        )
        if fits:
            self.opening.send(offer.data)
            self.offer = offer
        self.give_up()
        return fits

    def give_up(self) -> None:
        """Wait for the payload no longer."""
        if not self._over.done():
            self._over.set_result(None)

    async def wait(self) -> None:
        """Wait until it was sent or given up, AHEAD_S at the most."""
        timer = asyncio.get_running_loop().call_later(AHEAD_S, self.give_up)
        try:
            await self._over
        finally:
            timer.cancel()
