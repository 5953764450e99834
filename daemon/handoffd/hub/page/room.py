"""The room where viewers stand: files, one board for all, a seat for each stream.

It owns how often the board is looked at. The rules that must stay true: with nobody in a seat nobody looks; looking
takes at most a tenth of the time of one core, however large the root is; and the event loop never waits for a disk.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp.web import Response, StreamResponse

from handoffd.hub.call import Call, Hub
from handoffd.hub.page.stream import Stream
from handoffd.hub.port import Board
from handoffd.hub.refusal import Refused, rate_limited
from handoffd.protocol.reason import Problem

SEATS: Final = 16
"""Streams at once: a team's screens; the page gives its seat back while nobody can see it."""
STORIES: Final = 2
"""Stories told at once: each reads the journal. Nobody waits for a turn, so nothing piles up."""
LOOK_EVERY_S: Final = 0.5
LOOK_SHARE: Final = 0.1
"""Of the time, spent looking."""

_KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_SCRIPT = "text/javascript; charset=utf-8"
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""No script but the page's own files, nothing from or to another host, no frame, and no text ever read as HTML."""
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=str)


@cache
def _file(name: str) -> bytes:
    return files(__package__).joinpath("files", name).read_bytes()


class Part(NamedTuple):
    """One part of the board as it is sent: `mark` tells whether a viewer has it already."""

    name: str
    mark: str
    data: bytes


class Room:
    """The page of one hub; `seats` are those taken."""

    def __init__(self, hub: Hub, board: Board) -> None:
        self._hub = hub
        self._board = board
        self.seats = 0
        self._telling = asyncio.Semaphore(STORIES)
        self._looking = asyncio.Lock()
        self._parts: list[Part] = []
        self._look_again_s = 0.0

    def file(self, name: str) -> Response:
        """Return one of the page's files, for anybody."""
        data = _file(name)
        kind = _KINDS.get(name.rpartition(".")[2], _SCRIPT)
        return self._hub.stamp_for_stranger(None).reply(data, kind, headers=HEADERS)

    async def stream(self, call: Call) -> StreamResponse:
        """Serve one viewer until it leaves. Raises Refused when all seats are taken."""
        with self._seat():
            return await Stream(self._hub, call, HEADERS).run(self.parts)

    async def handoff(self, call: Call) -> Response:
        """Tell the story of the handoff in the path. Raises Refused if nothing here knows of it, or all are busy."""
        if self._telling.locked():
            raise rate_limited(1.0, f"{STORIES} stories are being told already; ask again.")
        async with self._telling:
            shows = self._hub.settings.page.shows_payloads
            told = await asyncio.to_thread(self._board.handoff, call.ident, shows)
        if told is None:
            raise Refused(Problem.NOT_FOUND)
        return self._hub.stamp().reply(_ENCODER.encode(told).encode(), "application/json", headers=HEADERS)

    async def parts(self) -> list[Part]:
        """Return the board as it was at most a moment ago; whoever comes first looks for all."""
        async with self._looking:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            if began_s >= self._look_again_s:
                board = await asyncio.to_thread(self._board.look, self._hub.status())
                self._parts = [_part(name, value) for name, value in board.items()]
                ended_s = loop.time()
                self._look_again_s = ended_s + max(LOOK_EVERY_S, (ended_s - began_s) / LOOK_SHARE)
            return self._parts

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if self.seats >= SEATS:
            raise rate_limited(10.0, f"{SEATS} viewers are looking already; close one of the pages.")
        self.seats += 1
        try:
            yield
        finally:
            self.seats -= 1


def _part(name: str, value: Mapping[str, object]) -> Part:
    data = _ENCODER.encode(value).encode()
    return Part(name, sha256(name.encode() + data).hexdigest()[:12], data)
