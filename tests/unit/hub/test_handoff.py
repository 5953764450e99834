"""The calls of agents: start, poll, accept, complete, reject, get, artefact."""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
from tests.unit.hub.fake_engine import NOW
from tests.unit.hub.harness import Answered, Running, payload, running, until


@pytest.fixture
async def here() -> AsyncIterator[Running]:
    async with running() as hub:
        yield hub


def tid_of(data: bytes) -> str:
    return sha256(data).hexdigest()


async def accept(here: Running, tid: str, nonce: str | None = "n1", token: str = "token-of-alice") -> Answered:
    body = None if nonce is None else {"nonce": nonce}
    return await here.ask("POST", f"/api/v1/handoffs/{tid}/accept", token, body)


async def test_an_existing_client_reads_handoff_id_and_status(here: Running) -> None:
    answer = await here.start(payload())
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body["handoff_id"] == "1790000000-bob-alice-0000000000000000"
    assert answer.body["status"] == "pending"


async def test_an_answer_bears_tid_state_record_epoch_and_time(here: Running) -> None:
    data = payload()
    answer = await here.start(data)
    assert answer.body["tid"] == answer.body["record"]["tid"] == tid_of(data)
    assert answer.body["state"] == "published"
    assert answer.body["epoch"] == answer.headers["Handoffd-Epoch"] == "e-fake"
    assert answer.body["time"] == answer.headers["Handoffd-Time"] == NOW


async def test_the_same_payload_again_is_known(here: Running) -> None:
    await here.start(payload())
    assert (await here.start(payload())).status == 200
    assert len(here.engine.held) == 1


async def test_the_exact_bytes_reach_custody(here: Running) -> None:
    data = payload().replace(b'", "', b'" ,\n "')
    await here.start(data)
    assert [held.data for held in here.engine.held.values()] == [data]


async def test_a_wrong_idempotency_key_is_refused(here: Running) -> None:
    answer = await here.start(payload(), **{"Idempotency-Key": "0" * 64})
    assert (answer.status, answer.body["reason"]) == (400, "bad_request")


async def test_an_agent_cannot_start_from_another(here: Running) -> None:
    answer = await here.start(payload(), token="token-of-alice")
    assert (answer.status, answer.body["reason"]) == (403, "forbidden")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_refusal_names_the_rule_and_is_final(here: Running) -> None:
    answer = await here.start(payload(transcript="none"))
    assert (answer.status, answer.body["reason"], answer.body["final"]) == (422, "refused_policy", True)
    assert answer.body["detail"] == "transcript is not a list"
    assert answer.body["title"] == "Unprocessable Entity"


async def test_an_expired_payload_is_gone_and_has_its_record(here: Running) -> None:
    here.engine.now_s += 3600
    answer = await here.start(payload())
    assert (answer.status, answer.body["reason"], answer.body["final"]) == (410, "expired", True)
    assert answer.body["record"]["state"] == "expired"


async def test_an_agent_that_lives_elsewhere_is_not_here(here: Running) -> None:
    answer = await here.start(payload(to="gordon"))
    assert (answer.status, answer.body["reason"], answer.body["final"]) == (421, "not_here", False)


async def test_a_path_of_hosts_is_read(here: Running) -> None:
    assert (await here.start(payload(), **{"Handoffd-Path": "one-vm, two-vm"})).status == 201
    answer = await here.start(payload(1), **{"Handoffd-Path": "one-vm, ../etc"})
    assert answer.status == 400
    assert "Handoffd-Path" in answer.body["detail"]


async def test_poll_shows_the_exact_bytes_and_its_ids_in_headers(here: Running) -> None:
    data = payload()
    await here.start(data)
    answer = await here.ask("GET", "/api/v1/handoffs/poll?agent=alice")
    assert (answer.status, answer.data) == (200, data)
    assert answer.headers["Handoffd-Tid"] == tid_of(data)
    assert answer.headers["Handoffd-Handoff-Id"] == "1790000000-bob-alice-0000000000000000"
    assert answer.headers["Content-Type"] == "application/json"


async def test_seeing_is_not_claiming(here: Running) -> None:
    await here.start(payload())
    for _ in range(2):
        assert (await here.ask("GET", "/api/v1/handoffs/poll?agent=alice")).status == 200


async def test_poll_of_nothing_is_no_content(here: Running) -> None:
    answer = await here.ask("GET", "/api/v1/handoffs/poll?agent=alice")
    assert (answer.status, answer.data) == (204, b"")
    assert answer.headers["Handoffd-Epoch"] == "e-fake"


async def test_an_agent_polls_for_itself_alone(here: Running) -> None:
    for other in ("sven", "nobody-at-all"):
        answer = await here.ask("GET", f"/api/v1/handoffs/poll?agent={other}")
        assert (answer.status, answer.body["reason"]) == (403, "forbidden")


@pytest.mark.parametrize("wait", ["-1", "nan", "soon", ""])
async def test_a_senseless_wait_is_named(here: Running, wait: str) -> None:
    answer = await here.ask("GET", f"/api/v1/handoffs/poll?agent=alice&wait={wait}")
    assert answer.status == 400
    assert answer.body["detail"].startswith("wait:")


async def test_a_long_poll_ends_with_what_arrives(here: Running) -> None:
    waiting = asyncio.ensure_future(here.ask("GET", "/api/v1/handoffs/poll?agent=alice&wait=30"))
    await until(lambda: here.desk.groups)
    await here.start(payload())
    assert (await waiting).data == payload()


async def test_a_long_poll_hears_nothing_of_others(here: Running) -> None:
    waiting = asyncio.ensure_future(here.ask("GET", "/api/v1/handoffs/poll?agent=sven&wait=0.3", "token-of-sven"))
    await until(lambda: here.desk.groups)
    await here.start(payload())
    assert (await waiting).status == 204


async def test_the_winner_gets_the_bytes_and_the_loser_409(here: Running) -> None:
    data = payload()
    await here.start(data)
    won, lost = await accept(here, tid_of(data), "n1"), await accept(here, tid_of(data), "n2")
    assert (won.status, won.data) == (200, data)
    assert (lost.status, lost.body["reason"]) == (409, "already_claimed")


async def test_the_same_nonce_again_gets_the_same_bytes(here: Running) -> None:
    data = payload()
    await here.start(data)
    assert [(await accept(here, tid_of(data))).data for _ in range(2)] == [data, data]


async def test_an_accept_without_a_nonce_is_told_that_a_retry_is_not_safe(here: Running) -> None:
    data = payload()
    await here.start(data)
    answer = await accept(here, tid_of(data), nonce=None)
    assert answer.status == 200
    assert answer.headers["Handoffd-Safe-To-Retry"] == "no"


async def test_an_accept_by_handoff_id_takes_the_pending_one(here: Running) -> None:
    await here.start(payload())
    answer = await accept(here, "1790000000-bob-alice-0000000000000000")
    assert answer.headers["Handoffd-Tid"] == tid_of(payload())


async def test_a_bad_nonce_is_named(here: Running) -> None:
    answer = await accept(here, "0" * 64, "no spaces please")
    assert answer.status == 400
    assert answer.body["detail"].startswith("nonce:")


async def test_nobody_claims_past_expires_at(here: Running) -> None:
    await here.start(payload())
    here.engine.now_s += 61
    answer = await accept(here, tid_of(payload()))
    assert (answer.status, answer.body["reason"]) == (410, "expired")


async def test_complete_and_again(here: Running) -> None:
    await here.start(payload())
    await accept(here, tid_of(payload()))
    for _ in range(2):
        answer = await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/complete")
        assert (answer.status, answer.body["status"], answer.body["reason"]) == (200, "completed", "completed")


async def test_a_final_artefact_is_stored_and_fetched_by_both_sides(here: Running) -> None:
    await here.start(payload())
    await accept(here, tid_of(payload()))
    final = payload(final_transcript=["more"])
    answer = await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/complete", body=final)
    assert answer.body["record"]["artefact"]["sha256"] == tid_of(final)
    for token in ("token-of-alice", "token-of-bob-vm"):
        fetched = await here.ask("GET", f"/api/v1/handoffs/{tid_of(payload())}/artefact", token)
        assert (fetched.status, fetched.data) == (200, final)
        assert fetched.headers["Content-Type"] == "application/octet-stream"


async def test_an_agents_file_name_cannot_break_a_header(here: Running) -> None:
    await here.start(payload())
    await accept(here, tid_of(payload()))
    await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/complete", body=payload(9))
    fetched = await here.ask("GET", f"/api/v1/handoffs/{tid_of(payload())}/artefact")
    shown = "attachment; filename*=UTF-8''1-bob%22%0D%0A-%C3%A4lice.json"
    assert fetched.headers["Content-Disposition"] == shown


async def test_an_artefact_must_be_an_object(here: Running) -> None:
    answer = await here.ask("POST", f"/api/v1/handoffs/{'0' * 64}/complete", body=b"[1]")
    assert (answer.status, answer.body["reason"]) == (400, "bad_request")


async def test_an_empty_object_is_no_artefact(here: Running) -> None:
    await here.start(payload())
    await accept(here, tid_of(payload()))
    answer = await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/complete", body={})
    assert answer.body["record"]["artefact"] is None


async def test_reject_takes_the_agents_words(here: Running) -> None:
    await here.start(payload())
    await accept(here, tid_of(payload()))
    answer = await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/reject", body={"reason": "busy" * 200})
    assert (answer.body["status"], answer.body["reason"]) == ("rejected", "rejected_by_agent")
    assert answer.body["record"]["detail"] == ("busy" * 200)[:500]


async def test_reject_with_an_artefact_takes_the_words_in_it(here: Running) -> None:
    await here.start(payload())
    await accept(here, tid_of(payload()))
    final = payload(rejection_reason="no capacity")
    answer = await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/reject", body=final)
    assert answer.body["record"]["detail"] == "no capacity"
    assert answer.body["record"]["artefact"]["size"] == len(final)


async def test_only_the_winner_ends_it(here: Running) -> None:
    await here.start(payload())
    answer = await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/complete")
    assert (answer.status, answer.body["reason"]) == (409, "not_claimed_by_you")


async def test_get_tells_the_record_to_both_parties(here: Running) -> None:
    await here.start(payload())
    for token in ("token-of-alice", "token-of-bob-vm"):
        answer = await here.ask("GET", f"/api/v1/handoffs/{tid_of(payload())}", token)
        assert (answer.status, answer.body["record"]["to"]) == (200, "alice")


@pytest.mark.parametrize("call", ["GET {}", "GET {}/artefact", "POST {}/accept", "POST {}/complete", "POST {}/reject"])
async def test_unknown_and_foreign_look_the_same(here: Running, call: str) -> None:
    await here.start(payload())
    method, path = call.split()
    foreign, unknown, no_name = [
        await here.ask(method, "/api/v1/handoffs/" + path.format(ident), "token-of-sven")
        for ident in (tid_of(payload()), "0" * 64, "%2e%2e%2fetc")
    ]
    assert (foreign.status, foreign.body["reason"]) == (404, "not_found")
    assert foreign.body == unknown.body == no_name.body
    assert sorted(foreign.headers) == sorted(unknown.headers)


async def test_a_percent_encoded_name_is_the_same_name(here: Running) -> None:
    await here.start(payload())
    answer = await here.ask("GET", "/api/v1/handoffs/1790000000%2Dbob-alice-0000000000000000", "token-of-alice")
    assert answer.body["tid"] == tid_of(payload())


async def test_answers_are_ascii_json_without_a_transcript(here: Running) -> None:
    answer = await here.start(payload())
    assert "Gott" not in answer.data.decode("ascii")
    assert json.loads(answer.data) == answer.body
