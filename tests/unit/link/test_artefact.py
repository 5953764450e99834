"""Final artefacts: which answers settle that there is none, and how long the others are waited out, by a clock of its
own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.unit.link.fake_custody import PEER, FakeEngine
from tests.unit.link.passing import passing
from tests.unit.link.test_borrow import EPOCH, InlineDesk

from handoffd.link.answer import read_body
from handoffd.link.artefact import PATIENCE_S, Fetcher
from handoffd.link.client import Reply
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.ties import Ties
from handoffd.protocol.name import TransferId

T = TransferId("a" * 64)
Answer = Reply | Exception


def reply(status: int, data: bytes = b"", **fields: object) -> Reply:
    data = data or json.dumps(fields).encode()
    return Reply(status, data, read_body(data), None, 0.001)


FINAL = reply(200, b"final")
NONE = reply(404, epoch=EPOCH, reason="not_found")
COMING = reply(503, epoch=EPOCH, reason="unavailable")


@dataclass
class Gate:
    """Shut for as long as `shut_s` says, by each doubt."""

    epoch: str = EPOCH
    shut_s: float = 1.0
    heard: list[int] = field(default_factory=list)
    doubts: int = 0
    _open_at: float = 0.0

    async def wait_open(self) -> None:
        await asyncio.sleep(max(0.0, self._open_at - asyncio.get_running_loop().time()))

    def hear(self, reply: Reply) -> None:
        self.heard.append(reply.status)
        if reply.body is None or reply.status == 401:
            self.suspect()

    def suspect(self) -> None:
        self.doubts += 1
        self._open_at = asyncio.get_running_loop().time() + self.shut_s


@dataclass
class Rig:
    fetcher: Fetcher
    engine: FakeEngine
    gate: Gate
    tries_at: list[float]

    async def landed(self) -> bytes | None:
        self.fetcher.want(T)
        while not self.engine.landed:
            await asyncio.sleep(0.01)
        return self.engine.landed[0].data


@asynccontextmanager
async def fetching(answers: Callable[[int], Answer]) -> AsyncIterator[Rig]:
    """`answers` gives the one to each try, numbered from 0."""
    engine, gate = FakeEngine(), Gate()
    tries_at: list[float] = []

    class Wire:
        async def artefact(self, tid: TransferId, epoch: str) -> Reply:
            tries_at.append(asyncio.get_running_loop().time())
            answer = answers(len(tries_at) - 1)
            if isinstance(answer, Exception):
                raise answer
            return answer

    ties: Any = Ties(PEER, InlineDesk(), engine, lambda: 0.0, lambda: 0.5, lambda word, **_: None)  # type: ignore[arg-type]
    fetcher = Fetcher(ties, Wire(), gate)  # type: ignore[arg-type]
    job = asyncio.get_running_loop().create_task(fetcher.run())
    try:
        yield Rig(fetcher, engine, gate, tries_at)
    finally:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job


def brings(*answers: Answer) -> tuple[bytes | None, Rig]:
    async def main() -> tuple[bytes | None, Rig]:
        async with fetching(lambda number: answers[number]) as rig:
            return await rig.landed(), rig

    return passing(main())


def test_the_peers_own_word_that_there_is_none_settles_it() -> None:
    data, rig = brings(NONE)
    assert (data, rig.gate.doubts) == (None, 0)


def test_what_a_proxy_says_settles_nothing() -> None:
    pages = [reply(status, b"<html>") for status in (404, 403, 413, 502)]
    data, rig = brings(*pages, FINAL)
    assert (data, rig.gate.doubts) == (b"final", 4)


def test_a_token_that_is_not_known_for_a_while_settles_nothing() -> None:
    unknown = reply(401, epoch=EPOCH, reason="unauthorized")
    assert brings(unknown, unknown, FINAL)[0] == b"final"


def test_another_tree_of_the_peers_settles_nothing() -> None:
    assert brings(reply(412, epoch="epoch-2"), reply(404, epoch="epoch-2"), FINAL)[0] == b"final"


def test_a_peer_that_has_not_got_it_yet_is_asked_again_and_the_link_is_in_no_doubt() -> None:
    data, rig = brings(COMING, COMING, FINAL)
    assert (data, rig.gate.doubts, rig.gate.heard) == (b"final", 0, [])


def test_time_in_which_the_link_is_down_does_not_count() -> None:
    async def main() -> None:
        answers = [NoAnswer("torn"), COMING, NotSent("unreachable", "no"), COMING, FINAL]
        async with fetching(lambda number: answers[number]) as rig:
            rig.gate.shut_s = 2 * PATIENCE_S
            assert await rig.landed() == b"final"

    passing(main())


def test_broken_exchanges_are_repeated_for_ten_minutes_with_pauses() -> None:
    async def main() -> None:
        async with fetching(lambda number: NoAnswer("torn")) as rig:
            rig.gate.shut_s = 0.0
            assert await rig.landed() is None
            assert PATIENCE_S - 10 < rig.tries_at[-1] < PATIENCE_S + 10
            assert len(rig.tries_at) < PATIENCE_S / 4

    passing(main())
