"""Borrowing: leases of what a peer has for us, a few at a time (docs/custody.md section 11.3).

It owns the requests under way and what waits for one. What becomes of the payloads, custody says. The rules that must
stay true: no more than LEASES are under way, whoever heard of more; and after a setback it pauses.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from handoffd.custody.message import Arrival, Batch, Principal
from handoffd.link.answer import said
from handoffd.link.client import PeerClient
from handoffd.link.gate import Gate
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.portion import Portion
from handoffd.link.ties import Ties
from handoffd.link.wire import BadAnswer, Lent, read_parcels
from handoffd.protocol.name import TransferId
from handoffd.protocol.record import Record
from handoffd.protocol.timing import retry_delay_s

LEASES: Final = 4
"""Requests for payloads under way at once: enough to fill a link while this host flushes the ones before."""


_ELSEWHERE: Final = "another home of its agent was first to lease it"


class Borrower:
    """Leases. `tell` takes ends that stand in no file, to be told as they are."""

    def __init__(
        self,
        ties: Ties,
        client: PeerClient,
        gate: Gate,
        principal: Principal,
        tell: Callable[[Iterable[Record]], None],
    ) -> None:
        self._ties, self._client, self._gate, self._principal, self._tell = ties, client, gate, principal, tell
        self._group = asyncio.TaskGroup()
        self._running = False
        self._under_way = 0
        self._room = asyncio.Event()
        self._room.set()
        self._wanted: dict[TransferId, None] = {}
        self._leasing: set[TransferId] = set()
        self._portion = Portion()
        self._setbacks = 0

    async def run(self) -> None:
        """Live as long as the link."""
        async with self._group:
            self._running = True
            try:
                await asyncio.Event().wait()
            finally:
                self._running = False

    async def has_room(self) -> None:
        """Wait until another lease may be begun: of what is heard before, an urgent one would wait behind the rest."""
        await self._room.wait()

    def take(self, tids: Iterable[TransferId]) -> None:
        """Lease these, unless that is under way."""
        self._wanted.update((tid, None) for tid in tids if tid not in self._leasing)
        self.go_on()

    def go_on(self) -> None:
        """Begin what may be begun now; for whoever has seen the gate turn, too."""
        if not self._gate.open:
            self._wanted.clear()  # the next session names them again
        while self._running and self._wanted and self._under_way < LEASES:
            part = tuple(islice(self._wanted, self._portion.most))
            for tid in part:
                del self._wanted[tid]
            self._leasing.update(part)
            self._under_way += 1
            self._group.create_task(self._take(part))
        is_full = bool(self._wanted) or self._under_way >= LEASES
        if is_full and self._gate.open:
            self._room.clear()
        else:
            self._room.set()  # nobody waits behind a gate that is shut for what hangs there

    async def _take(self, tids: tuple[TransferId, ...]) -> None:
        try:
            await self._try(tids)
            # Not only after a link's trouble, which hello finds out: it may be answered well, and opens the gate.
            await asyncio.sleep(retry_delay_s(self._setbacks, self._ties.chance()))
        finally:
            self._under_way -= 1
        self.go_on()

    async def _try(self, tids: tuple[TransferId, ...]) -> None:
        try:
            wanted = await self._ties.ask(self._ties.engine.wanted, Batch(self._ties.peer, tids))
            if wanted and self._gate.open:
                await self._lease(wanted)
        except (NotSent, NoAnswer):
            self._gate.suspect()
        except BadAnswer:
            self._setbacks += 1
            self._gate.suspect()
        finally:
            self._leasing.difference_update(tids)

    async def _lease(self, tids: tuple[TransferId, ...]) -> None:
        """Raises NotSent, NoAnswer, BadAnswer."""
        epoch = self._gate.epoch
        try:
            reply = await self._client.lease(tids, epoch)
        except NoAnswer:
            self._portion.unanswered(len(tids))
            raise
        self._portion.answered(len(tids), reply.round_trip_s)
        self._gate.hear(reply)
        if not self._gate.is_own(reply, epoch):
            raise BadAnswer(f"a lease was answered with {reply.status} {said(reply.body)}".rstrip())
        parcels = read_parcels(reply.body, tids)
        for line in parcels.refused:
            self._ties.tell("parked", peer=self._ties.peer, detail=f"leased, and not usable: {line}")
        for tid in parcels.elsewhere:
            self._ties.tell("leased_elsewhere", peer=self._ties.peer, tid=tid, detail=_ELSEWHERE)
        later = bool(parcels.good) and await self._receive(parcels.good)
        self._setbacks = self._setbacks + 1 if later or parcels.refused else 0

    async def _receive(self, lent: tuple[Lent, ...]) -> bool:
        """Hand the payloads to custody; True if some have to be asked for again."""
        arrivals = [Arrival(self._principal, one.data, one.tid, path=one.path) for one in lent]
        # Not to be undone by a link that ends: custody may have begun.
        answers = self._ties.desk.submit_many(self._ties.engine.receive, arrivals)
        received = await asyncio.shield(asyncio.wrap_future(answers))
        self._tell([one.told for one in received if one.told is not None])
        return any(one.later for one in received)
