"""One viewer's stream of server-sent events.

It owns what this viewer has been sent. An event carries a whole part of the board, so a slow viewer misses what was in
between and nothing else, and one that comes back says by `Last-Event-ID` which parts it has. The rules that must stay
true: it ends with the viewer, with the viewer's right to look, and when the daemon stops.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from aiohttp.web import StreamResponse

from handoffd.hub.call import Call, Hub
from handoffd.hub.refusal import Refused
from handoffd.hub.route import Audience
from handoffd.hub.visit import identify_viewer
from handoffd.protocol.moment import format_moment

TURN_S: Final = 0.5
"""Between two looks at what is new: below what a person notices, and many changes of a burst in one."""
BEAT_S: Final = 10.0
"""A stream that is silent for longer is dead; the page waits for two of these, and the stall timer cuts earlier."""
LONGEST_S: Final = 900.0
"""Then the page comes again: no connection is for ever."""
_BELL: Final = "#page"
"""No host's or agent's name (hub/notifier.py)."""
_MARKS: Final = 16
"""Marks of a Last-Event-ID that are looked at."""


class Part(Protocol):
    """A part of the board."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def mark(self) -> str:
        """Another one for other content."""

    @property
    def data(self) -> bytes:
        """JSON on one line."""


class Stream:
    """A stream to one viewer."""

    def __init__(self, hub: Hub, call: Call, headers: Mapping[str, str]) -> None:
        self._hub = hub
        self._call = call
        self._response = StreamResponse(
            headers={**headers, "Content-Type": "text/event-stream", "Cache-Control": "no-store", "Server": "handoffd"}
        )
        self._has: dict[str, str] = {}
        self._came_with = frozenset((call.header("Last-Event-ID") or "").split("-")[:_MARKS])
        self._beat_s = 0.0

    async def run(self, parts: Callable[[], Awaitable[Sequence[Part]]]) -> StreamResponse:
        """Send until the end; an error of the connection, or of the root's file system, is an end too."""
        clock = asyncio.get_running_loop().time
        until_s = clock() + LONGEST_S
        with suppress(OSError):
            await self._response.prepare(self._call.request)
            while clock() < until_s and self._may_go_on():
                await self._send(await parts())
                await self._hub.notifier.wait(
                    _BELL, self._hub.notifier.version(_BELL), self._call.caller, clock() + TURN_S
                )
            await self._response.write_eof()
        return self._response

    def _may_go_on(self) -> bool:
        if self._call.caller.gone or self._hub.notifier.closed:
            return False
        try:
            identify_viewer(self._hub, self._call.request, self._call.caller.near, Audience.VIEWER)
        except Refused:
            return False
        return True

    async def _send(self, parts: Sequence[Part]) -> None:
        now_s = asyncio.get_running_loop().time()
        for part in parts:
            if self._has.get(part.name) != part.mark:
                self._has[part.name] = part.mark
                if part.mark not in self._came_with:
                    await self._write(part.name, part.data)
                    self._beat_s = now_s
        if now_s - self._beat_s >= BEAT_S or not self._beat_s:
            await self._write("beat", b"null")
            self._beat_s = now_s

    async def _write(self, event: str, data: bytes) -> None:
        at = format_moment(self._hub.clock())
        marks = "-".join(self._has.values())
        head = f'id: {marks}\nevent: {event}\ndata: {{"time":"{at}","value":'
        await self._response.write(head.encode() + data + b"}\n\n")
