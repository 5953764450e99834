"""One request in the hands of a handler: who asks, which one is meant, what was sent; and what all handlers share.

It owns nothing that outlives the request except through `Hub`. The rule that must stay true: what was handed to the
custody thread is finished there, whether or not the client is still there to hear of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp.web import BaseRequest, Response

from handoffd.custody.desk import DeskClosed
from handoffd.custody.message import Principal
from handoffd.hub.answer import Stamp
from handoffd.hub.metric import Metrics
from handoffd.hub.notifier import Caller, Notifier
from handoffd.hub.port import Desk, Engine, Item, Result
from handoffd.hub.refusal import Refused, bad_request
from handoffd.hub.settings import Directory, HubSettings
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import BadName, host_name
from handoffd.protocol.reason import Problem

PATH_HOSTS = 32
"""Hosts in a Handoffd-Path; no sane chain is longer, and a circle is found at its first turn."""


class Hub:
    """What every request shares. `clock` returns POSIX seconds; `status` what the composition root can tell of itself.

    `is_ready` tells whether the daemon has started and its custody thread lives; `heard` is called with a peer's name
    when it has said hello.
    """

    def __init__(
        self,
        settings: HubSettings,
        directory: Directory,
        desk: Desk,
        engine: Engine,
        clock: Callable[[], float],
        is_ready: Callable[[], bool],
        status: Callable[[], Mapping[str, object]] = dict,
        heard: Callable[[str], None] = lambda peer: None,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.engine = engine
        self.clock = clock
        self.is_ready = is_ready
        self.status = status
        self.heard = heard
        self.notifier = Notifier()
        self.metrics = Metrics(settings.version, engine.counts)
        self._desk = desk

    def stamp(self) -> Stamp:
        """Return epoch and time of now."""
        return Stamp(self.engine.epoch, format_moment(self.clock()))

    def stamp_for_stranger(self, named: str | None) -> Stamp:
        """Return the time of now, and the epoch only to who named it: a peer whose token failed knows it is us."""
        epoch = self.engine.epoch
        return Stamp(epoch if named == epoch else "", format_moment(self.clock()))

    async def ask(self, method: Callable[[list[Item]], list[Result]], item: Item) -> Result:
        """Ask the engine one thing. Raises Refused if it could not be asked; what fails later leaves it open."""
        try:
            future = self._desk.submit(method, item)
        except DeskClosed as error:
            raise _unavailable() from error
        return await _outcome(future)

    async def ask_many(self, method: Callable[[list[Item]], list[Result]], items: list[Item]) -> list[Result]:
        """Ask the engine several things at once; the results in the same order. Raises as `ask` does."""
        try:
            future = self._desk.submit_many(method, items)
        except DeskClosed as error:
            raise _unavailable() from error
        return await _outcome(future)


@dataclass(slots=True)
class Call:
    """A request that passed the door: `body` is complete, `ident` is what stands for `{id}` in the path."""

    request: BaseRequest
    caller: Caller
    principal: Principal
    ident: str
    body: bytes

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

    def __call__(self, hub: Hub, call: Call, /) -> Awaitable[Response]:
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
    # Shielded: a cancelled handler would else cancel the desk's future, which is custody's to settle.
    return await asyncio.shield(asyncio.wrap_future(future))


def _unavailable() -> Refused:
    return Refused(Problem.UNAVAILABLE, "The custody thread has ended; the daemon is stopping or being restarted.")
