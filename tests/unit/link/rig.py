"""A link between a fake custody and a fake peer, over real sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.unit.link.fake_custody import PEER, FakeDesk, FakeEngine
from tests.unit.link.fake_peer import FakePeer

from handoffd.link.client import PeerClient
from handoffd.link.push import PeerLink
from handoffd.link.ties import Ties
from handoffd.protocol.name import AgentName, HostName

DEADLINE_S = 30.0
LOOK_S = 0.002
HOST = HostName("bob-vm")
NOW_S = 1_795_168_800.0  # 2026-11-20T10:00:00Z, what the fake peer's clock shows


async def until(is_so: Callable[[], Any], what: str = "the condition") -> None:
    """Wait until something is so, at most DEADLINE_S."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + DEADLINE_S
    while not is_so():
        assert loop.time() < end_s, f"{what} was not reached within {DEADLINE_S:g} s"
        await asyncio.sleep(LOOK_S)


class Rig:
    """A link under test; `now_s` is its wall clock, `events` what it told."""

    def __init__(self, peer: FakePeer, pinned: ssl.SSLContext | None, pins: tuple[str, ...] = ()) -> None:
        self.peer = peer
        self.engine, self.desk = FakeEngine(), FakeDesk()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.now_s = NOW_S
        self.client = PeerClient(peer.url, pinned, "secret", HOST, "0.1.0")
        self.ties = Ties(PEER, self.desk, self.engine, lambda: self.now_s, lambda: 0.5, self._tell)
        local = frozenset({AgentName("bob")})
        self.link = PeerLink(self.ties, self.client, HOST, local, "0.1.0", pins)

    def _tell(self, word: str, /, **fields: object) -> None:
        self.events.append((word, fields))

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.events]

    @property
    def error(self) -> dict[str, str]:
        error = self.link.status()["error"]
        assert isinstance(error, dict)
        return error

    def take(self, data: bytes, **more: Any) -> str:
        """Have custody take a payload and give it to the link; return its T."""
        offer = self.engine.take(data, **more)
        self.link.offer(offer)
        return offer.tid

    async def up(self) -> None:
        await until(lambda: self.link.status()["state"] == "up", "link up")


@asynccontextmanager
async def running(
    peer: FakePeer,
    pinned: ssl.SSLContext | None = None,
    pins: tuple[str, ...] = (),
    prepare: Callable[[Rig], None] = id,
) -> AsyncIterator[Rig]:
    """Run a link to the peer; at the end nothing may have died and every attempt must be settled."""
    rig = Rig(peer, pinned, pins)
    prepare(rig)
    job = asyncio.get_running_loop().create_task(rig.link.run())
    try:
        yield rig
    finally:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job
        rig.desk.stop()
    assert rig.desk.deaths == []
    assert [tid for tid, entry in rig.engine.entries.items() if entry.open] == []
