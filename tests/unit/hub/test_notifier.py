"""Waiting and waking without a lost wake-up."""

import asyncio

from handoffd.hub.notifier import Notifier, settle


class Caller:
    def __init__(self) -> None:
        self.waiter: asyncio.Future[None] | None = None
        self.gone = False


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_news_between_asking_and_waiting_is_not_lost() -> None:
    notifier = Notifier()
    seen = notifier.version("bob-vm")
    notifier.changed("bob-vm")
    assert await notifier.wait("bob-vm", seen, Caller(), soon(0))


async def test_everybody_who_waits_is_woken() -> None:
    notifier = Notifier()
    waits = [asyncio.ensure_future(notifier.wait("@alice", 0, Caller(), soon(10))) for _ in range(3)]
    await asyncio.sleep(0)
    notifier.waiting("alice")
    assert await asyncio.gather(*waits) == [True, True, True]


async def test_an_agent_and_a_peer_of_one_name_are_two() -> None:
    notifier = Notifier()
    notifier.changed("alice")
    assert not await notifier.wait("@alice", 0, Caller(), soon(0.01))


async def test_a_wait_ends_with_its_time() -> None:
    caller = Caller()
    assert not await Notifier().wait("bob-vm", 0, caller, soon(0.01))
    assert caller.waiter is None


async def test_a_client_that_leaves_is_not_waited_for() -> None:
    notifier, caller = Notifier(), Caller()
    waiting = asyncio.ensure_future(notifier.wait("bob-vm", 0, caller, soon(10)))
    await asyncio.sleep(0)
    assert caller.waiter is not None
    caller.gone = True
    settle(caller.waiter)
    assert not await waiting
    assert not await notifier.wait("bob-vm", 0, caller, soon(10))


async def test_closing_sends_everybody_home_and_lets_nobody_wait() -> None:
    notifier = Notifier()
    waiting = asyncio.ensure_future(notifier.wait("bob-vm", 0, Caller(), soon(10)))
    await asyncio.sleep(0)
    notifier.close()
    assert not await waiting
    assert not await notifier.wait("bob-vm", 0, Caller(), soon(10))


async def test_when_who_may_ask_has_changed_everybody_asks_again() -> None:
    notifier = Notifier()
    waits = [asyncio.ensure_future(notifier.wait(name, 0, Caller(), soon(10))) for name in ("bob-vm", "@alice")]
    await asyncio.sleep(0)
    notifier.ring_all()
    assert await asyncio.gather(*waits) == [True, True]
