"""A visit: taking what is ours from a peer that cannot reach us (docs/custody.md section 11.1 to 11.3).

It owns the session's talk: telling and the hanging poll. What a handoff is to become, custody says; the `Borrower`
brings payloads. The rules that must stay true: a session begins with all there is to tell, and nothing hangs before;
and what was not answered is told again.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from handoffd.custody.message import Batch, Lookup, Principal
from handoffd.custody.visit import Tidings, Untold, Wishes
from handoffd.link.answer import said
from handoffd.link.borrow import Borrower
from handoffd.link.client import PeerClient, Reply
from handoffd.link.gate import Gate
from handoffd.link.hearing import Hearing
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.ties import Ties
from handoffd.link.wire import BadAnswer, read_wishes, tell_bodies
from handoffd.protocol.name import TransferId
from handoffd.protocol.record import Record
from handoffd.protocol.timing import STATES_WAIT_S, retry_delay_s

TELL_GAP_S: Final = 0.01
"""Tellings start at least this far apart: a flood of changes goes in groups, a lone one at once."""
POLL_GAP_S: Final = 0.02
"""Polls too: a peer that answers at once again and again must not make us spin."""
AGAIN_S: Final = 5.0
"""A final that the peer could not record is told again after this."""
ROOM_S: Final = 1.0
"""What changed waits so long for leases under way: its answer names more to take, and an urgent one would wait behind
that. Then it goes, and what its answer names is not taken: the peer names it again (section 11.2)."""
BRING_TRIES: Final = 3
"""Broken exchanges over one artefact after which its end is told without it."""
_SETTLED: Final = frozenset({200, 400, 403, 404, 413})
"""What the peer says of final bytes for good; any other answer is a broken exchange."""


class Visit:
    """Talks while the gate is open and the peer lends."""

    def __init__(self, ties: Ties, client: PeerClient, gate: Gate, principal: Principal) -> None:
        remedy = "see the peer's journal and log; until this ends, nothing that waits there for this host comes"
        self.hearing = Hearing(ties, "does not hand over what is ours", remedy)
        self._ties, self._client, self._gate, self._principal = ties, client, gate, principal
        self._borrower = Borrower(ties, client, gate, principal, self._add)
        self._here = asyncio.Event()
        self._news = asyncio.Event()
        self._told_all = asyncio.Event()
        self._since = 0
        self._again: dict[TransferId, None] = {}
        self._again_timer: asyncio.TimerHandle | None = None
        self._extra: list[Record] = []
        self._broken: dict[TransferId, int] = {}
        self._loop = asyncio.get_running_loop()
        gate.watchers.append(self._turned)

    def changed(self) -> None:
        """Tell soon: something rose."""
        self._news.set()

    def _add(self, records: Iterable[Record]) -> None:
        """Tell these besides: they stand in no file."""
        self._extra += records
        if self._extra:
            self._news.set()

    def _turned(self) -> None:
        if self._gate.open and self._gate.session:
            self._here.set()
            self._news.set()
        else:
            self._here.clear()
            self._told_all.clear()
            self._since = 0
        self._borrower.go_on()

    async def run(self) -> None:
        """Visit for as long as the link lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            group.create_task(self._listen())
            group.create_task(self._borrower.run())

    # ---------------------------------------------------------------- telling

    async def _tell(self) -> None:
        while True:
            await self._here.wait()
            await self._news.wait()
            self._news.clear()
            began_s, session = self._loop.time(), self._gate.session
            try:
                while await self._tell_page(session):
                    pass
            except (NotSent, NoAnswer, BadAnswer) as error:
                self._failed(error, session)
            await asyncio.sleep(max(0.0, began_s + TELL_GAP_S - self._loop.time()))

    async def _tell_page(self, session: str) -> bool:
        """Tell one page of what changed, of all there is at first; True if there is more."""
        takes = not self._told_all.is_set() or await self._has_room()
        asked = Untold(self._ties.peer, self._since, tuple(self._again))
        tidings = await self._ties.ask(self._ties.engine.tidings, asked)
        extra, self._extra = self._extra, []
        if session != self._gate.session:
            self._extra += extra
            return False  # another session has begun, and with it another telling of all
        if not self._told_all.is_set() or tidings.records or extra:
            try:
                await self._tell_records((*tidings.records, *extra), tidings, session, takes=takes)
            except (NotSent, NoAnswer, BadAnswer):
                self._extra += extra
                raise
        if session != self._gate.session or not self._here.is_set():
            return False
        self._since = tidings.number
        if not tidings.more:
            self._told_all.set()
        return tidings.more

    async def _has_room(self) -> bool:
        try:
            async with asyncio.timeout(ROOM_S):
                await self._borrower.has_room()
        except TimeoutError:
            return False
        return True

    async def _tell_records(self, records: tuple[Record, ...], tidings: Tidings, session: str, *, takes: bool) -> None:
        for record in records:
            if record.final and record.artefact is not None:
                await self._bring(record)
        for page, body in tell_bodies(records, more=tidings.more, wait_s=0.0):
            wishes = await self._say(body, 0.0, session)
            self._note_finals(page, wishes)
            await self._heed(wishes if takes else replace(wishes, take=()))

    def _note_finals(self, told: Iterable[Record], wishes: Wishes) -> None:
        """A final is told until the peer says that it may be forgotten."""
        for record in told:
            self._again.pop(record.tid, None)
            if record.final and record.tid not in wishes.forget:
                self._again[record.tid] = None
        if self._again and self._again_timer is None:
            self._again_timer = self._loop.call_later(AGAIN_S, self._tell_again)

    def _tell_again(self) -> None:
        self._again_timer = None
        self._news.set()

    async def _bring(self, record: Record) -> None:
        """Bring the final bytes before their end is told; a refusal of them does not hold the end back."""
        if self._broken.get(record.tid, 0) >= BRING_TRIES:
            return
        found = await self._ties.ask(self._ties.engine.lookup, Lookup(self._principal, record.tid, artefact=True))
        if found.data is None:
            return
        epoch = self._gate.epoch
        try:
            reply = await self._client.bring(record.tid, found.data, epoch)
            self._gate.hear(reply)
            if not _is_word(reply, epoch):
                raise BadAnswer(f"final bytes were answered with {reply.status} {said(reply.body)}".rstrip())
        except (NotSent, NoAnswer, BadAnswer):
            tries = self._broken[record.tid] = self._broken.get(record.tid, 0) + 1
            await asyncio.sleep(retry_delay_s(tries, self._ties.chance()))
            raise

    async def _say(self, body: bytes, wait_s: float, session: str) -> Wishes:
        """Send one poll. Raises NotSent, NoAnswer, BadAnswer."""
        epoch = self._gate.epoch
        reply = await self._client.tell(body, wait_s, epoch, session)
        self._gate.hear(reply, hung=wait_s > 0)
        if not self._gate.is_own(reply, epoch):
            raise BadAnswer(f"a poll was answered with {reply.status} {said(reply.body)}".rstrip())
        wishes = read_wishes(reply.body)
        self.hearing.heard()
        return wishes

    def _failed(self, error: Exception, session: str) -> None:
        """Whatever went wrong, the next hello finds out; it begins another session."""
        if session == self._gate.session:
            self.hearing.failed(str(error))
            self._gate.suspect()

    # ---------------------------------------------------------------- listening

    async def _listen(self) -> None:
        while True:
            await self._told_all.wait()
            await self._borrower.has_room()
            began_s, session = self._loop.time(), self._gate.session
            try:
                async with self._gate.while_open():
                    ((_, body),) = tell_bodies((), more=False, wait_s=STATES_WAIT_S)
                    wishes = await self._say(body, STATES_WAIT_S, session)
            except TimeoutError:
                continue  # the gate shut under the poll
            except (NotSent, NoAnswer, BadAnswer) as error:
                self._failed(error, session)
                continue
            await self._heed(wishes)
            await asyncio.sleep(max(0.0, began_s + POLL_GAP_S - self._loop.time()))

    # ---------------------------------------------------------------- doing what is wanted

    async def _heed(self, wishes: Wishes) -> None:
        peer, engine = self._ties.peer, self._ties.engine
        if wishes.forget:
            for tid in wishes.forget:
                self._broken.pop(tid, None)
            await self._ties.ask(engine.forget, Batch(peer, wishes.forget))
        if wishes.verdict:
            told = await self._ties.ask(engine.verdict, Batch(peer, wishes.verdict))
            self._add(told)
        self._borrower.take(wishes.take)


def _is_word(reply: Reply, epoch: str) -> bool:
    """Tell whether the peer itself has said what becomes of the final bytes: neither a proxy, nor a peer that is busy
    or has no room for them now."""
    return reply.status in _SETTLED and reply.body is not None and reply.body.get("epoch") == epoch
