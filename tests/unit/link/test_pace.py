"""When /hello is asked next, by a clock of its own."""

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.link.passing import passing

from handoffd.link.pace import PROBE_GAP_S, Pace

LONG_S = 3_600.0
Turn = Callable[[Pace], object]


def rest_s(delay_s: float, *, before: Turn = id, meanwhile: dict[float, Turn] | None = None) -> float:
    """Return how long a rest took, after `before`, while the others act so many seconds into it."""

    async def main() -> float:
        loop, pace = asyncio.get_running_loop(), Pace()
        before(pace)
        for after_s, act in (meanwhile or {}).items():
            loop.call_later(after_s, act, pace)
        begun_s = loop.time()
        await pace.rest(delay_s)
        assert not pace.held
        return loop.time() - begun_s

    return round(passing(main()), 6)


def test_a_rest_lasts_as_long_as_asked() -> None:
    assert rest_s(0.3) == 0.3


def test_a_rest_is_never_shorter_than_the_gap() -> None:
    assert rest_s(0.0, before=Pace.hurry) == PROBE_GAP_S


@pytest.mark.parametrize("act", [Pace.hurry, Pace.nudge])
def test_whoever_hurries_or_nudges_ends_a_long_rest(act: Turn) -> None:
    assert rest_s(LONG_S, meanwhile={0.01: act}) == PROBE_GAP_S
    assert rest_s(LONG_S, meanwhile={9.0: act}) == 9.0


def test_a_nudge_during_a_probe_asks_for_nothing() -> None:
    def nudged(pace: Pace) -> None:
        pace.probing()
        pace.nudge()

    assert rest_s(0.4, before=nudged) == 0.4


def test_hurry_during_a_probe_asks_for_another() -> None:
    def hurried(pace: Pace) -> None:
        pace.probing()
        pace.hurry()

    assert rest_s(LONG_S, before=hurried) == PROBE_GAP_S


def test_nobody_shortens_a_hold() -> None:
    def held(pace: Pace) -> None:
        pace.hold(0.5)
        assert pace.held

    assert rest_s(0.0, before=held, meanwhile={0.01: Pace.hurry, 0.02: Pace.nudge}) == 0.5


def test_a_hold_outlasts_whoever_hurried_before() -> None:
    assert rest_s(LONG_S, meanwhile={0.01: Pace.hurry, 0.02: lambda pace: pace.hold(0.6)}) == 0.62


def test_a_hold_ends_a_longer_rest() -> None:
    assert rest_s(LONG_S, meanwhile={0.01: lambda pace: pace.hold(0.3)}) == 0.31
