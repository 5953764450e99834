"""The operator's call that sends a canary and waits for its end."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.unit.hub.fake_engine import NOW, FakeEngine, ThreadDesk
from tests.unit.hub.harness import OnNews, running, until

from handoffd.custody.message import Answer, Journey, Launch
from handoffd.hub import operation
from handoffd.hub.settings import HubSettings
from handoffd.protocol.name import CANARY_PEER, TransferId
from handoffd.protocol.reason import Problem, Reason, State
from handoffd.protocol.record import Record

T = TransferId("ab" * 32)


class Carrier(FakeEngine):
    """Takes one canary to alice-vm, which ends when the test says so."""

    def __init__(self) -> None:
        super().__init__((), ())
        self.launched: list[Launch] = []
        self.record = Record(tid=T, state=State.QUEUED, by="hub-vm", at=NOW)
        self.is_known = True

    def launch(self, items: list[Launch]) -> list[Answer]:
        self.launched += items
        if items[0].peer != "alice-vm":
            return [Answer(400, tid=T, problem=Problem.BAD_REQUEST, detail="not a peer")]
        return [Answer(201, tid=T, record=self.record)]

    def journey(self, items: list[TransferId]) -> list[Journey | None]:
        return [Journey(self.record, 1_790_000_000.0) if self.is_known else None for _ in items]

    def end(self) -> None:
        edges = {"stored": NOW, "claimed": NOW, "completed": NOW}
        self.record = Record(tid=T, state=State.COMPLETED, reason=Reason.COMPLETED, by="alice-vm", at=NOW, edges=edges)


class Call:
    """A hub on a socket whose custody is a Carrier."""

    def __init__(self, place: Path) -> None:
        self.engine, self.place = Carrier(), place

    def custody(self, chosen: HubSettings, on_news: OnNews) -> tuple[Any, Any]:
        return self.engine, ThreadDesk(self.engine, on_news)

    async def send(self, peer: str) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(self.place))) as session,
            session.post(f"http://hub/operator/canary?peer={peer}", data=b"{}") as response,
        ):
            return response.status, await response.json()


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return Call(tmp_path / "s")


async def test_it_waits_for_the_end_and_tells_the_times(call: Call) -> None:
    async with running(custody=call.custody, socket_path=call.place) as here, asyncio.TaskGroup() as group:
        sent = group.create_task(call.send("alice-vm"))
        await until(lambda: here.hub.notifier.waiters(CANARY_PEER) == 1)
        here.hub.notifier.changed(CANARY_PEER)  # another canary's end is not this one's
        await until(lambda: here.hub.notifier.waiters(CANARY_PEER) == 1)
        call.engine.end()
        here.hub.notifier.changed(CANARY_PEER)
        status, told = await sent
    assert (status, told["tid"], told["state"]) == (200, T, "completed")
    assert told["record"]["edges"].keys() == {"stored", "claimed", "completed"}
    assert list(told["at"]) == ["asked", "taken", "posted", "home"]
    assert [launch.data for launch in call.engine.launched] == [b"{}"]


async def test_what_custody_refuses_is_passed_on(call: Call) -> None:
    async with running(custody=call.custody, socket_path=call.place):
        status, told = await call.send("carol-vm")
    assert (status, told["detail"]) == (400, "not a peer")


async def test_one_whose_end_does_not_come_is_told_as_it_is(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "CANARY_WAIT_S", 0.05)
    async with running(custody=call.custody, socket_path=call.place):
        status, told = await call.send("alice-vm")
    assert (status, told["state"]) == (200, "queued")


async def test_one_that_another_took_the_place_of_is_unavailable(call: Call) -> None:
    call.engine.is_known = False
    async with running(custody=call.custody, socket_path=call.place):
        status, _ = await call.send("alice-vm")
    assert status == 503
