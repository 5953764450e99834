"""One connection: how long it may take for what, and what a request that is no HTTP is told.

It owns the timers that aiohttp's server lacks and knows no route. The rules that must stay true: whatever a client
sends or leaves unsent, unread or open, its connection ends; and no request in the hands of custody ends with it.

Three timers beside aiohttp's own for idle connections: `head` runs from the first byte of a request (or from the
start) until it is complete enough to be handled; `stall` while the client reads nothing of an answer; `farewell`
from the end of our side until the client's.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Any, cast

from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.web import BaseRequest, RequestHandler, Response, Server
from aiohttp.web_response import StreamResponse

from handoffd.hub.notifier import settle
from handoffd.hub.settings import Patience

Complain = Callable[[str], Response]


class Connection(RequestHandler):
    """A client's connection; `near` and `by_socket` tell where it comes from, `gone` that the client left.

    `complain` makes the answer to what is no HTTP; `on_lost` is called once, when the connection has ended.
    """

    def __init__(
        self, server: Server, patience: Patience, by_socket: bool, complain: Complain, on_lost: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=patience.idle_s,
            lingering_time=patience.linger_s,
            access_log=None,  # type: ignore[arg-type] # aiohttp documents None as "no access log"
            auto_decompress=False,
        )
        self.near = by_socket
        self.by_socket = by_socket
        self.gone = False
        self.waiter: asyncio.Future[None] | None = None
        self._patience = patience
        self._complain = complain
        self._on_lost = on_lost
        self._clock = loop
        self._wire: asyncio.Transport | None = None
        self._busy = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # No isinstance: uvloop's TLS transport is one by what it does, not by its class.
        self._wire = cast(asyncio.Transport, transport)
        self.near = self.by_socket or _is_loopback(transport.get_extra_info("peername"))
        self._start("head", self._patience.head_s, self._drop)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End: nobody waits for this client any more."""
        self.gone = True
        for timer in self._timers.values():
            timer.cancel()
        if self.waiter is not None:
            settle(self.waiter)
        super().connection_lost(exc)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; those of a request that is not complete enough to be handled start a clock."""
        # While one is handled its successor may trickle in; the idle time-out is the bound of that.
        if data and not self._busy and "head" not in self._timers:
            self._start("head", self._patience.head_s, self._drop)
        super().data_received(data)

    def begin(self) -> None:
        """Note that a request is being handled."""
        self._busy = True
        self._stop("head")

    def end(self) -> None:
        """Note that its answer is known."""
        self._busy = False

    def cut_off(self) -> None:
        """End it at once, whatever it waits for."""
        self._abort()

    def pause_writing(self) -> None:
        """Give the client a while to read on."""
        super().pause_writing()
        self._start("stall", self._patience.stall_s, self._abort)

    def resume_writing(self) -> None:
        """See that it did."""
        self._stop("stall")
        super().resume_writing()

    async def start(self) -> None:
        """Serve the connection's requests; afterwards, give the client a while to let go."""
        try:
            await super().start()
        finally:
            if not self.gone:
                self._start("farewell", self._patience.stall_s, self._abort)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Answer what is no HTTP/1.1. It is a stranger's doing: nothing is logged."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = self._complain((message or "it cannot be read").strip().partition("\n")[0][:200])
        response.force_close()
        return response

    def _start(self, name: str, delay_s: float, act: Callable[[], None]) -> None:
        self._timers[name] = self._clock.call_later(delay_s, act)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _drop(self) -> None:
        if not self._busy:
            self.force_close()

    def _abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()


def has_fast_parser() -> bool:
    """Tell whether aiohttp came with its parser in C: the one in Python is slower and less strict."""
    return HttpRequestParser is not HttpRequestParserPy


def _is_loopback(peer: Any) -> bool:
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except (TypeError, IndexError, AttributeError, ValueError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
