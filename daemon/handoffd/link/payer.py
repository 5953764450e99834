"""Paying what we owe a peer: revokes, forgets, artefacts, and the full sweep of states (custody.md sections 5, 7, 12).

It owns the rhythm and no transfer: what is owed stands in custody. The rule that must stay true: a forget is noted
only after the peer confirmed it under the epoch that was asked.
"""

import asyncio
from typing import Final

from handoffd.custody.message import Batch, Debts
from handoffd.link.artefact import Fetcher
from handoffd.link.client import PeerClient, Reply
from handoffd.link.follower import Follower
from handoffd.link.gate import Gate
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.sender import Sender
from handoffd.link.ties import Ties
from handoffd.link.wire import BadAnswer, groups, pages, read_records
from handoffd.protocol.name import TransferId
from handoffd.protocol.timing import SWEEP_S

PAUSE_LEAST_S: Final = 0.05
"""Custody is asked at most this often, whatever it says of the next debt and however much news arrives."""


class Payer:
    """Asks custody what is owed, at its word and on news, and pays."""

    def __init__(self, ties: Ties, client: PeerClient, gate: Gate, sender: Sender, fetcher: Fetcher) -> None:
        self.follower = Follower(ties, client, gate, fetcher, self.sweep)
        self._ties, self._client, self._gate = ties, client, gate
        self._sender, self._fetcher = sender, fetcher
        self._owed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._sweep_at = self._loop.time() + SWEEP_S

    def owed(self) -> None:
        """Look soon: custody has news for this link."""
        self._owed.set()

    def sweep(self) -> None:
        """Compare all that is open with the peer soon."""
        self._sweep_at = self._loop.time()
        self._owed.set()

    async def run(self) -> None:
        """Pay for as long as the link lives."""
        while True:
            await self._gate.wait_open()
            self._owed.clear()
            self._sender.want_backlog()
            debts = await self._ties.ask(self._ties.engine.debts, self._ties.peer)
            try:
                if self._gate.open:
                    await self._pay(debts, self._gate.epoch)
            except (NotSent, NoAnswer):
                self._gate.suspect()
            await self._pause(debts.next_s)

    async def _pause(self, next_s: float) -> None:
        await asyncio.sleep(PAUSE_LEAST_S)
        next_s = min(next_s, self._sweep_at - self._loop.time())
        try:
            async with asyncio.timeout(max(next_s - PAUSE_LEAST_S, 0.0)):
                await self._owed.wait()
        except TimeoutError:
            return

    async def _pay(self, debts: Debts, epoch: str) -> None:
        """Pay one after the other. Raises NotSent, NoAnswer; what is left is owed again later."""
        for tid in debts.fetch:
            self._fetcher.want(tid)
        for tids in groups(debts.revoke):
            await self._take(await self._client.revoke(tids, epoch), epoch)
        for tids in groups(debts.forget):
            await self._forget(tids, epoch)
        if self._sweep_at <= self._loop.time():
            await self._sweep(debts, epoch)

    async def _sweep(self, debts: Debts, epoch: str) -> None:
        self._sweep_at = self._loop.time() + SWEEP_S
        usable = True
        for known in pages(debts.known):
            page = self.follower.page(await self._client.states(known, None, 0.0, epoch), epoch, hung=False)
            if page is None:
                return
            await self.follower.take(page.records)
            usable = usable and not page.records.refused
            if lost := tuple(tid for tid in known if tid in page.lost):
                await self._ties.ask(self._ties.engine.lost, Batch(self._ties.peer, lost))
        if usable:
            self.follower.hearing.swept()

    async def _forget(self, tids: tuple[TransferId, ...], epoch: str) -> None:
        reply = await self._client.forget(tids, epoch)
        self._gate.hear(reply)
        if self._gate.is_own(reply, epoch):
            await self._ties.ask(self._ties.engine.forgotten, Batch(self._ties.peer, tids))

    async def _take(self, reply: Reply, epoch: str) -> None:
        self._gate.hear(reply)
        if not self._gate.is_own(reply, epoch):
            return
        try:
            records = read_records(reply.body)
        except BadAnswer as error:
            self.follower.hearing.failed(str(error))
        else:
            await self.follower.take(records)
