"""The offset of a peer's clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffd.protocol.offset import SAMPLES, ClockOffset, Sample


def test_nothing_is_known_before_the_first_exchange():
    assert ClockOffset().offset_ms() is None
    assert ClockOffset().round_trip_ms() is None
    assert ClockOffset().error_ms() is None


def test_the_peers_time_is_held_against_the_midpoint():
    offset = ClockOffset()
    offset.note(peer_time_s=1_090.0, answered_s=1_000.05, round_trip_s=0.1)
    assert offset.offset_ms() == 90_000
    assert offset.round_trip_ms() == 100.0


def test_the_shortest_round_trip_speaks():
    offset = ClockOffset()
    offset.note(1_001.0, 1_000.0, 2.0)
    offset.note(1_000.5, 1_000.0, 0.002)
    offset.note(1_000.0, 1_000.0, 1.0)
    assert (offset.offset_ms(), offset.error_ms()) == (501, 2)


def test_a_clock_that_was_set_is_seen_at_the_next_exchange_however_good_the_ones_before_were():
    offset = ClockOffset()
    offset.note(1_000.0, 1_000.0, 0.001)
    offset.note(1_060.0, 1_000.0, 0.2)
    assert offset.offset_ms() == 60_100


def test_old_samples_are_forgotten():
    offset = ClockOffset()
    offset.note(1_000.0, 1_000.0, 0.001)
    for _ in range(SAMPLES):
        offset.note(1_000.0, 1_000.0, 0.2)
    assert offset.offset_ms() == 100


def test_samples_whose_bounds_touch_do_not_contradict():
    assert not Sample(0.0, 1.0, 0.5).contradicts(Sample(1.0, 1.0, 0.5))
    assert Sample(0.0, 1.0, 0.5).contradicts(Sample(1.5, 1.0, 0.5))


@given(
    true_offset_s=st.floats(-1e5, 1e5),
    delays=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=SAMPLES),
)
def test_the_error_is_at_most_half_of_the_shortest_round_trip(true_offset_s, delays):
    offset = ClockOffset()
    for there_s, back_s in delays:
        asked_s = 1_700_000_000.0
        offset.note(asked_s + there_s + true_offset_s, asked_s + there_s + back_s, there_s + back_s)
    shortest_s = min(there_s + back_s for there_s, back_s in delays)
    assert offset.offset_ms() == pytest.approx(true_offset_s * 1000, abs=shortest_s * 500 + 1)
    assert offset.error_ms() >= shortest_s * 500


@given(
    true_offset_s=st.floats(-1e5, 1e5),
    exchanges=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 30), st.floats(0, 5)), min_size=1, max_size=SAMPLES),
)
def test_a_peer_that_calls_is_measured_by_four_times_whatever_it_waits_between(true_offset_s, exchanges):
    offset = ClockOffset()
    for back_s, waits_s, there_s in exchanges:
        answered_s = 1_700_000_000.0
        came_s = answered_s + back_s + true_offset_s
        elapsed_s = back_s + waits_s + there_s
        offset.note_echo(came_s, came_s + waits_s, answered_s + elapsed_s, elapsed_s)
    assert offset.offset_ms() == pytest.approx(true_offset_s * 1000, abs=offset.error_ms() + 1)


def test_a_call_may_be_wrong_by_half_its_way_two_milliseconds_and_the_drift_of_the_time_between():
    offset = ClockOffset()
    offset.note_echo(came_s=2_000.01, left_s=2_005.01, heard_s=1_005.03, elapsed_s=5.03)
    assert (offset.round_trip_ms(), offset.error_ms()) == (30.0, 15 + 3)


def test_a_way_that_took_less_than_nothing_by_no_more_than_clocks_resolve_is_a_way_of_no_time():
    offset = ClockOffset()
    offset.note_echo(came_s=0.0, left_s=0.002, heard_s=0.0, elapsed_s=0.0)
    assert (offset.round_trip_ms(), offset.error_ms()) == (0.0, 2)


@pytest.mark.parametrize("set_by_s", [-60.0, 60.0])
def test_a_clock_that_is_set_between_two_calls_is_no_measure_of_the_offset(set_by_s):
    offset = ClockOffset()
    offset.note_echo(1_000.0, 1_025.0, 1_025.01, 25.01)
    offset.note_echo(1_000.0, 1_025.0 + set_by_s, 1_025.01, 25.01)
    assert offset.offset_ms() == -5


def test_a_round_trip_is_told_in_microseconds():
    offset = ClockOffset()
    offset.note(peer_time_s=1_000.0, answered_s=1_000.0, round_trip_s=0.012_345_678_9)
    assert offset.round_trip_ms() == 12.346
