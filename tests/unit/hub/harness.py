"""A hub on real sockets for tests: the real server over the fake engine, a client, and payloads."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from tests.unit.a_status import a_status
from tests.unit.hub.fake_engine import ALICE, BOB, NOW_S, OPERATOR_TOKEN, SVEN, TOKENS, FakeEngine, ThreadDesk, digest

from handoffd.custody.message import Changed, Waiting
from handoffd.hub.call import Hub
from handoffd.hub.listen import Listen, Listener, serve
from handoffd.hub.settings import Directory, HubSettings, Patience
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import HostName
from handoffd.status.meter import Meters

OnNews = Callable[[list[Any]], None]
DEADLINE_S = 10.0
"""No test waits longer for a condition; none depends on how soon it comes."""


def payload(number: int = 0, to: str = ALICE, sender: str = BOB, **more: Any) -> bytes:
    """Return a payload that passes admission; `number` makes it another one."""
    fields = {
        "protocol_version": 1,
        "handoff_id": f"1790000000-{sender}-{to}-{number:016x}",
        "caller_hash": f"{number:016x}",
        "from_agent": sender,
        "to_agent": to,
        "reason": "asks for a person",
        "initiated_at": format_moment(NOW_S),
        "expires_at": format_moment(NOW_S + 60),
        "transcript": [{"role": "user", "text": "grüß Gott"}],
        "hmac": "A" * 43 + "=",
        **more,
    }
    return json.dumps(fields).encode()


@dataclass
class Answered:
    """A complete answer. `body` is its JSON, or an empty object."""

    status: int
    headers: Any
    data: bytes
    body: dict[str, Any] = field(default_factory=dict)


@dataclass
class FakeKeeper:
    """Keeps what it was asked for, in memory; `problems` is what a reload says."""

    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    tokens: dict[str, list[str]] = field(default_factory=dict)
    pins: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def tell(self, event: str, /, **fields: object) -> None:
        self.told.append((event, fields))

    def events(self) -> list[str]:
        return [event for event, _ in self.told]

    async def reload(self) -> list[str]:
        return self.problems

    async def add_token(self, peer: str, present: str, digest: str) -> None:
        self.tokens[peer] = [present, digest]

    async def keep_token(self, peer: str, digest: str) -> None:
        self.tokens[peer] = [digest]

    async def pin(self, peer: str, digest: str, pem: str, signature: str) -> None:
        self.pins[peer] = [*self.pins.get(peer, []), pem] if signature else [pem]


@dataclass
class Running:
    """A hub that listens, and what it stands on."""

    hub: Hub
    engine: FakeEngine
    desk: ThreadDesk
    listener: Listener
    session: aiohttp.ClientSession
    keeper: FakeKeeper
    socket_path: Path | None = None
    ready: bool = True

    @property
    def port(self) -> int:
        return self.listener.ports[0]

    async def ask(
        self,
        method: str,
        path: str,
        token: str | None = "token-of-alice",
        body: bytes | object = None,
        headers: dict[str, str] | None = None,
    ) -> Answered:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        file = BytesIO(data) if data and len(data) > 1 << 20 else data  # aiohttp warns of large bytes
        async with self.session.request(method, url, data=file, headers=sent) as response:
            raw = await response.read()
            return Answered(response.status, response.headers, raw, _json(response, raw))

    async def peer(self, path: str, body: object, **headers: str) -> Answered:
        sent = {"Handoffd-Epoch": self.engine.epoch, **headers}
        return await self.ask("POST", f"/api/v1/handoffs/{path}", "token-of-bob-vm", body, sent)

    async def start(self, data: bytes, token: str = "token-of-bob-vm", **headers: str) -> Answered:
        return await self.ask("POST", "/api/v1/handoffs/start", token, data, headers)


def _json(response: aiohttp.ClientResponse, raw: bytes) -> dict[str, Any]:
    found = json.loads(raw) if raw and response.content_type.endswith("json") else {}
    return found if isinstance(found, dict) else {}


def settings(**more: Any) -> HubSettings:
    """Return a hub's settings: alice and sven live here."""
    return HubSettings(HostName("hub-vm"), "1.2.3", frozenset({ALICE, SVEN}), **more)


def directory() -> Directory:
    """Return everybody's tokens."""
    return Directory({digest(token): who for token, who in TOKENS.items()}, frozenset({digest(OPERATOR_TOKEN)}))


def fake_custody(chosen: HubSettings, on_news: OnNews) -> tuple[FakeEngine, ThreadDesk]:
    """Return the fake engine and its desk."""
    engine = FakeEngine(chosen.homes, {ALICE, BOB, SVEN, "gordon"}, chosen.max_payload_bytes)
    return engine, ThreadDesk(engine, on_news)


@asynccontextmanager
async def running(
    chosen: HubSettings | None = None,
    listens: Iterable[Listen] = (Listen("127.0.0.1", 0),),
    socket_path: Path | None = None,
    custody: Callable[[HubSettings, OnNews], tuple[Any, Any]] = fake_custody,
    open_page: Callable[[Hub], Any] | None = None,
) -> AsyncIterator[Running]:
    """Run a hub on a port of its own until the end of the block."""
    chosen = chosen or settings()
    loop = asyncio.get_running_loop()
    engine, desk = custody(chosen, lambda news: loop.call_soon_threadsafe(_tell, hub, news) and None)
    meters = Meters()
    keeper = FakeKeeper()
    hub = Hub(
        chosen,
        directory(),
        desk,
        engine,
        clock=lambda: NOW_S,
        is_ready=lambda: here.ready,
        meters=meters,
        status=lambda: a_status(host=chosen.host),
        open_page=open_page,
        keeper=keeper,
    )
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        listener = await serve(hub, listens, socket_path, group)
        here = Running(hub, engine, desk, listener, session, keeper, socket_path)
        try:
            yield here
        finally:
            await listener.close(grace_s=1.0)
            desk.stop()


def _tell(hub: Hub, news: list[Any]) -> None:
    for entry in news:
        if isinstance(entry, Changed):
            hub.notifier.changed(entry.peer)
        elif isinstance(entry, Waiting):
            hub.notifier.waiting(entry.agent)


def impatient(max_payload_bytes: int = 1 << 20, **more: Any) -> HubSettings:
    """Return settings whose time-outs a test can wait for."""
    patience = Patience(**{"head_s": 0.2, "body_s": 0.2, "idle_s": 0.4, "linger_s": 0.1, **more})
    return settings(max_payload_bytes=max_payload_bytes, patience=patience)


async def until(condition: Any) -> None:
    """Wait until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def wire(
    port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a raw connection until the end of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def talk(port: int, *parts: bytes) -> bytes:
    """Send raw bytes and return everything that comes until the other side closes."""
    async with wire(port) as (reader, writer), asyncio.timeout(DEADLINE_S):
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()
