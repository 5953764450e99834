"""The calls between daemons: hello, batch, states, revoke, forget."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
from tests.unit.hub.harness import Answered, Running, payload, running, settings, until

from handoffd.protocol.record import from_fields


@pytest.fixture
async def here() -> AsyncIterator[Running]:
    async with running() as hub:
        yield hub


def tid_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def item(data: bytes, **more: Any) -> dict[str, Any]:
    return {"tid": tid_of(data), "path": ["bob-vm"], "payload": data.decode(), **more}


async def claim(here: Running, data: bytes) -> Answered:
    return await here.ask("POST", f"/api/v1/handoffs/{tid_of(data)}/accept", body={"nonce": "n"})


async def test_hello_tells_epoch_version_homes_and_link(here: Running) -> None:
    answer = await here.ask("GET", "/api/v1/hello", "token-of-bob-vm")
    assert answer.status == 200
    assert answer.body == {
        "version": "1.2.3",
        "homes": ["alice", "sven"],
        "link": "push",
        "epoch": "e-fake",
        "time": answer.headers["Handoffd-Time"],
    }


@pytest.mark.parametrize(("version", "status"), [("1.9.0", 200), ("2.0.0", 400), ("", 400), ("x", 400)])
async def test_another_major_version_is_refused(here: Running, version: str, status: int) -> None:
    answer = await here.ask("GET", "/api/v1/hello", "token-of-bob-vm", headers={"Handoffd-Version": version})
    assert answer.status == status
    assert status == 200 or "major version" in answer.body["detail"]


@pytest.mark.parametrize("call", ["GET hello", "POST handoffs/batch", "POST handoffs/states", "POST handoffs/forget"])
async def test_an_agent_may_not_speak_as_a_daemon(here: Running, call: str) -> None:
    method, path = call.split()
    answer = await here.ask(method, f"/api/v1/{path}", "token-of-alice", body={} if method == "POST" else None)
    assert (answer.status, answer.body["reason"]) == (403, "forbidden")


@pytest.mark.parametrize("path", ["batch", "states", "revoke", "forget"])
async def test_another_epoch_is_refused_and_named_before_anything_is_done(here: Running, path: str) -> None:
    answer = await here.peer(path, b"not even JSON", **{"Handoffd-Epoch": "e-old"})
    assert (answer.status, answer.body["reason"], answer.body["refused_epoch"]) == (412, "epoch_changed", "e-old")
    assert answer.body["epoch"] == "e-fake"
    assert not here.desk.groups


async def test_a_start_under_another_epoch_is_refused_with_its_tid(here: Running) -> None:
    headers = {"Handoffd-Epoch": "e-old", "Idempotency-Key": tid_of(payload())}
    answer = await here.start(payload(), **headers)
    assert (answer.status, answer.body["tid"], answer.body["refused_epoch"]) == (412, tid_of(payload()), "e-old")
    assert not here.engine.held


async def test_a_daemons_call_without_an_epoch_is_refused(here: Running) -> None:
    answer = await here.ask("POST", "/api/v1/handoffs/revoke", "token-of-bob-vm", {"tids": []})
    assert answer.status == 400
    assert "Handoffd-Epoch" in answer.body["detail"]


async def test_a_batch_is_admitted_as_one_group_and_answered_in_order(here: Running) -> None:
    sent = [payload(number) for number in range(100)]
    answer = await here.peer("batch", {"items": [item(data) for data in sent]})
    assert answer.status == 200
    assert [result["tid"] for result in answer.body["results"]] == [tid_of(data) for data in sent]
    assert {(result["code"], result["status"]) for result in answer.body["results"]} == {(201, "pending")}
    assert here.desk.groups == [100]
    assert [held.data for held in here.engine.held.values()] == sent


async def test_a_bad_item_fails_alone(here: Running) -> None:
    items = [
        item(payload(1)),
        "not an object",
        {"tid": "short", "payload": "{}"},
        {"tid": tid_of(b"{}")},
        {"tid": tid_of(b"{}"), "payload": "\ud800"},
        item(payload(2), path=["../x"]),
        item(payload(3), tid="0" * 64),
        item(payload(4, sender="gordon")),
        item(payload(5)),
    ]
    results = (await here.peer("batch", {"items": items})).body["results"]
    assert [result["code"] for result in results] == [201, 400, 400, 400, 400, 400, 400, 403, 201]
    assert "items[1]" in results[1]["detail"]
    assert "items[4].payload" in results[4]["detail"]


async def test_an_item_over_the_limit_is_too_large_alone() -> None:
    async with running(settings(max_payload_bytes=1000)) as here:
        large = payload(transcript=[{"role": "user", "text": "x" * 2000}])
        answer = await here.peer("batch", {"items": [item(large), item(payload(1))]})
        assert [result["code"] for result in answer.body["results"]] == [413, 201]
        assert answer.body["results"][0]["reason"] == "too_large"


async def test_a_result_reads_as_if_the_item_had_been_sent_alone(here: Running) -> None:
    alone = await here.start(payload())
    in_batch = (await here.peer("batch", {"items": [item(payload())]})).body["results"][0]
    assert (
        in_batch.items() >= {key: alone.body[key] for key in ("handoff_id", "status", "tid", "state", "record")}.items()
    )
    assert in_batch["code"] == 200


async def test_more_than_a_hundred_items_are_refused_whole(here: Running) -> None:
    answer = await here.peer("batch", {"items": [item(payload())] * 101})
    assert (answer.status, answer.body["reason"]) == (400, "bad_request")
    assert not here.engine.held


async def test_an_empty_batch_asks_custody_nothing(here: Running) -> None:
    assert (await here.peer("batch", {"items": []})).body["results"] == []
    assert not here.desk.groups


async def test_states_tell_what_is_higher(here: Running) -> None:
    await here.start(payload())
    await claim(here, payload())
    answer = await here.peer("states", {"known": {tid_of(payload()): "published"}})
    told = from_fields(answer.body["states"][tid_of(payload())])
    assert told.state == "claimed"
    assert answer.body["cursor"] == "1"
    assert "reset" not in answer.body


async def test_states_tell_an_unknown_cursor_and_what_is_lost(here: Running) -> None:
    assert (await here.peer("states", {"since": "no such"})).body["reset"] is True
    assert (await here.peer("states", {"known": {"0" * 64: "stored"}, "wait": 25})).body["lost"] == ["0" * 64]


async def test_a_hanging_states_call_ends_with_the_change(here: Running) -> None:
    await here.start(payload())
    waiting = asyncio.ensure_future(here.peer("states", {"known": {}, "since": "0", "wait": 25}))
    await until(lambda: len(here.desk.groups) == 2)
    await claim(here, payload())
    assert list((await waiting).body["states"]) == [tid_of(payload())]


async def test_a_hanging_states_call_ends_empty_when_its_time_is_up(here: Running) -> None:
    answer = await here.peer("states", {"since": "0", "wait": 0.05})
    assert (answer.status, answer.body["states"]) == (200, {})


async def test_states_of_another_peers_handoffs_are_not_told(here: Running) -> None:
    await here.start(payload())
    await claim(here, payload())
    headers = {"Handoffd-Epoch": "e-fake"}
    body = {"known": {tid_of(payload()): "published"}, "since": "0"}
    answer = await here.ask("POST", "/api/v1/handoffs/states", "token-of-gordon-vm", body, headers)
    assert answer.body["states"] == {}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"known": []}, "known:"),
        ({"known": {"short": "stored"}}, "known:"),
        ({"known": {"0" * 64: "gone"}}, "known."),
        ({"known": {f"{number:064x}": "stored" for number in range(1001)}}, "known:"),
        ({"since": 3}, "since:"),
        ({"wait": "long"}, "wait:"),
        ({"wait": -1}, "wait:"),
        ({"wait": True}, "wait:"),
    ],
)
async def test_a_senseless_states_call_is_told_where(here: Running, body: object, place: str) -> None:
    answer = await here.peer("states", body)
    assert answer.status == 400
    assert answer.body["detail"].startswith(place)


async def test_a_wait_beyond_all_numbers_is_cut(here: Running) -> None:
    asked = here.peer("states", b'{"since": "no such", "wait": 1' + b"0" * 4000 + b"}")
    assert (await asked).status == 200


async def test_revoke_takes_back_and_leaves_a_tombstone(here: Running) -> None:
    await here.start(payload())
    answer = await here.peer("revoke", {"tids": [tid_of(payload()), "0" * 64]})
    assert {tid: record["state"] for tid, record in answer.body["states"].items()} == {
        tid_of(payload()): "revoked",
        "0" * 64: "revoked",
    }


@pytest.mark.parametrize("call", ["revoke", "forget"])
async def test_records_that_do_not_fit_into_an_answer_are_left_out_of_it(
    here: Running, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    tids = [(await here.start(payload(number))).body["tid"] for number in range(3)]
    await here.peer("revoke", {"tids": tids})
    monkeypatch.setattr("handoffd.hub.peer.RECORDS_LIMIT_BYTES", 1)
    assert list((await here.peer(call, {"tids": tids})).body["states"]) == tids[:1]


async def test_forget_tells_what_is_known(here: Running) -> None:
    await here.start(payload())
    await here.peer("revoke", {"tids": [tid_of(payload())]})
    answer = await here.peer("forget", {"tids": [tid_of(payload()), "0" * 64]})
    assert list(answer.body["states"]) == [tid_of(payload())]
    assert here.engine.forgotten == [tid_of(payload())]


async def test_a_bad_tid_is_told_where(here: Running) -> None:
    answer = await here.peer("revoke", {"tids": ["0" * 64, "x"]})
    assert answer.status == 400
    assert answer.body["detail"].startswith("tids[1]:")
