"""Following what became of our transfers at the peer: the hanging states poll (custody.md section 5, a11).

It owns the cursor into the peer's changes. It does not know what is open here: the full sweep is the payer's. The
rule that must stay true: a cursor is used only in the opening of the gate it was got in, and a sweep follows
whenever there may have been changes before it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from handoffd.link.answer import said
from handoffd.link.artefact import Fetcher
from handoffd.link.client import PeerClient, Reply
from handoffd.link.gate import Gate
from handoffd.link.hearing import Hearing
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.ties import Ties
from handoffd.link.wire import BadAnswer, Records, StatesPage, read_states
from handoffd.protocol.timing import STATES_WAIT_S

POLL_GAP_S: Final = 0.05
"""Polls start at least this far apart: a flood of changes comes in twenty groups a second, a lone one at once."""
EMPTY_GAP_S: Final = 1.0
"""After an answer without use: a peer that does not hang, or writes what we cannot read, must not make us spin."""


class Follower:
    """Polls while the gate is open. `sweep` asks for a full sweep."""

    def __init__(self, ties: Ties, client: PeerClient, gate: Gate, fetcher: Fetcher, sweep: Callable[[], None]) -> None:
        self.hearing = Hearing(ties)
        self._ties, self._client, self._gate, self._fetcher, self._sweep = ties, client, gate, fetcher, sweep
        self._cursor: str | None = None
        self._generation = 0
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Follow for as long as the link lives."""
        while True:
            await self._gate.wait_open()
            if self._generation != self._gate.generation:
                self._generation, self._cursor = self._gate.generation, None
            asked_s = self._loop.time()
            useful = await self._poll()
            pause_s = POLL_GAP_S if useful else EMPTY_GAP_S
            await asyncio.sleep(max(0.0, asked_s + pause_s - self._loop.time()))

    async def take(self, records: Records) -> None:
        """Hand records to custody and fetch the artefacts it wants."""
        if records.refused:
            self.hearing.refused(records.refused[-1])
        for record in await self._ties.mirror(records.good, self._gate.offset.offset_ms()):
            self._fetcher.want(record.tid)

    async def _poll(self) -> bool:
        """Ask once; tell whether the answer was of use, which includes having hung as asked."""
        epoch, wait_s = self._gate.epoch, STATES_WAIT_S if self._cursor is not None else 0.0
        try:
            async with self._gate.while_open():
                reply = await self._client.states({}, self._cursor, wait_s, epoch)
        except TimeoutError:
            return True  # the gate shut under the poll; the next one waits for it
        except (NotSent, NoAnswer) as error:
            self._gate.suspect()
            self.hearing.failed(str(error))
            return True
        return await self._read(reply, epoch)

    async def _read(self, reply: Reply, epoch: str) -> bool:
        page = self.page(reply, epoch, hung=True)
        if page is None:
            return False
        if self._cursor is None or page.reset:
            self._sweep()
        first, self._cursor = self._cursor is None, page.cursor
        await self.take(page.records)
        return bool(page.records.good) or first or reply.round_trip_s > EMPTY_GAP_S

    def page(self, reply: Reply, epoch: str, *, hung: bool) -> StatesPage | None:
        """Return what an answer to states says, or None if it is not the peer's under this epoch."""
        self._gate.hear(reply, hung=hung)
        if not self._gate.is_own(reply, epoch):
            self.hearing.failed(f"/states was answered with {reply.status} {said(reply.body)}".rstrip())
            return None
        try:
            page = read_states(reply.body)
        except BadAnswer as error:
            self.hearing.failed(str(error))
            return None
        self.hearing.heard()
        return page
