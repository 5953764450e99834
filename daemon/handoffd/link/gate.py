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
from handoffd.link.client import PeerClient, Reply
from handoffd.link.pace import Pace
from handoffd.link.probe import ask_hello
from handoffd.link.ties import Ties
from handoffd.link.trouble import Trouble, not_ready, read_retry_after, silent
from handoffd.link.wire import Greeting, echo, read_time, told_time
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import AgentName
from handoffd.protocol.offset import ClockOffset
from handoffd.protocol.timing import CONNECT_S, retry_delay_s

PULSE_S: Final = 25.0
"""An open link says hello this often: it finds a dead peer, measures the clock, and keeps a connection open."""
DIAL_PAUSE_S: Final = 0.5
DIAL_CONNECT_S: Final = 2.0
"""A peer that we alone can call is tried this often, so that it is found within 2 s of being reachable again: a SYN
leaves at 0 s and 1 s of every try."""
WARM_S: Final = 0.5
"""The first pulse after an opening: the hanging poll holds the connection made so far, and the next payload should
find another one open instead of waiting three round trips for it."""
PAIRING_S: Final = 3.0
"""Of two hosts that have just been paired one calls before the other has taken up its half: for so long after a link's
beginning an unknown token is no news, and only asked about again."""
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
        self,
        ties: Ties,
        client: PeerClient,
        local: frozenset[AgentName],
        version: str,
        pins: tuple[str, ...] = (),
        *,
        alone: bool = False,
    ) -> None:
        """`alone`: nobody can call this host, so no hello of the peer will tell that it is back."""
        self.ties = ties
        self.client = client
        self.watchers: list[Callable[[], None]] = []
        self.offset = ClockOffset()
        self.state = LinkState.DOWN
        self.generation = 0
        """Counts openings: what was learnt from the peer before may have gaps."""
        self._local, self._version, self._pins = local, version, pins
        self.session = ""
        """Names our visit at a peer that lends us what is ours; empty at one that sends it to us."""
        self._alone = alone
        self._resumed = False
        self._probing: asyncio.Timeout | None = None
        self._epoch = ""
        self.found: str | None = None
        """The peer's epoch as custody had noted it before this link's first hello; empty where it had none."""
        self._greeting: Greeting | None = None
        self._answered: tuple[str, float] | None = None
        """The time in the last answer to /hello, and our clock when it came."""
        self._trouble: Trouble | None = None
        self._since_s = ties.wall_s()
        self._succeeded_s: float | None = None
        self._opened = asyncio.Event()
        self._never_told = True
        self._scopes: set[asyncio.Timeout] = set()
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
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
            "last_success": None if self._succeeded_s is None else format_moment(self._succeeded_s),
            "error": trouble and trouble.fields(),
            "url": self.client.url,
            "epoch": self._epoch or None,
            "version": greeting and greeting.version,
            "homes": sorted(greeting.homes) if greeting else [],
            "mode": "pull" if greeting and greeting.pulls else "push",
            "clock_offset_ms": self.offset.offset_ms(),
            "clock_error_ms": self.offset.error_ms(),
            "round_trip_ms": self.offset.round_trip_ms(),
        }

    # ---------------------------------------------------------------- what others tell

    def nudge(self) -> None:
        """Probe soon: a payload waits."""
        if not self.open:
            self._pace.nudge()

    def expect(self, pins: tuple[str, ...]) -> None:
        """Name these fingerprints from now on, and look at once whether the peer still knows us."""
        self._pins = pins
        self._pace.hurry()

    def suspect(self) -> None:
        """Shut until a fresh /hello: an exchange broke, or an answer showed another epoch."""
        self._shut()
        self._pace.hurry()

    def resume(self) -> None:
        """Begin anew at once: this host has slept, and every connection may lead nowhere."""
        self._resumed = True
        self._shut()
        if self._probing is not None:
            self._probing.reschedule(self._loop.time())
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
        else:
            self._succeeded_s = self.ties.wall_s()

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
                if not self._may_be_pairing(trouble):
                    self._fall(trouble)
                if trouble.wait_s:
                    self._pace.hold(trouble.wait_s)
                pause_s = retry_delay_s(failures, self.ties.chance())
                await self._pace.rest(min(pause_s, DIAL_PAUSE_S) if self._dials else pause_s)

    def _may_be_pairing(self, trouble: Trouble) -> bool:
        is_new = self._never_told and self._loop.time() < self._began_at + PAIRING_S
        return is_new and trouble.word == "wrong_token"

    @property
    def _dials(self) -> bool:
        """Whether the peer waits for us to call, and cannot say that it is back."""
        return self._alone if self._greeting is None else self._greeting.pulls

    async def _probe(self) -> Trouble | None:
        self._pace.probing()
        if self._resumed:
            self._resumed = False
            await self.client.renew()
        try:
            async with asyncio.timeout(None) as self._probing:
                return await self._say_hello()
        except TimeoutError:
            await self.client.renew()
            return silent("this host has slept meanwhile", self.client.url)
        finally:
            self._probing = None

    async def _say_hello(self, challenge: str = "") -> Trouble | None:
        connect_s = DIAL_CONNECT_S if self._dials else CONNECT_S
        found, reply, broke = await ask_hello(
            self.client, self._local, self._version, self._pins, challenge, connect_s, self._echo(), self._conflict
        )
        if reply is not None:
            self._note_time(read_time(reply.body), reply.round_trip_s)
            told = told_time(reply.body)
            self._answered = None if told is None else (told, self.ties.wall_s())
        elif broke:
            await self.client.renew()
        if isinstance(found, Trouble) or reply is None:
            return found if isinstance(found, Trouble) else None
        return self._begin(challenge, reply) if challenge else await self._greet(found)

    @property
    def _conflict(self) -> tuple[AgentName, ...]:
        """Agents that both hosts called local when last heard: a peer that we dial learns of it from us alone."""
        return self._trouble.agents if self._trouble is not None else ()

    def _echo(self) -> str:
        """Return what lets a peer that never calls us measure our clock."""
        if self._answered is None or self._greeting is None or not self._greeting.pulls:
            return ""
        return echo(*self._answered, self.ties.wall_s())

    async def _greet(self, greeting: Greeting) -> Trouble | None:
        self._greeting, self._succeeded_s = greeting, self.ties.wall_s()
        if self.open and greeting.epoch == self._epoch and greeting.pulls == bool(self.session):
            return None
        if greeting.epoch != self._epoch:
            # Before custody is told: from here on no answer under the old epoch may count (custody.md section 8).
            self._epoch = ""
        self.session = ""
        self._shut()
        if self.found is None:
            self.found = await self.ties.ask(self.ties.engine.noted, self.ties.peer)
        noted = await self.ties.ask(self.ties.engine.hello, Hello(self.ties.peer, greeting.epoch))
        self._epoch = greeting.epoch if noted else ""
        if not noted:
            return not_ready(self.ties.peer)
        if greeting.pulls:
            return await self._say_hello(greeting.challenge)
        await self.ties.ask(self.ties.engine.pushed_to, self.ties.peer)
        return None

    def _begin(self, challenge: str, reply: Reply) -> Trouble | None:
        """The second hello: the peer has noted our epoch, and knows that it is not an old one."""
        told = reply.body or {}
        if told.get("accepted") is not True or told.get("epoch") != self._epoch:
            return not_ready(self.ties.peer)
        self.session = challenge
        return None

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
