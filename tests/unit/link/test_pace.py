"""When /hello is asked next. Only lower bounds of time are looked at: a busy machine may always be later."""

import asyncio

from handoffd.link.pace import PROBE_GAP_S, Pace


async def rest_s(pace: Pace, delay_s: float) -> float:
    """Return how long a rest took."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    await pace.rest(delay_s)
    return loop.time() - begun_s


def soon(action) -> None:
    asyncio.get_running_loop().call_later(0.01, action)


async def test_a_rest_lasts_as_long_as_asked():
    assert await rest_s(Pace(), 0.3) >= 0.3


async def test_a_rest_is_never_shorter_than_the_gap():
    pace = Pace()
    pace.hurry()
    assert await rest_s(pace, 0.0) >= PROBE_GAP_S


async def test_whoever_hurries_ends_a_long_rest():
    pace = Pace()
    soon(pace.hurry)
    assert await rest_s(pace, 3_600.0) >= PROBE_GAP_S


async def test_a_nudge_ends_a_long_rest():
    pace = Pace()
    soon(pace.nudge)
    assert await rest_s(pace, 3_600.0) >= PROBE_GAP_S


async def test_a_nudge_during_a_probe_asks_for_nothing():
    pace = Pace()
    pace.probing()
    pace.nudge()
    assert await rest_s(pace, 0.4) >= 0.4


async def test_hurry_during_a_probe_asks_for_another():
    pace = Pace()
    pace.probing()
    pace.hurry()
    assert await rest_s(pace, 3_600.0) >= PROBE_GAP_S


async def test_nobody_shortens_a_hold():
    pace = Pace()
    pace.hold(0.5)
    soon(pace.hurry)
    soon(pace.nudge)
    assert pace.held
    assert await rest_s(pace, 0.0) >= 0.5 - 0.001
    assert not pace.held


async def test_a_hold_outlasts_whoever_hurried_before():
    pace = Pace()
    soon(pace.hurry)
    soon(lambda: pace.hold(0.6))
    assert await rest_s(pace, 3_600.0) >= 0.6


async def test_a_hold_ends_a_longer_rest():
    pace = Pace()
    soon(lambda: pace.hold(0.3))
    assert await rest_s(pace, 3_600.0) >= 0.3
