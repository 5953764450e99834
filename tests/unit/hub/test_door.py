"""Tokens and routes: who may call what, and what a stranger sees."""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.unit.hub.fake_engine import BOB, TOKENS, digest
from tests.unit.hub.harness import Running, payload, running, settings, until, wire

from handoffd.custody.desk import DeskClosed, DeskDied
from handoffd.hub.route import Audience
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


def reload(here: Running, *peers: str, but: str = "") -> None:
    """Bring a configuration into force with these peers; of `but` no token is accepted."""
    known = {
        digest(token): one for token, one in TOKENS.items() if one.agent or (one.peer in peers and one.peer != but)
    }
    here.listener.reload(settings(), Directory(known, peers=peers))


async def hello(here: Running, token: str) -> tuple[int, object]:
    answer = await here.ask("GET", "/api/v1/hello", token)
    return answer.status, answer.body.get("unpaired")


async def test_a_peer_that_this_host_has_parted_from_is_told_so_and_nobody_else_is(here: Running) -> None:
    for _ in range(2):
        reload(here, "gordon-vm")
        assert await hello(here, "token-of-bob-vm") == (401, True)
    assert await hello(here, "token-of-gordon-vm") == (200, None)
    assert await hello(here, "wrong") == (401, None)
    answer = await here.ask("GET", "/api/v1/hello", "token-of-bob-vm")
    assert "has ended the pairing" in answer.body["detail"]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_whose_token_alone_was_taken_away_is_not_told_so_nor_who_is_paired_anew(here: Running) -> None:
    reload(here, "bob-vm", "gordon-vm", but="bob-vm")
    assert await hello(here, "token-of-bob-vm") == (401, None)
    reload(here, "bob-vm", "gordon-vm")
    reload(here, "gordon-vm")
    assert await hello(here, "token-of-bob-vm") == (401, True)
    reload(here, "bob-vm", "gordon-vm", but="bob-vm")
    assert await hello(here, "token-of-bob-vm") == (401, None)


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
    "route",
    [route for route in ROUTES if route.path.startswith("/api/") and route.audience is not Audience.STRANGER],
    ids=lambda r: r.operation,
)
async def test_no_call_of_the_interface_is_served_without_a_token(here: Running, route: object) -> None:
    path = route.path.replace("{id}", "0" * 64)  # type: ignore[attr-defined]
    assert (await here.ask(route.method, path, None)).status == 401  # type: ignore[attr-defined]


def take_away(here: Running, agent: str) -> None:
    """Bring a configuration into force that knows this agent's token no more."""
    left = {digest: who for digest, who in here.hub.directory.principals.items() if who.agent != agent}
    here.listener.reload(here.hub.settings, replace(here.hub.directory, principals=left))


async def test_a_poll_whose_token_is_taken_away_is_told_so(here: Running) -> None:
    async with asyncio.TaskGroup() as group:
        polling = group.create_task(here.ask("GET", "/api/v1/handoffs/poll?wait=30"))
        await until(lambda: here.hub.notifier.waiters("@alice") == 1)
        take_away(here, "alice")
        assert (await polling).status == 401


@asynccontextmanager
async def awaited(here: Running, token: str, data: bytes) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """Begin a start up to where its body is waited for."""
    async with wire(here.port) as (reader, writer):
        writer.write(b"POST /api/v1/handoffs/start HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
        writer.write(f"Authorization: Bearer {token}\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        yield reader, writer


async def test_a_token_that_is_taken_away_before_the_body_is_here_hands_nothing_in(here: Running) -> None:
    data = payload()
    async with awaited(here, "token-of-bob-vm", data) as (reader, writer):
        reload(here)
        writer.write(data)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        assert here.engine.held == {}


async def test_what_a_token_may_do_is_looked_up_when_the_body_is_here(here: Running) -> None:
    data = payload()
    async with awaited(here, "token-of-bob-vm", data) as (reader, writer):
        known = here.hub.directory.principals
        fewer = {one: replace(who, sends=who.sends - {BOB}) for one, who in known.items()}
        here.listener.reload(here.hub.settings, replace(here.hub.directory, principals=fewer))
        writer.write(data)
        assert (await reader.readline()).startswith(b"HTTP/1.1 403 ")


SOON_S = 0.05
"""What a call that waits is given, here, to look whether it still may."""


async def test_a_call_that_waits_and_never_looks_whether_it_still_may_is_cut_off(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.hub.dispatch.TELL_S", SOON_S)
    monkeypatch.setattr(here.hub, "check_known", lambda call: None)
    async with wire(here.port) as (reader, writer):
        writer.write(b"GET /api/v1/handoffs/poll?wait=30 HTTP/1.1\r\nHost: x\r\n")
        writer.write(b"Authorization: Bearer token-of-alice\r\n\r\n")
        await until(lambda: here.hub.notifier.waiters("@alice") == 1)
        take_away(here, "alice")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    await until(lambda: here.hub.notifier.waiters("@alice") == 0)


async def test_the_poll_of_another_goes_on(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoffd.hub.dispatch.TELL_S", SOON_S)
    async with asyncio.TaskGroup() as group:
        polling = group.create_task(here.ask("GET", "/api/v1/handoffs/poll?wait=30"))
        await until(lambda: here.hub.notifier.waiters("@alice") == 1)
        take_away(here, "sven")
        await asyncio.wait([polling], timeout=4 * SOON_S)  # beyond what one without a token is given
        assert (await here.start(payload())).status == 201
        assert (await polling).status == 200


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
        ("PUT", "/api/v1/handoffs/abc/artefact", "GET, POST"),
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


async def test_what_a_desk_dies_of_may_have_taken_effect_and_is_told_once_by_its_owner(
    here: Running, caplog: pytest.LogCaptureFixture
) -> None:
    def deadly(items: list[object]) -> list[object]:
        raise DeskDied("a directory could not be flushed")

    here.engine.admit = deadly  # type: ignore[method-assign, assignment]
    answer = await here.start(payload(), **{"Idempotency-Key": "a" * 64})
    assert (answer.status, answer.body["reason"]) == (500, "unavailable")
    assert "tid" not in answer.body
    assert caplog.text == ""


async def test_what_waited_for_a_desk_that_has_ended_was_not_done(here: Running) -> None:
    def ended(items: list[object]) -> list[object]:
        raise DeskClosed("the custody thread has stopped")

    here.engine.admit = ended  # type: ignore[method-assign, assignment]
    answer = await here.start(payload(), **{"Idempotency-Key": "a" * 64})
    assert (answer.status, answer.body["reason"], answer.body["tid"]) == (503, "unavailable", "a" * 64)


async def test_a_desk_that_has_died_did_nothing(here: Running) -> None:
    here.desk.stop()
    answer = await here.start(payload(), **{"Idempotency-Key": "a" * 64})
    assert (answer.status, answer.body["reason"], answer.body["tid"]) == (503, "unavailable", "a" * 64)
    assert (await here.ask("GET", "/healthz")).status == 200
