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
from handoffd.protocol.timing import SWEEP_S, retry_delay_s

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
        self._failures = 0

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
            if self._gate.open:
                await self._try(debts)
            await self._pause(debts.next_s)

    async def _try(self, debts: Debts) -> None:
        """Pay, and after each failure in a row wait for longer: hello may be answered well, and opens the gate."""
        try:
            paid = await self._pay(debts, self._gate.epoch)
        except (NotSent, NoAnswer):
            self._gate.suspect()
            paid = False
        self._failures = 0 if paid else self._failures + 1
        await asyncio.sleep(retry_delay_s(self._failures, self._ties.chance()))

    async def _pause(self, next_s: float) -> None:
        await asyncio.sleep(PAUSE_LEAST_S)
        next_s = min(next_s, self._sweep_at - self._loop.time())
        try:
            async with asyncio.timeout(max(next_s - PAUSE_LEAST_S, 0.0)):
                await self._owed.wait()
        except TimeoutError:
            return

    async def _pay(self, debts: Debts, epoch: str) -> bool:
        """Pay one after the other; tell whether all was taken. Raises NotSent, NoAnswer; what is left is owed again."""
        taken = True
        for tid in debts.fetch:
            self._fetcher.want(tid)
        for tids in groups(debts.revoke):
            taken &= await self._take(await self._client.revoke(tids, epoch), epoch)
        for tids in groups(debts.forget):
            taken &= await self._forget(tids, epoch)
        if self._sweep_at <= self._loop.time():
            taken &= await self._sweep(debts, epoch)
        return taken

    async def _sweep(self, debts: Debts, epoch: str) -> bool:
        self._sweep_at = self._loop.time() + SWEEP_S
        usable = True
        for known in pages(debts.known):
            page = self.follower.page(await self._client.states(known, None, 0.0, epoch), epoch, hung=False)
            if page is None:
                return False
            await self.follower.take(page.records)
            usable = usable and not page.records.refused
            if lost := tuple(tid for tid in known if tid in page.lost):
                await self._ties.ask(self._ties.engine.lost, Batch(self._ties.peer, lost))
        if usable:
            self.follower.hearing.swept()
        return True

    async def _forget(self, tids: tuple[TransferId, ...], epoch: str) -> bool:
        reply = await self._client.forget(tids, epoch)
        self._gate.hear(reply)
        if not self._gate.is_own(reply, epoch):
            return False
        await self._ties.ask(self._ties.engine.forgotten, Batch(self._ties.peer, tids))
        return True

    async def _take(self, reply: Reply, epoch: str) -> bool:
        self._gate.hear(reply)
        if not self._gate.is_own(reply, epoch):
            return False
        try:
            records = read_records(reply.body)
        except BadAnswer as error:
            self.follower.hearing.failed(str(error))
            return False
        await self.follower.take(records)
        return True
