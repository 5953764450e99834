"""Bringing final artefacts home: until the peer answers, a few at a time (docs/custody.md section 5, a14).

It knows transfers by T alone and checks no hash: custody does. The rule that must stay true: each T asked for is
landed exactly once, with its bytes or with the news that they are not to be had.
"""

import asyncio
from typing import Final

from handoffd.custody.message import Landing
from handoffd.link.client import PeerClient
from handoffd.link.gate import BUSY, Gate
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.ties import Ties
from handoffd.protocol.name import TransferId
from handoffd.protocol.timing import retry_delay_s

FETCHERS: Final = 4
"""At a time: over a round trip of 100 ms one alone would bring ten a second."""
PATIENCE_S: Final = 600.0
"""How long broken exchanges are repeated; time in which the link is known to be down does not count as a try."""
_FOUND: Final = 200
_BROKEN: Final = 500
"""From here on an answer is that of a proxy, or of a peer that has not got the artefact from the next host yet."""


class Fetcher:
    """Fetches what is wanted, in order."""

    def __init__(self, ties: Ties, client: PeerClient, gate: Gate) -> None:
        self._ties, self._client, self._gate = ties, client, gate
        self._wanted: asyncio.Queue[TransferId] = asyncio.Queue()
        self._known: set[TransferId] = set()
        self._loop = asyncio.get_running_loop()

    def want(self, tid: TransferId) -> None:
        """Fetch the artefact of this transfer, unless that is under way."""
        if tid not in self._known:
            self._known.add(tid)
            self._wanted.put_nowait(tid)

    async def run(self) -> None:
        """Fetch for as long as the link lives."""
        async with asyncio.TaskGroup() as group:
            for _ in range(FETCHERS):
                group.create_task(self._fetch_all())

    async def _fetch_all(self) -> None:
        while True:
            tid = await self._wanted.get()
            data = await self._fetch(tid)
            await self._ties.ask(self._ties.engine.land, Landing(tid, data))
            self._known.discard(tid)

    async def _fetch(self, tid: TransferId) -> bytes | None:
        give_up_at, tries = self._loop.time() + PATIENCE_S, 0
        while True:
            await self._gate.wait_open()
            try:
                reply = await self._client.artefact(tid, self._gate.epoch)
            except NotSent:
                self._gate.suspect()  # no try was made: again when the gate opens
            except NoAnswer:
                # The peer or the way to it is gone, which says nothing of the artefact: it is worth waiting for.
                self._gate.suspect()
                if self._loop.time() > give_up_at:
                    return None
            else:
                if not (reply.status >= _BROKEN or reply.status in BUSY) or self._loop.time() > give_up_at:
                    return reply.data if reply.status == _FOUND else None
                tries += 1
                await asyncio.sleep(retry_delay_s(tries, self._ties.chance()))
