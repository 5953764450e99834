"""Peers that dial in, over HTTP and with the real engine: hello, polls, leases, artefacts (custody.md section 11)."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.unit.hub.fake_engine import BOB, NOW_S, PEER
from tests.unit.hub.harness import Answered, OnNews, Running, payload, running, settings
from tests.unit.hub.test_contract import NoJournal, StillClock

from handoffd.custody.desk import Desk
from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.tree import Settings
from handoffd.hub.lend import owed_to
from handoffd.hub.settings import HubSettings
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import AgentName, HostName

GORDON_VM, GORDON = HostName("gordon-vm"), AgentName("gordon")
E = "epoch-of-gordon"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Running]:
    """A hub that bob-vm posts to and gordon-vm dials."""

    def custody(chosen: HubSettings, on_news: OnNews) -> tuple[Engine, Desk]:
        peers = {PEER: frozenset({BOB}), GORDON_VM: frozenset({GORDON})}
        own = Settings(chosen.host, chosen.homes, peers, pulls=chosen.pulls)
        engine = Engine(LinuxFilesystem(tmp_path), StillClock(), own, NoJournal())
        engine.start("boot-1")
        desk = Desk(engine, on_news, on_death=pytest.fail)
        desk.start()
        return engine, desk

    async with running(settings(pulls=frozenset({GORDON_VM})), custody=custody) as hub:
        yield hub


async def hello(here: Running, challenge: str = "", epoch: str = E) -> Answered:
    headers = {"Handoffd-From-Epoch": epoch, **({"Handoffd-Challenge": challenge} if challenge else {})}
    return await here.ask("GET", "/api/v1/hello", "token-of-gordon-vm", None, headers)


async def dial_in(here: Running, epoch: str = E) -> str:
    challenge: str = (await hello(here, epoch=epoch)).body["challenge"]
    assert (await hello(here, challenge, epoch)).body["accepted"] is True
    return challenge


async def call(here: Running, path: str, body: object, session: str = "", epoch: str = E) -> Answered:
    sent = {"Handoffd-Epoch": here.engine.epoch, "Handoffd-From-Epoch": epoch, "Handoffd-Challenge": session}
    return await here.ask("POST", f"/api/v1/handoffs/{path}", "token-of-gordon-vm", body, sent)


async def for_gordon(here: Running, number: int = 0) -> str:
    """Let bob-vm hand in one for gordon; return its T."""
    data = payload(number, to_agent="gordon", expires_at=format_moment(NOW_S + 60))
    answer = await here.start(data)
    assert (answer.status, answer.body["state"]) == (201, "stored")
    return sha256(data).hexdigest()


def told(tid: str, state: str, **more: Any) -> dict[str, object]:
    return {tid: {"tid": tid, "state": state, "by": "gordon-vm", "at": "2026-11-20T10:00:00.000Z", **more}}


async def test_a_hello_that_tells_of_an_agent_both_call_local_is_told_to_the_operator_once(here: Running) -> None:
    lines: list[tuple[str, dict[str, object]]] = []
    here.hub.keeper.tell = lambda event, **fields: lines.append((event, fields))  # type: ignore[method-assign]
    headers = {"Handoffd-From-Epoch": E, "Handoffd-Conflict": "alice,nobody,gordon"}
    for _ in range(2):
        await here.ask("GET", "/api/v1/hello", "token-of-gordon-vm", None, headers)
    ((event, fields),) = lines
    assert (event, fields["peer"], fields["agents"]) == ("link_conflict", "gordon-vm", ["alice"])
    status = here.hub.diallers.status("gordon-vm")
    assert (status["state"], status["error"]["word"]) == ("refused", "conflict")  # type: ignore[index]
    await dial_in(here)
    assert here.hub.diallers.status("gordon-vm")["error"] is None


async def test_a_hello_tells_a_peer_that_dials_in_that_it_has_to_pull(here: Running) -> None:
    first = await hello(here)
    assert (first.body["link"], first.body["accepted"]) == ("pull", False)
    assert (await here.ask("GET", "/api/v1/hello", "token-of-bob-vm")).body["link"] == "push"


async def test_a_challenge_counts_once_and_only_the_last_one(here: Running) -> None:
    old = (await hello(here)).body["challenge"]
    new = (await hello(here)).body["challenge"]
    assert (await hello(here, old)).body["accepted"] is False
    latest = (await hello(here)).body["challenge"]
    assert new != latest
    assert (await hello(here, latest)).body["accepted"] is True
    assert (await hello(here, latest)).body["accepted"] is False


async def test_a_poll_outside_of_the_session_is_told_to_say_hello(here: Running) -> None:
    session = await dial_in(here)
    for asked in ({"session": "another"}, {"session": session, "epoch": "another"}):
        answer = await call(here, "states", {"tell": {}}, **asked)
        assert (answer.status, answer.body["reason"]) == (412, "epoch_changed")
    assert (await call(here, "states", {"tell": {}}, session)).status == 200


async def test_a_poll_hangs_until_something_waits_and_a_lease_hands_it_out(here: Running) -> None:
    session = await dial_in(here)
    poll = asyncio.create_task(call(here, "states", {"tell": {}, "wait": 20}, session))
    await asyncio.sleep(0)
    tid = await for_gordon(here)
    here.hub.notifier.owed(owed_to("gordon-vm"))
    assert (await poll).body["take"] == [tid]
    (item,) = (await call(here, "lease", {"tids": [tid]})).body["results"]
    assert (item["tid"], item["code"], item["path"]) == (tid, 200, ["hub-vm"])
    assert sha256(item["payload"].encode()).hexdigest() == tid
    record = (await here.ask("GET", f"/api/v1/handoffs/{tid}", "token-of-bob-vm")).body
    assert record["state"] == "leased"


async def test_what_is_told_rises_for_the_first_host_and_a_final_may_be_forgotten(here: Running) -> None:
    session = await dial_in(here)
    tid = await for_gordon(here)
    await call(here, "lease", {"tids": [tid]})
    await call(here, "states", {"tell": told(tid, "published")}, session)
    asked = await here.ask("GET", f"/api/v1/handoffs/{tid}", "token-of-bob-vm")
    assert (asked.body["state"], asked.body["record"]["by"]) == ("published", "gordon-vm")
    final = told(tid, "completed", reason="completed", delivered="claimed", artefact=ARTEFACT)
    assert (await call(here, f"{tid}/artefact", BYTES)).status == 200
    answer = await call(here, "states", {"tell": final}, session)
    assert answer.body["forget"] == [tid]
    brought = await here.ask("GET", f"/api/v1/handoffs/{tid}/artefact", "token-of-bob-vm")
    assert brought.data == BYTES
    (item,) = (await call(here, "lease", {"tids": [tid]})).body["results"]
    assert item["record"]["state"] == "completed"


BYTES = b'{"transcript": "grown"}'
ARTEFACT = {"name": "final.json", "sha256": sha256(BYTES).hexdigest(), "size": len(BYTES)}


async def test_one_record_that_cannot_be_read_does_not_hold_back_the_others(here: Running) -> None:
    session = await dial_in(here)
    tid = await for_gordon(here)
    await call(here, "lease", {"tids": [tid]})
    mixed = {"a" * 64: {"state": "nonsense"}, **told(tid, "published")}
    assert (await call(here, "states", {"tell": mixed}, session)).status == 200
    assert (await here.ask("GET", f"/api/v1/handoffs/{tid}", "token-of-bob-vm")).body["state"] == "published"


async def test_records_that_cannot_be_read_are_one_line_of_the_log(
    here: Running, caplog: pytest.LogCaptureFixture
) -> None:
    session = await dial_in(here)
    names = ["\n2026-11-20T10:00:00.000Z critical forged \x1b[31m", *(f"{number:064x}" for number in range(9))]
    await call(here, "states", {"tell": {name: {"state": "a\nb"} for name in names}}, session)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"10 records that {GORDON_VM} told cannot be read")
    assert line.isascii()
    assert line.isprintable()


async def test_nothing_is_lent_to_a_peer_that_is_called_from_here(here: Running) -> None:
    for path, body in (("lease", {"tids": []}), ("states", {"tell": {}})):
        assert (await here.peer(path, body)).status == 403


async def test_foreign_and_unknown_leases_look_the_same(here: Running) -> None:
    await dial_in(here)
    data = payload(1)
    await here.start(data)
    (foreign,) = (await call(here, "lease", {"tids": [sha256(data).hexdigest()]})).body["results"]
    (unknown,) = (await call(here, "lease", {"tids": ["b" * 64]})).body["results"]
    assert {**foreign, "tid": ""} == {**unknown, "tid": ""}
    assert foreign["code"] == 404


async def test_a_lease_under_another_epoch_gets_nothing(here: Running) -> None:
    await dial_in(here)
    tid = await for_gordon(here)
    assert (await call(here, "lease", {"tids": [tid]}, epoch="another")).status == 412
    assert (await here.ask("GET", f"/api/v1/handoffs/{tid}", "token-of-bob-vm")).body["state"] == "stored"


async def test_a_peer_that_lost_its_tree_gets_nothing_twice(here: Running) -> None:
    await dial_in(here)
    tid = await for_gordon(here)
    await call(here, "lease", {"tids": [tid]})
    await dial_in(here, "a-new-tree")
    (item,) = (await call(here, "lease", {"tids": [tid]}, epoch="a-new-tree")).body["results"]
    assert (item["code"], item["reason"], item["final"]) == (410, "peer_lost_state", True)
