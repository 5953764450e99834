"""What binds one link to its daemon: the peer's name, custody, two clocks, chance, and where events go.

It decides nothing. The rule that must stay true: an attempt handed to `settle` reaches the custody thread even if
the link ends the next moment.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from handoffd.custody.message import Attempt, Mirror, Offer, Settlement
from handoffd.link.port import Desk, Engine, Item, Result
from handoffd.protocol.name import HostName
from handoffd.protocol.record import Record


class Tell(Protocol):
    """Takes an event of the link for the journal: a word and its fields."""

    def __call__(self, word: str, /, **fields: object) -> None:
        """Take one event; it must not block."""


@dataclass(frozen=True, slots=True)
class Ties:
    """`wall_s` returns POSIX seconds, `chance` a number in [0, 1) for jitter."""

    peer: HostName
    desk: Desk
    engine: Engine
    wall_s: Callable[[], float]
    chance: Callable[[], float]
    tell: Tell

    async def ask(self, method: Callable[[list[Item]], list[Result]], item: Item) -> Result:
        """Ask the engine one thing and wait for the answer."""
        # Shielded: what the custody thread has begun is not undone by a link that ends.
        return await asyncio.shield(asyncio.wrap_future(self.desk.submit(method, item)))

    async def mirror(self, records: Iterable[Record], offset_ms: int | None) -> list[Record]:
        """Hand over the peer's records; return those whose artefact should be fetched."""
        mirrors = [Mirror(self.peer, record, offset_ms) for record in records]
        if not mirrors:
            return []
        answers = await asyncio.shield(asyncio.wrap_future(self.desk.submit_many(self.engine.mirror, mirrors)))
        return [record for record in answers if record is not None]

    def settle(self, settlements: list[Settlement]) -> None:
        """Hand over how attempts ended. Nothing waits for it; the desk reports its own death."""
        if settlements:
            self.desk.submit_many(self.engine.settle, settlements)

    def give_back(self, offers: Iterable[Offer], detail: str, attempt: Attempt = Attempt.NOT_SENT) -> None:
        """Settle offers that came to nothing, all in the same way."""
        self.settle([Settlement(offer.peer, offer.tid, attempt, detail=detail) for offer in offers])
