"""Tokens and routes: who may call what, and what a stranger sees."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.hub.fake_engine import TOKENS, digest
from tests.unit.hub.harness import Running, payload, running, settings

from handoffd.hub.settings import Directory
from handoffd.hub.table import ROUTES


@pytest.fixture
async def here() -> AsyncIterator[Running]:
    async with running() as hub:
        yield hub


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer wrong", "Basic token-of-alice", "token-of-alice", "Bearer " + "x" * 600]
)
async def test_a_request_without_a_valid_token_is_unauthorized(here: Running, authorization: str) -> None:
    headers = {"Authorization": authorization}
    answer = await here.ask("GET", "/api/v1/handoffs/poll?agent=alice", None, headers=headers)
    assert (answer.status, answer.body["reason"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Connection"] == "close"


async def test_the_scheme_is_read_in_any_case(here: Running) -> None:
    headers = {"Authorization": "bEARER token-of-alice"}
    assert (await here.ask("GET", "/api/v1/handoffs/poll", None, headers=headers)).status == 204


@pytest.mark.parametrize(
    "call", ["GET hello", "POST handoffs/start", "GET nowhere", "DELETE hello", "GET handoffs/%2e%2e"]
)
@pytest.mark.parametrize("named", [None, "e-other"])
async def test_a_stranger_learns_neither_epoch_nor_version(here: Running, call: str, named: str | None) -> None:
    method, path = call.split()
    headers = {"Handoffd-Epoch": named} if named else {}
    answer = await here.ask(method, f"/api/v1/{path}", "wrong", b"{}" if method == "POST" else None, headers)
    assert 401 <= answer.status <= 405
    told = f"{answer.headers}{answer.data.decode()}"
    assert "e-fake" not in told
    assert "1.2.3" not in told


async def test_a_peer_whose_token_failed_is_told_the_epoch_it_named_so_that_it_can_close_its_attempt(
    here: Running,
) -> None:
    answer = await here.start(payload(), token="wrong", **{"Handoffd-Epoch": "e-fake", "Idempotency-Key": "a" * 64})
    assert (answer.status, answer.body["epoch"], answer.body["tid"]) == (401, "e-fake", "a" * 64)


async def test_a_hash_is_not_a_token(here: Running) -> None:
    assert (await here.ask("GET", "/api/v1/handoffs/poll", digest("token-of-alice"))).status == 401


async def test_an_unauthorized_start_names_the_claimed_tid_and_nothing_else(here: Running) -> None:
    answer = await here.start(payload(), token="wrong", **{"Idempotency-Key": "a" * 64})
    assert (answer.status, answer.body["tid"]) == (401, "a" * 64)
    answer = await here.start(payload(), token="wrong", **{"Idempotency-Key": "no tid"})
    assert "tid" not in answer.body


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.path.startswith("/api/")], ids=lambda r: r.operation
)
async def test_no_call_of_the_interface_is_served_without_a_token(here: Running, route: object) -> None:
    path = route.path.replace("{id}", "0" * 64)  # type: ignore[attr-defined]
    assert (await here.ask(route.method, path, None)).status == 401  # type: ignore[attr-defined]


@pytest.mark.parametrize("token", [token for token, who in TOKENS.items() if who.agent is None])
@pytest.mark.parametrize("call", ["GET poll", "POST 0/accept", "POST 0/complete", "POST 0/reject"])
async def test_a_daemon_may_not_act_as_an_agent(here: Running, call: str, token: str) -> None:
    method, path = call.split()
    answer = await here.ask(method, f"/api/v1/handoffs/{path}", token)
    assert (answer.status, answer.body["reason"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/v1/handoffs", "/api/v2/hello", "/api/v1/handoffs/a/b/c", "/api/v1/handoffs/a/claim", "//"],
)
async def test_a_path_that_is_none_is_not_found(here: Running, path: str) -> None:
    answer = await here.ask("GET", path)
    assert (answer.status, answer.body["reason"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/handoffs/abc/artefact", "GET"),
        ("DELETE", "/api/v1/handoffs/abc", "GET"),
        ("GET", "/api/v1/handoffs/start", "POST"),
        ("PUT", "/healthz", "GET"),
    ],
)
async def test_another_method_is_told_which_are_served(here: Running, method: str, path: str, allowed: str) -> None:
    answer = await here.ask(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


async def test_operators_routes_are_not_served_over_tcp(here: Running) -> None:
    assert (await here.ask("GET", "/operator/status")).status == 404
    assert (await here.ask("POST", "/operator/withdraw", body={"tid": "0" * 64})).status == 404


async def test_after_a_reload_only_the_new_tokens_count(here: Running) -> None:
    only_sven = Directory({digest("new-token"): TOKENS["token-of-sven"]})
    here.listener.reload(settings(), only_sven)
    assert (await here.ask("GET", "/api/v1/handoffs/poll", "token-of-alice")).status == 401
    assert (await here.ask("GET", "/api/v1/handoffs/poll?agent=sven", "new-token")).status == 204


async def test_what_fails_unexpectedly_is_neither_shown_nor_called_undone(
    here: Running, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(items: list[object]) -> list[object]:
        raise ZeroDivisionError("a secret of the inside")

    here.engine.admit = broken  # type: ignore[method-assign, assignment]
    answer = await here.start(payload(), **{"Idempotency-Key": "a" * 64})
    # Not 503, and no tid: a sender would take that for "not admitted" and could call it never sent.
    assert (answer.status, answer.body["reason"]) == (500, "unavailable")
    assert "tid" not in answer.body
    assert b"secret" not in answer.data
    assert "ZeroDivisionError" in caplog.text


async def test_a_desk_that_has_died_did_nothing(here: Running) -> None:
    here.desk.stop()
    answer = await here.start(payload(), **{"Idempotency-Key": "a" * 64})
    assert (answer.status, answer.body["reason"], answer.body["tid"]) == (503, "unavailable", "a" * 64)
    assert (await here.ask("GET", "/healthz")).status == 200
