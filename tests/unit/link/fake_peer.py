"""A peer's daemon on loopback, as small as the link can be tested against, that misbehaves on request.

It speaks the wire form of docs/custody.md section 10 over real sockets (TLS if given a context), keeps what it admits
in memory, and plays, for each call, the scripted turns before it behaves again.
"""

import asyncio
import json
import socket
import ssl
import struct
import weakref
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

from aiohttp import web

TIME = "2026-11-20T10:00:00.000Z"
Turn = Callable[["FakePeer", web.Request], Awaitable[web.StreamResponse]]


class FakePeer:
    """`url` is known once started. `got` counts how often each T's bytes arrived, `calls` how often each call came."""

    def __init__(self, tls: ssl.SSLContext | None = None, homes: tuple[str, ...] = ("alice",)) -> None:
        self.epoch, self.version, self.homes, self.time = "epoch-1", "0.1.0", homes, TIME
        self.store: dict[str, bytes] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.artefacts: dict[str, bytes] = {}
        self.got: dict[str, int] = defaultdict(int)
        self.calls: dict[str, int] = defaultdict(int)
        self.sizes: list[int] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.behaviour: dict[str, Turn] = _BEHAVIOUR
        self.busy = self.busiest = 0
        # Bound for as long as the peer lives, so that nobody else gets the port while it is down.
        held = socket.socket()
        weakref.finalize(self, held.close)
        held.bind(("127.0.0.1", 0))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port: int = held.getsockname()[1]
        self._tls = tls
        self._turns: dict[str, deque[Turn]] = defaultdict(deque)
        self._changes: list[str] = []
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "FakePeer":
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen, on the same port each time."""
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/api/v1/{call:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()

    async def down(self) -> None:
        """Stop listening and drop every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def next(self, call: str, *turns: Turn) -> None:
        """Play these turns, one for each of the next requests of this call, before behaving again."""
        self._turns[call].extend(turns)

    async def change(self, tid: str, state: str, **fields: Any) -> None:
        """Raise a transfer's state and wake those who follow."""
        self.records[tid] = {**self.record(tid, state), **fields}
        async with self._changed:
            self._changes.append(tid)
            self._changed.notify_all()

    def record(self, tid: str, state: str) -> dict[str, Any]:
        return {"tid": tid, "state": state, "by": "alice-vm", "at": TIME}

    # ---------------------------------------------------------------- serving

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        call = request.match_info["call"].removeprefix("handoffs/")
        call = "artefact" if call.endswith("/artefact") else call
        # A poll of one that dials in shows the session; its states are another call.
        call = "tell" if call == "states" and "Handoffd-Challenge" in request.headers else call
        self.calls[call] += 1
        self.headers.append(dict(request.headers))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            turns = self._turns[call]
            turn: Turn = turns.popleft() if turns else self.behaviour[call]
            return await turn(self, request)
        finally:
            self.busy -= 1

    def answer(self, fields: dict[str, Any], status: int = 200) -> web.Response:
        return web.json_response({"epoch": self.epoch, "time": self.time, **fields}, status=status)

    def admit(self, data: bytes) -> dict[str, Any]:
        tid = sha256(data).hexdigest()
        self.got[tid] += 1
        code = 200 if tid in self.store else 201
        self.store[tid] = data
        record = self.records.setdefault(tid, self.record(tid, "published"))
        return {"tid": tid, "code": code, "status": "pending", "state": record["state"], "record": record}


async def _hello(peer: FakePeer, request: web.Request) -> web.Response:
    return peer.answer({"version": peer.version, "homes": list(peer.homes), "link": "push"})


async def _start(peer: FakePeer, request: web.Request) -> web.Response:
    if (refusal := _other_epoch(peer, request)) is not None:
        return refusal
    fields = peer.admit(await request.read())
    return peer.answer(fields, fields.pop("code"))


async def _batch(peer: FakePeer, request: web.Request) -> web.Response:
    if (refusal := _other_epoch(peer, request)) is not None:
        return refusal
    items = (await request.json())["items"]
    peer.sizes.append(len(items))
    return peer.answer({"results": [peer.admit(item["payload"].encode()) for item in items]})


async def _states(peer: FakePeer, request: web.Request) -> web.Response:
    if (refusal := _other_epoch(peer, request)) is not None:
        return refusal
    asked = await request.json()
    peer.asked.append(asked)
    if asked["since"] is None:
        known = {tid: state for tid, state in asked["known"].items() if tid in peer.records}
        told = {tid: peer.records[tid] for tid, state in known.items() if peer.records[tid]["state"] != state}
        lost = {"lost": sorted(asked["known"].keys() - known.keys())}
        return peer.answer({"states": told, "cursor": str(len(peer._changes)), **lost})
    since = int(asked["since"])
    if since > len(peer._changes):
        return peer.answer({"states": {}, "cursor": str(len(peer._changes)), "reset": True})
    async with peer._changed:
        try:
            async with asyncio.timeout(asked["wait"]):
                await peer._changed.wait_for(lambda: len(peer._changes) > since)
        except TimeoutError:
            pass
    told = {tid: peer.records[tid] for tid in peer._changes[since:]}
    return peer.answer({"states": told, "cursor": str(len(peer._changes))})


async def _revoke(peer: FakePeer, request: web.Request) -> web.Response:
    tids = (await request.json())["tids"]
    peer.sizes.append(len(tids))
    for tid in tids:
        peer.records[tid] = {**peer.record(tid, "revoked"), "reason": "revoked"}
    return peer.answer({"states": {tid: peer.records[tid] for tid in tids}})


async def _forget(peer: FakePeer, request: web.Request) -> web.Response:
    tids = (await request.json())["tids"]
    return peer.answer({"states": {tid: peer.records[tid] for tid in tids if tid in peer.records}})


async def _artefact(peer: FakePeer, request: web.Request) -> web.Response:
    tid = request.match_info["call"].split("/")[1]
    if tid not in peer.artefacts:
        return peer.answer({"reason": "not_found"}, 404)
    return web.Response(body=peer.artefacts[tid], headers={"Handoffd-Epoch": peer.epoch})


def _other_epoch(peer: FakePeer, request: web.Request) -> web.Response | None:
    asked = request.headers["Handoffd-Epoch"]
    if asked == peer.epoch:
        return None
    tid = {"tid": request.headers["Idempotency-Key"]} if "Idempotency-Key" in request.headers else {}
    return peer.answer({"status": 412, "reason": "epoch_changed", "refused_epoch": asked, **tid}, 412)


_BEHAVIOUR: dict[str, Turn] = {
    "hello": _hello,
    "start": _start,
    "batch": _batch,
    "states": _states,
    "revoke": _revoke,
    "forget": _forget,
    "artefact": _artefact,
}

# ---------------------------------------------------------------- misbehaviour


async def behave(peer: FakePeer, request: web.Request) -> web.StreamResponse:
    """Do what is right."""
    call = request.match_info["call"].removeprefix("handoffs/")
    return await peer.behaviour[call](peer, request)


async def reset(peer: FakePeer, request: web.Request) -> web.StreamResponse:
    """Read the request, then send RST."""
    await request.read()
    assert request.transport is not None
    handle = request.transport.get_extra_info("socket")
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
    return web.Response()


async def admit_then_reset(peer: FakePeer, request: web.Request) -> web.StreamResponse:
    """Take custody, and lose the answer."""
    peer.admit(await request.read())
    return await reset(peer, request)


async def hang(peer: FakePeer, request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def bad_json(peer: FakePeer, request: web.Request) -> web.StreamResponse:
    """Answer 201 with half an object."""
    return web.Response(status=201, body=b'{"tid": ')


async def proxy_503(peer: FakePeer, request: web.Request) -> web.StreamResponse:
    """Answer as a proxy that cannot reach the daemon."""
    return web.Response(status=503, text="<html>Service Unavailable</html>", content_type="text/html")


async def endless(peer: FakePeer, request: web.Request) -> web.StreamResponse:
    """Answer with more than anybody wants to read."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65_536)


def refuse(status: int, reason: str, retry_after: str | None = None, **fields: Any) -> Turn:
    """Refuse in the peer's own words, about the T that was asked."""

    async def turn(peer: FakePeer, request: web.Request) -> web.StreamResponse:
        tid = {"tid": request.headers["Idempotency-Key"]} if "Idempotency-Key" in request.headers else {}
        answer = peer.answer({"status": status, "reason": reason, "detail": "", **tid, **fields}, status)
        if retry_after is not None:
            answer.headers["Retry-After"] = retry_after
        return answer

    return turn


def gated(gate: asyncio.Event, turn: Turn = behave) -> Turn:
    """Wait for an event, then play a turn."""

    async def waiting(peer: FakePeer, request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await turn(peer, request)

    return waiting


def say(status: int, body: object) -> Turn:
    """Answer with exactly this."""

    async def turn(peer: FakePeer, request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")

    return turn
