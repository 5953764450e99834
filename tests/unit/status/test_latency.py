"""Spreads and histories: what is counted, what is told of it, and that memory stays bounded."""

import random

import pytest

from handoffd.status.latency import SLOT_S, SLOTS, STEP_BOUNDS_S, History, Spread, Step

NOW = 1_795_168_800.0


def spread(*seconds: float) -> Spread:
    made = Spread()
    for one in seconds:
        made.add(one)
    return made


def test_each_time_is_counted_once_at_or_below_its_bound() -> None:
    made = spread(0.0, 0.0005, 0.0006, 3_600.0, 1e9)
    assert made.counts[0] == 2
    assert made.counts[1] == 1
    assert list(made.counts[-2:]) == [1, 1]
    assert (made.count, made.total_s) == (5, pytest.approx(0.0011 + 3_600 + 1e9))


def test_a_quantile_is_within_the_bucket_of_the_true_one() -> None:
    seconds = [random.Random(7).expovariate(10) for _ in range(2_000)]
    made = spread(*seconds)
    for share in (0.5, 0.9, 0.99):
        true = sorted(seconds)[int(share * len(seconds))]
        low = max((bound for bound in (0.0, *STEP_BOUNDS_S) if bound < true), default=0.0)
        high = min(bound for bound in STEP_BOUNDS_S if bound >= true)
        told = made.quantile_s(share)
        assert told is not None
        assert low * 0.99 <= told <= high * 1.01


def test_without_samples_there_is_no_quantile_and_beyond_the_last_bound_it_is_the_bound() -> None:
    assert spread().quantile_s(0.5) is None
    assert spread(1e9).quantile_s(0.5) == STEP_BOUNDS_S[-1]


def test_a_history_tells_the_slots_of_the_time_asked_for() -> None:
    history = History()
    for hours in (25, 2, 0.5, 0):
        history.add(Step.TAKE_TO_HOME, 0.1, NOW - hours * 3_600)
    assert history.over(Step.TAKE_TO_HOME, NOW, 3_600).count == 2
    assert history.over(Step.TAKE_TO_HOME, NOW, 86_400).count == 3
    assert history.over(Step.TAKE_TO_STORED, NOW, 86_400).count == 0
    assert [slot.at for slot in history.slots(NOW, 3_600)] == [NOW - 1_800, NOW]


def test_a_history_keeps_a_day_and_no_more() -> None:
    history = History()
    for number in range(3 * SLOTS):
        history.add(Step.TAKE_TO_HOME, 0.1, NOW + number * SLOT_S)
    assert len(list(history.slots(NOW + 3 * SLOTS * SLOT_S, 1e9))) == SLOTS


def test_a_history_tells_one_sample_within_a_fifth() -> None:
    for seconds in (0.0007, 0.54, 14.0, 2_000.0):
        history = History()
        history.add(Step.TAKE_TO_HOME, seconds, NOW)
        told = history.over(Step.TAKE_TO_HOME, NOW, 60).quantile_s(0.5)
        assert told == pytest.approx(seconds, rel=0.2)


def test_whoever_reads_a_slot_is_not_disturbed_by_a_step_that_is_new_in_it() -> None:
    history = History()
    history.add(Step.TAKE_TO_STORED, 0.1, NOW)
    (slot,) = history.slots(NOW)
    seen = []
    for step in slot.steps:
        history.add(Step.TAKE_TO_HOME, 0.1, NOW)
        seen.append(step)
    assert seen == [Step.TAKE_TO_STORED]
    assert set(slot.steps) == {Step.TAKE_TO_STORED, Step.TAKE_TO_HOME}


def test_a_clock_that_goes_back_loses_nothing() -> None:
    history = History()
    history.add(Step.TAKE_TO_HOME, 0.1, NOW)
    history.add(Step.TAKE_TO_HOME, 0.1, NOW - 7_200)
    assert history.over(Step.TAKE_TO_HOME, NOW, 86_400).count == 2
