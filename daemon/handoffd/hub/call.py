"""One request in the hands of a handler: who asks, which one is meant, what was sent; and what all handlers share.

It owns nothing that outlives the request except through `Hub`. The rule that must stay true: what was handed to the
custody thread is finished there, whether or not the client is still there to hear of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp.web import BaseRequest, StreamResponse

from handoffd.custody.desk import DeskClosed, DeskDied
from handoffd.custody.message import Principal
from handoffd.hub.answer import Stamp
from handoffd.hub.dialler import Diallers
from handoffd.hub.guest import Guests
from handoffd.hub.invites import Invites
from handoffd.hub.limit import Turnstile
from handoffd.hub.metric import Metrics
from handoffd.hub.notifier import Caller, Notifier, settle
from handoffd.hub.port import Desk, Engine, Idle, Item, Keeper, Page, Result
from handoffd.hub.refusal import Refused, bad_request, unauthorized_any_more
from handoffd.hub.settings import Directory, HubSettings
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import BadName, host_name
from handoffd.protocol.reason import Problem
from handoffd.status.meter import Meters
from handoffd.status.model import Status

PATH_HOSTS = 32
"""Hosts in a Handoffd-Path; no sane chain is longer, and a circle is found at its first turn."""

RENEWALS = (0.1, 4)
"""What one peer may change of what it is known by: a second, and at once. Each costs flushes and a reload."""


class Hub:
    """What every request shares. `clock` returns POSIX seconds; `status` what the daemon can tell of itself now.

    `is_ready` tells whether the daemon has started and its custody thread lives; `heard` is called with a peer's name
    when it has said hello; `open_page` makes the status page when somebody first asks for it; `keeper` changes what is
    believed of peers; `turned` is called when a peer that dials in has come (True) or stays away.
    """

    def __init__(
        self,
        settings: HubSettings,
        directory: Directory,
        desk: Desk,
        engine: Engine,
        clock: Callable[[], float],
        is_ready: Callable[[], bool],
        meters: Meters,
        status: Callable[[], Status],
        heard: Callable[[str], None] = lambda peer: None,
        open_page: Callable[["Hub"], Page] | None = None,
        keeper: Keeper | None = None,
        turned: Callable[[str, bool], None] = lambda peer, here: None,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.engine = engine
        self.clock = clock
        self.is_ready = is_ready
        self.meters = meters
        self.status = status
        self.heard = heard
        self.keeper: Keeper = keeper or Idle()
        self.invites = Invites(self.keeper.tell)
        self.renewals = Turnstile(*RENEWALS)
        self.notifier = Notifier()
        self.diallers = Diallers(clock, turned)
        self.metrics = Metrics(settings.version, meters, status)
        self.guests = Guests()
        self._desk = desk
        self._open_page = open_page
        self._page: Page | None = None

    @property
    def page(self) -> Page:
        """The status page. Raises Refused where there is none."""
        if self._page is None:
            if self._open_page is None:
                raise Refused(Problem.NOT_FOUND)
            self._page = self._open_page(self)
        return self._page

    def stamp(self) -> Stamp:
        """Return epoch and time of now."""
        return Stamp(self.engine.epoch, format_moment(self.clock()))

    def stamp_for_stranger(self, named: str | None) -> Stamp:
        """Return the time of now, and the epoch only to who named it: a peer whose token failed knows it is us."""
        epoch = self.engine.epoch
        return Stamp(epoch if named == epoch else "", format_moment(self.clock()))

    def check_known(self, call: "Call") -> None:
        """Let nobody wait on whose token was taken away meanwhile. Raises Refused."""
        if call.digest and call.digest not in self.directory.principals:
            raise unauthorized_any_more()

    def take_up(self, settings: HubSettings, directory: Directory) -> frozenset[str]:
        """Go on with these and wake whoever waits if tokens are gone; return the digests of those."""
        gone = self.directory.principals.keys() - directory.principals.keys()
        self.settings, self.directory = settings, directory.after(self.directory)
        if gone:
            self.notifier.ring_all()
        return frozenset(gone)

    async def ask(self, method: Callable[[list[Item]], list[Result]], item: Item) -> Result:
        """Ask the engine one thing. Raises Refused if it was not asked; what fails later leaves it open."""
        try:
            return await _outcome(self._desk.submit(method, item))
        except DeskDied:
            raise
        except DeskClosed as error:
            raise _unavailable() from error

    async def ask_many(self, method: Callable[[list[Item]], list[Result]], items: list[Item]) -> list[Result]:
        """Ask the engine several things at once; the results in the same order. Raises as `ask` does."""
        try:
            return await _outcome(self._desk.submit_many(method, items))
        except DeskDied:
            raise
        except DeskClosed as error:
            raise _unavailable() from error


@dataclass(slots=True)
class Call:
    """A request that passed the door: `body` is complete, `ident` is what stands for `{id}` in the path.

    `digest` is the hex SHA-256 of the token it bore, empty if it needed none.
    """

    request: BaseRequest
    caller: Caller
    principal: Principal
    ident: str
    body: bytes
    digest: str = ""

    @property
    def origin(self) -> str:
        """Return the address the request came from, for people."""
        return str(self.request.remote or "the unix socket")

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        return self.request.headers.get(name)

    def path(self) -> tuple[str, ...]:
        """Return the hosts the payload came through, from Handoffd-Path. Raises Refused."""
        text = self.header("Handoffd-Path")
        return hosts(text.split(","), "Handoffd-Path") if text else ()


class Handler(Protocol):
    """A function that serves a call; its name is the operation's."""

    __name__: str

    def __call__(self, hub: Hub, call: Call, /) -> Awaitable[StreamResponse]:
        """Serve the call. Raises Refused."""


def hosts(names: list[Any], place: str) -> tuple[str, ...]:
    """Return a path of hosts; `place` is where it stands, for the complaint. Raises Refused."""
    if len(names) > PATH_HOSTS:
        raise bad_request(f"{place}: {len(names)} hosts; at most {PATH_HOSTS} are taken.")
    try:
        return tuple(host_name(name.strip() if isinstance(name, str) else name) for name in names)
    except BadName as error:
        raise bad_request(f"{place}: {error}.") from None


async def _outcome(future: "Future[Result]") -> Result:
    # Not wrap_future and shield: the custody thread wants to run while they are made. A handler that is cancelled
    # leaves the desk's future alone, which is custody's to settle.
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[None] = loop.create_future()

    def tell(done: "Future[Result]") -> None:
        with suppress(RuntimeError):  # the loop has ended before custody did
            loop.call_soon_threadsafe(settle, heard)

    future.add_done_callback(tell)
    await heard
    return future.result()


def _unavailable() -> Refused:
    return Refused(Problem.UNAVAILABLE, "The custody thread has ended; the daemon is stopping or being restarted.")
