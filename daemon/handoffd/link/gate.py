"""The gate of a link: whether payloads may go out, under which epoch, and why not.

It owns the probing of /hello, the link's state and the peer's clock. It does not know what is carried. The rule that
must stay true: the gate is open only after a fresh /hello whose epoch custody has noted, and whatever casts doubt on
that (a broken exchange, another epoch) shuts it until the next one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

from handoffd.custody.message import Hello
from handoffd.link.answer import other_epoch
from handoffd.link.client import NoAnswer, NotSent, PeerClient, Reply
from handoffd.link.offset import ClockOffset
from handoffd.link.pace import Pace
from handoffd.link.ties import Ties
from handoffd.link.trouble import Trouble, not_ready, read_hello, read_retry_after, silent, unsent, wrong_certificate
from handoffd.link.wire import Greeting, read_time
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import AgentName
from handoffd.protocol.timing import retry_delay_s

PULSE_S: Final = 25.0
"""An open link says hello this often: it finds a dead peer, measures the clock, and keeps a connection open."""
WARM_S: Final = 0.5
"""The first pulse after an opening: the hanging poll holds the connection made so far, and the next payload should
find another one open instead of waiting three round trips for it."""
_SERVED: Final = 200
_WRONG_TOKEN: Final = 401
BUSY: Final = frozenset({429, 503})
"""The statuses that ask for a pause."""


class LinkState(StrEnum):
    """`refused`: it will not come up before somebody changes something."""

    UP = "up"
    DOWN = "down"
    REFUSED = "refused"


class Gate:
    """Probes the peer and tells its watchers, called on every change, whether payloads may go."""

    def __init__(
        self, ties: Ties, client: PeerClient, local: frozenset[AgentName], version: str, pins: tuple[str, ...] = ()
    ) -> None:
        self.ties = ties
        self.client = client
        self.watchers: list[Callable[[], None]] = []
        self.offset = ClockOffset()
        self.state = LinkState.DOWN
        self.generation = 0
        """Counts openings: what was learnt from the peer before may have gaps."""
        self._local, self._version, self._pins = local, version, pins
        self._epoch = ""
        self._greeting: Greeting | None = None
        self._trouble: Trouble | None = None
        self._since_s = ties.wall_s()
        self._opened = asyncio.Event()
        self._never_told = True
        self._scopes: set[asyncio.Timeout] = set()
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()

    # ---------------------------------------------------------------- what others read

    @property
    def open(self) -> bool:
        """Whether a payload may go out now."""
        return self._opened.is_set()

    @property
    def takes(self) -> bool:
        """Whether a fresh payload may wait here for the gate to open within moments."""
        return (self.state is LinkState.UP or self._never_told) and not self._pace.held

    @property
    def why_shut(self) -> str:
        """Return in words why no payload may go out: what the sender is told if it never can."""
        if self._trouble is None:
            return "the peer asked for a pause" if self._pace.held else "the link is being checked"
        return f"link down: {self._trouble.words}"

    @property
    def epoch(self) -> str:
        """The peer's epoch as custody has noted it; empty while there is none."""
        return self._epoch

    async def wait_open(self) -> None:
        """Wait until payloads may go."""
        await self._opened.wait()

    @asynccontextmanager
    async def while_open(self) -> AsyncIterator[None]:
        """Run the body and end it with TimeoutError as soon as the gate shuts."""
        async with asyncio.timeout(None if self.open else 0.0) as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def status(self) -> dict[str, object]:
        """Return the link's state for a person, JSON types only."""
        trouble, greeting = self._trouble, self._greeting
        return {
            "state": self.state.value,
            "since": format_moment(self._since_s),
            "error": trouble and trouble.fields(),
            "url": self.client.url,
            "epoch": self._epoch or None,
            "version": greeting and greeting.version,
            "homes": sorted(greeting.homes) if greeting else [],
            "peer_pulls": greeting.pulls if greeting else None,
            "clock_offset_ms": self.offset.offset_ms(),
            "round_trip_ms": self.offset.round_trip_ms(),
        }

    # ---------------------------------------------------------------- what others tell

    def nudge(self) -> None:
        """Probe soon: a payload waits."""
        if not self.open:
            self._pace.nudge()

    def suspect(self) -> None:
        """Shut until a fresh /hello: an exchange broke, or an answer showed another epoch."""
        self._shut()
        self._pace.hurry()

    def hold(self, wait_s: float) -> None:
        """Shut for so long because the peer asked for it, then ask again."""
        self._pace.hold(wait_s)
        self._shut()

    def hear(self, reply: Reply, *, hung: bool = False) -> None:
        """Learn from any answer: the peer's clock, its epoch, its wish for a pause. `hung`: it was kept waiting."""
        self._note_time(None if hung else read_time(reply.body), reply.round_trip_s)
        if reply.status in BUSY and reply.body is not None:
            self.hold(read_retry_after(reply.retry_after))
        elif reply.body is None or reply.status == _WRONG_TOKEN or other_epoch(reply.body, self._epoch):
            self.suspect()

    def is_own(self, reply: Reply, epoch: str) -> bool:
        """Tell whether an answer is a served one of the peer's tree that was asked, and that tree is still noted."""
        told = reply.body.get("epoch") if reply.body is not None else None
        return reply.status == _SERVED and told == epoch == self._epoch

    # ---------------------------------------------------------------- probing

    async def run(self) -> None:
        """Probe for as long as the link lives."""
        failures = 0
        while True:
            trouble = await self._probe()
            if trouble is None:
                failures = 0
                await self._pace.rest(WARM_S if self._rise() else PULSE_S)
            else:
                failures += 1
                self._fall(trouble)
                if trouble.wait_s:
                    self._pace.hold(trouble.wait_s)
                await self._pace.rest(retry_delay_s(failures, self.ties.chance()))

    async def _probe(self) -> Trouble | None:
        self._pace.probing()
        url = self.client.url
        try:
            reply = await self.client.hello()
        except NotSent as error:
            return await self._why_unsent(error)
        except NoAnswer as error:
            await self.client.renew()
            return silent(str(error), url)
        self._note_time(read_time(reply.body), reply.round_trip_s)
        greeting = read_hello(reply.status, reply.body, reply.retry_after, self._local, self._version)
        return greeting if isinstance(greeting, Trouble) else await self._greet(greeting)

    async def _greet(self, greeting: Greeting) -> Trouble | None:
        self._greeting = greeting
        if self.open and greeting.epoch == self._epoch:
            return None
        if greeting.epoch != self._epoch:
            # Before custody is told: from here on no answer under the old epoch may count (custody.md section 8).
            self._epoch = ""
            self._shut()
        noted = await self.ties.ask(self.ties.engine.hello, Hello(self.ties.peer, greeting.epoch))
        self._epoch = greeting.epoch if noted else ""
        return None if noted else not_ready(self.ties.peer)

    async def _why_unsent(self, error: NotSent) -> Trouble:
        if error.kind != "wrong_certificate":
            return unsent(error.kind, str(error), self.client.url)
        return wrong_certificate(self._pins, await self.client.presented_fingerprint(), str(error))

    def _note_time(self, told_s: float | None, round_trip_s: float) -> None:
        if told_s is not None:
            self.offset.note(told_s, self.ties.wall_s(), round_trip_s)

    # ---------------------------------------------------------------- edges

    def _rise(self) -> bool:
        """Open unless the peer asked for a pause; tell whether it was shut."""
        self._trouble = None
        if self.open or self._pace.held:
            return False
        self.generation += 1
        self._opened.set()
        self._turn(LinkState.UP)
        self._tell_watchers()
        return True

    def _fall(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._turn(LinkState.REFUSED if trouble.refused else LinkState.DOWN)
        self._shut()

    def _shut(self) -> None:
        self._opened.clear()
        # Taken out first: a scope that is ending already must not be told again.
        scopes, self._scopes = self._scopes, set()
        for scope in scopes:
            scope.reschedule(self._loop.time())
        self._tell_watchers()

    def _turn(self, state: LinkState) -> None:
        if state is self.state and not self._never_told:
            return
        self.state, self._never_told, self._since_s = state, False, self.ties.wall_s()
        trouble = self._trouble
        if trouble is None:
            self.ties.tell("link_up", peer=self.ties.peer)
            return
        if trouble.agents:
            self.ties.tell("link_conflict", peer=self.ties.peer, agents=list(trouble.agents), detail=trouble.detail)
        detail = f"{trouble.detail}; {trouble.remedy}"
        self.ties.tell("link_down", peer=self.ties.peer, reason=trouble.word, detail=detail)

    def _tell_watchers(self) -> None:
        for watcher in self.watchers:
            watcher()
