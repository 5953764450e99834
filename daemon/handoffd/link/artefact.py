"""Bringing final artefacts home: until the peer answers, a few at a time (docs/custody.md section 5, a14).

It knows transfers by T alone and checks no hash: custody does. The rule that must stay true: each T asked for is
landed exactly once, with its bytes or with the news that they are not to be had.
"""

import asyncio
from typing import Final

from handoffd.custody.message import Landing
from handoffd.link.client import PeerClient, Reply
from handoffd.link.gate import Gate
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.ties import Ties
from handoffd.protocol.name import TransferId
from handoffd.protocol.timing import retry_delay_s

FETCHERS: Final = 4
"""At a time: over a round trip of 100 ms one alone would bring ten a second."""
PATIENCE_S: Final = 600.0
"""How long broken exchanges are repeated; time in which the link is known to be down does not count."""
_FOUND, _NOT_THERE, _COMING = 200, 404, 503
"""The last: of a peer that has not got the artefact from the next host yet, which is no trouble of this link."""


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
        spent_s, tries = 0.0, 0
        while spent_s <= PATIENCE_S:
            await self._gate.wait_open()
            began_s, epoch = self._loop.time(), self._gate.epoch
            try:
                reply = await self._client.artefact(tid, epoch)
            except NotSent:
                self._gate.suspect()  # no try was made: again when the gate opens
                continue
            except NoAnswer:
                # The peer or the way to it is gone, which says nothing of the artefact: it is worth waiting for.
                self._gate.suspect()
            else:
                if reply.status == _FOUND or _is_none(reply, epoch):
                    return reply.data if reply.status == _FOUND else None
                if reply.status != _COMING:
                    self._gate.hear(reply)
            tries += 1
            await asyncio.sleep(retry_delay_s(tries, self._ties.chance()))
            spent_s += self._loop.time() - began_s
        return None


def _is_none(reply: Reply, epoch: str) -> bool:
    """Tell whether the peer itself said, in its tree that was asked, that there is no such artefact.

    What a proxy writes does not, nor a peer that does not know our token for a while.
    """
    return reply.status == _NOT_THERE and reply.body is not None and reply.body.get("epoch") == epoch
