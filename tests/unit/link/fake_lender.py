"""A peer's daemon that cannot reach us and lends us what is ours, over real sockets; it misbehaves on request.

It speaks the wire form of docs/custody.md section 11: two hellos, polls that tell and hang, leases, artefacts that are
brought. What it has for us it names in every answer until it was leased.
"""

import asyncio
from collections import deque
from hashlib import sha256
from typing import Any

from aiohttp import web
from tests.unit.link.fake_peer import FakePeer

from handoffd.protocol.name import TransferId

FINAL = frozenset({"completed", "rejected", "expired", "revoked", "refused"})


class FakeLender(FakePeer):
    """`pages`: the T of each telling, and whether it said `more`; `told`: every record told of a T."""

    def __init__(self) -> None:
        super().__init__()
        self.behaviour = {**self.behaviour, "hello": _hello, "tell": _poll, "lease": _lease, "artefact": _bring}
        self.session = self.challenge = ""
        self.sessions = 0
        self.pages: list[tuple[list[str], bool]] = []
        self.told: dict[str, list[dict[str, Any]]] = {}
        self.leases: list[list[str]] = []
        self.brought: dict[str, bytes] = {}
        self.polls = 0
        self.keeps_finals = self.names_once = False
        self.named: set[str] = set()
        self._waiting: dict[TransferId, bytes] = {}
        self._verdicts: deque[str] = deque()
        self._woken = asyncio.Event()

    def lend(self, *payloads: bytes, first: bool = False) -> list[TransferId]:
        """Have these for the visitor, `first` before all else."""
        tids = [TransferId(sha256(data).hexdigest()) for data in payloads]
        more = dict(zip(tids, payloads, strict=True))
        self._waiting = {**more, **self._waiting} if first else {**self._waiting, **more}
        self._woken.set()
        return tids

    def want_verdict(self, tid: str) -> None:
        self._verdicts.append(tid)
        self._woken.set()

    def restart(self) -> None:
        """Forget who has called."""
        self.session = self.challenge = ""

    def wishes(self, told: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
        finals = [] if self.keeps_finals else [tid for tid, record in told.items() if record["state"] in FINAL]
        verdicts, self._verdicts = list(self._verdicts), deque()
        named = [tid for tid in self._waiting if tid not in self.named][:100]
        self.named.update(named if self.names_once else ())
        return {"take": named, "verdict": verdicts, "forget": finals}

    async def hear(self, asked: dict[str, Any]) -> dict[str, list[str]]:
        self.pages.append((list(asked["tell"]), asked["more"]))
        for tid, record in asked["tell"].items():
            self.told.setdefault(tid, []).append(record)
        wishes = self.wishes(asked["tell"])
        if not asked["wait"] or asked["more"]:
            return wishes
        self.polls += 1
        while not any(wishes.values()):
            self._woken.clear()
            await self._woken.wait()
            wishes = self.wishes({})
        return wishes

    def lent(self, tid: str) -> dict[str, Any]:
        data = self._waiting.pop(TransferId(tid), None)
        if data is None:
            return {"tid": tid, "code": 404, "reason": "not_found"}
        return {"tid": tid, "code": 200, "path": ["alice-vm"], "payload": data.decode()}

    def refuses(self, request: web.Request, *, session: bool = True) -> web.Response | None:
        asked = request.headers
        same = asked["Handoffd-Epoch"] == self.epoch and self.session != ""
        if same and (not session or asked["Handoffd-Challenge"] == self.session):
            return None
        return self.answer({"status": 412, "reason": "epoch_changed", "detail": ""}, 412)


async def _hello(peer: FakePeer, request: web.Request) -> web.Response:
    assert isinstance(peer, FakeLender)
    proof = request.headers.get("Handoffd-Challenge", "")
    fields: dict[str, Any] = {"version": peer.version, "homes": list(peer.homes), "link": "pull"}
    if proof and proof == peer.challenge:
        peer.session, peer.challenge = proof, ""
        return peer.answer({**fields, "accepted": True})
    peer.sessions += 1
    peer.challenge = f"challenge-{peer.sessions}"
    return peer.answer({**fields, "challenge": peer.challenge, "accepted": False})


async def _poll(peer: FakePeer, request: web.Request) -> web.Response:
    assert isinstance(peer, FakeLender)
    refusal = peer.refuses(request)
    if refusal is not None:
        return refusal
    return peer.answer(await peer.hear(await request.json()))


async def _lease(peer: FakePeer, request: web.Request) -> web.Response:
    assert isinstance(peer, FakeLender)
    refusal = peer.refuses(request, session=False)
    if refusal is not None:
        return refusal
    tids = (await request.json())["tids"]
    peer.leases.append(tids)
    return peer.answer({"results": [peer.lent(tid) for tid in tids]})


async def _bring(peer: FakePeer, request: web.Request) -> web.Response:
    assert isinstance(peer, FakeLender)
    peer.brought[request.match_info["call"].split("/")[1]] = await request.read()
    return peer.answer({})
