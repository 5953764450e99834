"""Peers that dial in: a challenge counts once, and who has not been heard is away."""

import asyncio

import pytest

from handoffd.hub import dialler
from handoffd.hub.dialler import Diallers
from handoffd.protocol.moment import format_moment

NOW_S = 1_795_168_800.0  # 2026-11-20T10:00:00Z


@pytest.fixture
def turns() -> list[tuple[str, bool]]:
    return []


@pytest.fixture
async def diallers(turns):
    made = Diallers(lambda: NOW_S, lambda peer, here: turns.append((peer, here)))
    yield made
    made.forget("alice-vm")


async def test_a_challenge_is_good_once_and_the_last_one_alone(diallers):
    old, new = diallers.challenge("alice-vm"), diallers.challenge("alice-vm")
    assert not diallers.takes("alice-vm", old)
    assert diallers.takes("alice-vm", new)
    assert not diallers.takes("alice-vm", new)
    assert not diallers.takes("nobody", new)


async def test_a_peer_that_never_called_is_down_and_was_never_heard(diallers):
    told = diallers.status("alice-vm")
    assert (told["state"], told["since"], told["last_success"]) == ("down", None, None)
    assert told["error"]["word"] == "away"


async def test_a_peer_that_calls_is_up_and_its_last_call_is_told(diallers, turns):
    diallers.welcome("alice-vm", "e", "0.1.0")
    diallers.hear("alice-vm")
    told = diallers.status("alice-vm")
    assert (told["state"], told["error"], told["version"]) == ("up", None, "0.1.0")
    assert told["last_success"] == "2026-11-20T10:00:00.000Z"
    assert turns == [("alice-vm", True)]


async def test_a_peer_that_is_not_heard_is_away_and_its_last_call_stays_told(diallers, turns, monkeypatch):
    monkeypatch.setattr(dialler, "AWAY_S", 0.01)
    diallers.welcome("alice-vm", "e", "0.1.0")
    async with asyncio.timeout(10):
        while len(turns) < 2:
            await asyncio.sleep(0.005)
    told = diallers.status("alice-vm")
    assert (told["state"], turns[-1]) == ("down", ("alice-vm", False))
    assert told["last_success"] == "2026-11-20T10:00:00.000Z"


def clocks(diallers) -> tuple[int | None, int | None]:
    told = diallers.status("alice-vm")
    return told["clock_offset_ms"], told["clock_error_ms"]


def echo(told_s: float, ahead_s: float) -> str:
    """What a peer whose clock is ahead says at once to what it was answered."""
    return " ".join(format_moment(at_s) for at_s in (told_s, told_s + ahead_s, told_s + ahead_s))


async def test_the_clock_of_a_peer_is_measured_by_the_hello_that_follows_an_answer(diallers):
    diallers.answered("alice-vm", format_moment(NOW_S))
    assert clocks(diallers) == (None, None)
    diallers.measure("alice-vm", echo(NOW_S, 90.0))
    offset_ms, error_ms = clocks(diallers)
    assert abs(offset_ms - 90_000) <= error_ms
    assert diallers.offset_ms("alice-vm") == offset_ms


async def test_only_the_last_answer_counts_and_only_once(diallers):
    diallers.answered("alice-vm", format_moment(NOW_S - 25))
    diallers.answered("alice-vm", format_moment(NOW_S))
    diallers.measure("alice-vm", echo(NOW_S - 25, 90.0))
    diallers.measure("alice-vm", echo(NOW_S, 90.0))
    assert clocks(diallers) == (None, None)


@pytest.mark.parametrize("said", [None, "", "now", "a b c", "2026-11-20T10:00:00.000Z " * 40, "\0 \0 \0"])
async def test_what_is_no_measure_is_no_reason_to_refuse_a_hello(diallers, said):
    diallers.answered("alice-vm", format_moment(NOW_S))
    diallers.measure("alice-vm", said)
    diallers.measure("nobody", said)
    assert clocks(diallers) == (None, None)
    assert diallers.offset_ms("nobody") is None
