"""Rates of agents and bytes of peers."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.unit.hub.harness import payload, running, settings, wire

from handoffd.hub.limit import Bucket, Budget, Turnstile
from handoffd.hub.refusal import Refused


def test_a_burst_passes_and_then_one_for_each_share_of_a_second() -> None:
    bucket = Bucket(20.0, 100, now_s=5.0)
    assert [bucket.take(5.0) for _ in range(100)] == [0.0] * 100
    assert bucket.take(5.0) == pytest.approx(0.05)
    assert bucket.take(5.051) == 0.0
    assert bucket.take(5.051) > 0.0


@given(some.lists(some.floats(0.0, 2.0), max_size=300))
def test_no_pattern_of_asking_gets_more_than_rate_and_burst(pauses: list[float]) -> None:
    bucket, now_s, passed = Bucket(2.0, 5, now_s=0.0), 0.0, 0
    for pause in pauses:
        now_s += pause
        passed += bucket.take(now_s) == 0.0
    assert passed <= 5 + 2.0 * now_s + 1e-6


def test_one_tokens_burst_is_not_anothers() -> None:
    turnstile = Turnstile(1.0, 1)
    turnstile.pass_one("a", 0.0)
    turnstile.pass_one("b", 0.0)
    with pytest.raises(Refused) as refused:
        turnstile.pass_one("a", 0.0)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "1")


def test_bytes_are_given_back_whatever_happens() -> None:
    budget = Budget(10)
    with pytest.raises(ZeroDivisionError), budget.hold("bob-vm", 10):
        raise ZeroDivisionError
    with budget.hold("bob-vm", 6):
        with pytest.raises(Refused), budget.hold("bob-vm", 5):
            pass
        with budget.hold("alice-vm", 5), budget.hold("bob-vm", 4):
            pass


def test_a_lone_request_always_passes() -> None:
    with Budget(10).hold("bob-vm", 1000):
        pass


async def test_an_agent_that_asks_too_often_is_told_when_to_come_back() -> None:
    async with running(settings(agent_requests_per_s=0.5, agent_burst=2)) as here:
        answers = [await here.ask("GET", "/api/v1/handoffs/poll") for _ in range(3)]
        assert [answer.status for answer in answers] == [204, 204, 429]
        assert answers[2].body["reason"] == "rate_limited"
        assert answers[2].headers["Retry-After"] == "2"
        assert (await here.ask("GET", "/api/v1/handoffs/poll", "token-of-sven")).status == 204


async def test_a_daemon_is_not_counted_by_requests() -> None:
    async with running(settings(agent_requests_per_s=0.5, agent_burst=1)) as here:
        assert {(await here.start(payload(number))).status for number in range(5)} == {201}


async def test_an_agent_cannot_have_more_bodies_in_memory_than_its_share() -> None:
    head = b"POST /api/v1/handoffs/start HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer token-of-alice\r\n"
    async with running(settings(agent_limit_bytes=1000)) as here, wire(here.port) as (invited, first):
        first.write(head + b"Content-Length: 600\r\nExpect: 100-continue\r\n\r\n")
        await invited.readuntil(b"100 Continue\r\n\r\n")  # and the body never comes
        refused = await here.ask("POST", "/api/v1/handoffs/start", "token-of-alice", b"x" * 600)
        assert (refused.status, refused.body["reason"]) == (429, "rate_limited")
        assert (await here.start(payload(), token="token-of-bob-vm")).status == 201
        other = await here.ask("POST", "/api/v1/handoffs/start", "token-of-sven", b"x" * 600)
        assert other.status != 429


async def test_a_reload_gives_nobody_a_new_share() -> None:
    head = b"POST /api/v1/handoffs/start HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer token-of-bob-vm\r\n"
    chosen = settings(peer_limit_bytes=1000, agent_requests_per_s=0.01, agent_burst=2)
    async with running(chosen) as here, wire(here.port) as (invited, first):
        first.write(head + b"Content-Length: 600\r\nExpect: 100-continue\r\n\r\n")
        await invited.readuntil(b"100 Continue\r\n\r\n")
        assert {(await here.ask("GET", "/api/v1/handoffs/poll")).status for _ in range(2)} == {204}
        here.listener.reload(chosen, here.hub.directory)
        assert (await here.start(b"x" * 600)).status == 429
        assert (await here.ask("GET", "/api/v1/handoffs/poll")).status == 429
        here.listener.reload(settings(peer_limit_bytes=1200, agent_requests_per_s=1e6), here.hub.directory)
        assert (await here.start(b"x" * 600)).status != 429
        assert (await here.ask("GET", "/api/v1/handoffs/poll")).status == 204


def test_new_limits_meet_what_is_used_already() -> None:
    budget, turnstile = Budget(10), Turnstile(1.0, 3)
    with budget.hold("bob-vm", 10):
        budget.change(5)
        with pytest.raises(Refused):
            budget.hold("bob-vm", 1).__enter__()
        budget.change(20)
        with budget.hold("bob-vm", 10):
            pass
    turnstile.pass_one("a", 0.0)
    turnstile.change(1.0, 1)
    turnstile.pass_one("a", 0.0)
    with pytest.raises(Refused):
        turnstile.pass_one("a", 0.0)
