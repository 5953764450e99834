"""Of several attempts the first to succeed, and nothing of the others."""

import asyncio
import ssl

import pytest

from handoffd.link.race import first_of


class Attempts:
    """Attempts that end when told; `begun` and `discarded` tell which."""

    def __init__(self, number: int) -> None:
        self.ends = [asyncio.get_running_loop().create_future() for _ in range(number)]
        self.begun: list[int] = []
        self.discarded: list[int] = []
        self.cancelled: list[int] = []

    def all(self):
        return [lambda number=number: self.one(number) for number in range(len(self.ends))]

    async def one(self, number):
        self.begun.append(number)
        try:
            await self.ends[number]
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return number

    async def winner(self, until_s=None):
        async with asyncio.timeout(30):
            return await first_of(self.all(), self.discarded.append, until_s)


async def test_the_first_that_succeeds_is_the_only_one_begun():
    attempts = Attempts(3)
    attempts.ends[0].set_result(None)
    assert await attempts.winner() == 0
    assert (attempts.begun, attempts.discarded) == ([0], [])


async def test_one_that_does_not_answer_holds_nothing_up_and_is_let_be():
    attempts = Attempts(2)
    attempts.ends[1].set_result(None)
    assert await attempts.winner() == 1
    assert (attempts.begun, attempts.cancelled) == ([0, 1], [0])


async def test_a_failure_begins_the_next_one():
    attempts = Attempts(3)
    attempts.ends[0].set_exception(OSError("refused"))
    attempts.ends[1].set_result(None)
    assert await attempts.winner() == 1
    assert (attempts.begun, attempts.cancelled) == ([0, 1], [])


async def test_where_all_fail_the_last_one_says_why():
    attempts = Attempts(2)
    attempts.ends[0].set_exception(OSError("refused"))
    attempts.ends[1].set_exception(OSError("no route"))
    with pytest.raises(OSError, match="no route"):
        await attempts.winner()


async def test_where_all_fail_a_host_that_answered_wrongly_says_more_than_one_that_refused():
    attempts = Attempts(3)
    attempts.ends[0].set_exception(OSError("refused"))
    attempts.ends[1].set_exception(ssl.SSLError("another certificate"))
    attempts.ends[2].set_exception(OSError("no route"))
    with pytest.raises(ssl.SSLError, match="another certificate"):
        await attempts.winner()


async def test_a_failure_says_more_than_silence():
    attempts = Attempts(2)
    attempts.ends[0].set_exception(OSError("another certificate"))
    with pytest.raises(OSError, match="another certificate"):
        await attempts.winner(asyncio.get_running_loop().time() + 0.5)
    assert attempts.cancelled == attempts.begun[1:]


async def test_where_all_are_silent_their_time_is_over():
    attempts = Attempts(2)
    with pytest.raises(TimeoutError):
        await attempts.winner(asyncio.get_running_loop().time() + 0.5)
    assert sorted(attempts.cancelled) == attempts.begun


async def test_of_two_that_succeed_at_once_one_is_discarded():
    attempts = Attempts(2)

    async def both():
        while len(attempts.begun) < 2:
            await asyncio.sleep(0.001)
        for end in attempts.ends:
            end.set_result(None)

    won, _ = await asyncio.gather(attempts.winner(), both())
    assert {won, *attempts.discarded} == {0, 1}


async def test_who_gives_up_leaves_nothing_behind():
    attempts = Attempts(2)
    waiting = asyncio.ensure_future(first_of(attempts.all(), attempts.discarded.append, None))
    async with asyncio.timeout(30):
        while len(attempts.begun) < 2:
            await asyncio.sleep(0.001)
    attempts.ends[1].set_result(None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(attempts.discarded + attempts.cancelled) == [0, 1]
