"""The sender of a link: payloads out, their attempts settled.

It owns the queue of fresh payloads and the requests under way. It does not know whether the peer can be reached
(`gate`) nor what an answer means (`answer`). The rule that must stay true: every offer is settled exactly once, and
none leaves past its expires_at, while the gate is shut, or under an epoch that is no longer noted.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from handoffd.custody.message import Attempt, Coming, Offer, Settlement, Want
from handoffd.link.ahead import Ahead
from handoffd.link.answer import SPLITS, judge, judge_batch
from handoffd.link.client import PeerClient, Reply
from handoffd.link.gate import BUSY, Gate
from handoffd.link.lane import NoAnswer, NotSent, Opening
from handoffd.link.load import BACKLOG_LIMIT_BYTES, Load, next_load
from handoffd.link.portion import Portion
from handoffd.link.ties import Ties
from handoffd.link.trouble import read_retry_after
from handoffd.protocol.name import HostName
from handoffd.protocol.timing import BATCH_ITEMS

REQUESTS: Final = 4
"""Requests with payloads under way at once: enough to fill a link while the peer flushes the ones before."""
BACKLOG_REQUESTS: Final = REQUESTS - 1
"""The backlog leaves one free, so that a fresh handoff does not wait behind it."""
WAITING_ITEMS: Final = 4_096
WAITING_LIMIT_BYTES: Final = 32 << 20
"""Fresh payloads kept in memory while requests are under way; more go back to custody, which has them on disk."""


class Sender:
    """Carries fresh payloads at once and the backlog as the gate allows. `host` is our own name."""

    def __init__(self, ties: Ties, client: PeerClient, gate: Gate, host: HostName) -> None:
        self.in_flight = 0
        self.busy: str | None = None
        """Why the peer, when last asked, would not take a handoff for now, in its words."""
        self._ties, self._client, self._gate, self._host = ties, client, gate, host
        self._group = asyncio.TaskGroup()
        self._fresh: deque[Offer] = deque()
        self._due: deque[Offer] = deque()
        self._fresh_bytes = 0
        self._opened_under = ""
        self._ahead: Ahead | None = None
        self._asked: asyncio.Future[tuple[Offer, ...]] | None = None
        self._called = self._running = False
        self._portion = Portion()
        self._alone = False
        self._backlog_wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        gate.watchers.append(self._gate_turned)

    @property
    def waiting(self) -> int:
        """Fresh payloads that wait for a request to end."""
        return len(self._fresh)

    def expect(self, coming: Coming) -> None:
        """Begin the request of a payload that is being taken, if nothing else is on its way."""
        if self._running and self._gate.open and not (self.in_flight or self._fresh):
            self._enter()
            self._group.create_task(self._carry_ahead(coming, self._gate.epoch))

    def offer(self, offer: Offer) -> None:
        """Carry a payload just taken; what cannot go soon goes back to custody at once."""
        if self._send_ahead(offer):
            return
        full = len(self._fresh) >= WAITING_ITEMS or self._fresh_bytes + len(offer.data) > WAITING_LIMIT_BYTES
        if not (self._running and self._gate.takes) or full:
            self._ties.give_back([offer], "too many wait here" if full else self._gate.why_shut)
            self._gate.nudge()
            return
        self._fresh.append(offer)
        self._fresh_bytes += len(offer.data)
        self._call()

    def want_backlog(self) -> None:
        """Ask custody for payloads that are due."""
        self._backlog_wanted.set()

    async def run(self) -> None:
        """Carry for as long as the link lives; what custody has due goes oldest deadline first."""
        async with self._group:
            self._running = True
            try:
                await self._run_backlog()
            finally:
                self._running = False  # before the group ends: what ends with it must not call another task

    async def _run_backlog(self) -> None:
        while True:
            await self._backlog_wanted.wait()
            self._backlog_wanted.clear()
            while self._gate.open and await self._carry_backlog():
                pass

    async def drop(self) -> None:
        """Give back what waits: the link has ended."""
        self._give_back_fresh("the link ended")
        if self._asked is not None:
            self._due.extend(await self._asked)
        self._ties.give_back(self._due, "the link ended")
        self._due.clear()

    # ---------------------------------------------------------------- fresh ones

    def _call(self) -> None:
        # One task is called for all offers of this turn of the loop; it takes what has come until it runs. So a lone
        # payload leaves without a timer or another hop, and a group leaves as a batch.
        idle = self._running and not self._called and self.in_flight < REQUESTS
        if idle and self._fresh and self._gate.open:
            self._called = True
            self._enter()
            self._group.create_task(self._carry_fresh())

    async def _carry_fresh(self) -> None:
        self._called = False
        try:
            if self._fresh:
                load = self._load(self._fresh)
                self._fresh_bytes -= sum(len(offer.data) for offer in load.offers + load.late)
                self._call()
                await self._carry(load)
        finally:
            self._leave()

    # ---------------------------------------------------------------- one that was begun ahead

    async def _carry_ahead(self, coming: Coming, epoch: str) -> None:
        try:
            opening = await self._client.begin(coming.tid, coming.size, epoch)
            ahead = self._ahead = Ahead(coming.tid, epoch, opening)
            await self._finish_ahead(ahead, epoch)
        except (NotSent, NoAnswer):
            pass  # the payload goes the usual way, and finds out itself
        finally:
            self._ahead = None
            self._leave()

    async def _finish_ahead(self, ahead: Ahead, epoch: str) -> None:
        try:
            await ahead.wait()
        except asyncio.CancelledError:
            if ahead.offer is not None:
                self._ties.give_back([ahead.offer], "the link ended under way", Attempt.UNKNOWN)
            await ahead.opening.close()
            raise
        if ahead.offer is not None:
            await self._send(Load([ahead.offer]), epoch, ahead.opening)
        else:
            await ahead.opening.close()

    def _send_ahead(self, offer: Offer) -> bool:
        """Send a payload whose request was begun, from within the news of it; tell whether it went."""
        ahead = self._ahead
        if ahead is None or not (self._running and self._gate.open) or offer.expires_at <= self._ties.wall_s():
            return False
        return ahead.send(offer, self._gate.epoch)

    def _gate_turned(self) -> None:
        if self._ahead is not None:
            self._ahead.give_up()
        if self._gate.open:
            self._leave_old_epoch()
            self.want_backlog()
            self._call()
        else:
            self._alone = False
            if not self._gate.takes:
                self._give_back_fresh(self._gate.why_shut)

    def _leave_old_epoch(self) -> None:
        """What was opened for the peer's old tree has ended there; it must not go out to the new one (section 8)."""
        before, self._opened_under = self._opened_under or self._gate.found, self._gate.epoch
        if before and before != self._gate.epoch:
            self._give_back_fresh("the peer's tree is a new one")
            self._ties.give_back(self._due, "the peer's tree is a new one")
            self._due.clear()

    def _give_back_fresh(self, detail: str) -> None:
        offers, self._fresh, self._fresh_bytes = self._fresh, deque(), 0
        self._ties.give_back(offers, detail)

    # ---------------------------------------------------------------- the backlog

    async def _carry_backlog(self) -> bool:
        """Ask for as much of the backlog as one request carries, and send it; tell whether there was any."""
        while self.in_flight >= BACKLOG_REQUESTS:
            self._room.clear()
            await self._room.wait()
        self._enter()
        offers = await self._ask_backlog()
        self._due.extend(offers)
        self._group.create_task(self._carry_due())
        return bool(offers)

    async def _ask_backlog(self) -> tuple[Offer, ...]:
        # Custody opens these attempts also if this link ends before it hears of them; `drop` closes them then.
        want, epoch = Want(self._ties.peer, BATCH_ITEMS, BACKLOG_LIMIT_BYTES), self._gate.epoch
        self._asked = asyncio.wrap_future(self._ties.desk.submit(self._ties.engine.offers, want))
        offers = await asyncio.shield(self._asked)
        self._asked = None
        if self._gate.epoch != epoch:
            self._ties.give_back(offers, "the peer's tree is a new one")
            return ()
        return offers

    async def _carry_due(self) -> None:
        try:
            while self._due:
                await self._carry(self._load(self._due))
        finally:
            self._leave()

    # ---------------------------------------------------------------- one request

    def _enter(self) -> None:
        self.in_flight += 1

    def _leave(self) -> None:
        self.in_flight -= 1
        self._room.set()
        self._call()

    def _load(self, waiting: deque[Offer]) -> Load:
        return next_load(waiting, self._host, self._ties.wall_s(), 1 if self._alone else self._portion.most)

    async def _carry(self, load: Load) -> None:
        self._ties.give_back(load.late, "expired before it was sent")
        if not self._gate.open:
            self._ties.give_back(load.offers, self._gate.why_shut)
        elif load.offers:
            await self._send(load, self._gate.epoch)

    async def _send(self, load: Load, epoch: str, begun: Opening | None = None) -> None:
        try:
            reply = await (self._request(load, epoch) if begun is None else self._client.finish(begun))
        except NotSent as error:
            self._ties.give_back(load.offers, f"link down: {error.kind}: {error}")
            self._gate.suspect()
        except NoAnswer as error:
            self._portion.unanswered(len(load.offers))
            self._ties.give_back(load.offers, str(error), Attempt.UNKNOWN)
            self._gate.suspect()
        except asyncio.CancelledError:
            self._ties.give_back(load.offers, "the link ended under way", Attempt.UNKNOWN)
            raise
        else:
            self._answered(load, reply, epoch)

    async def _request(self, load: Load, epoch: str) -> Reply:
        if load.is_batch:
            return await self._client.batch(load.items, epoch)
        return await self._client.start(load.offers[0], epoch)

    def _answered(self, load: Load, reply: Reply, epoch: str) -> None:
        settlements = self._judge(load, reply, epoch)
        self._portion.answered(len(load.offers), reply.round_trip_s)
        if load.is_batch and reply.status in SPLITS:
            self._alone = True  # until the gate shuts: so each is told its own verdict (a10)
        self._gate.hear(reply)
        self._ties.settle([self._dated(one, reply) for one in settlements])
        put_off = [one for one in settlements if one.attempt is Attempt.NOT_ADMITTED and one.status in BUSY]
        self.busy = put_off[0].detail if put_off else None
        if load.is_batch and put_off:
            self._gate.hold(read_retry_after(reply.retry_after))

    def _dated(self, one: Settlement, reply: Reply) -> Settlement:
        """The peer's times are of use only beside the offset of its clock, which is measured here."""
        posted_s = self._ties.wall_s() - reply.round_trip_s
        return replace(one, posted_s=posted_s, clock_offset_ms=self._gate.offset.offset_ms())

    def _judge(self, load: Load, reply: Reply, epoch: str) -> list[Settlement]:
        if self._gate.epoch != epoch:
            return _unknown(load.offers, "the peer's epoch changed under way")
        try:
            if load.is_batch:
                return judge_batch(load.offers, reply.status, reply.body, epoch)
            return [judge(load.offers[0], reply.status, reply.body, epoch)]
        except Exception as error:  # the bulkhead: an answer we cannot survive reading must not make a restart loop
            detail = f"reading the answer failed: {error!r}"
            for offer in load.offers:
                self._ties.tell("parked", peer=offer.peer, tid=offer.tid, detail=detail)
            return _unknown(load.offers, detail)


def _unknown(offers: Iterable[Offer], detail: str) -> list[Settlement]:
    return [Settlement(offer.peer, offer.tid, Attempt.UNKNOWN, detail=detail) for offer in offers]
