"""The offset of a peer's clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffd.link.offset import SAMPLES, ClockOffset


def test_nothing_is_known_before_the_first_exchange():
    assert ClockOffset().offset_ms() is None
    assert ClockOffset().round_trip_ms() is None


def test_the_peers_time_is_held_against_the_midpoint():
    offset = ClockOffset()
    offset.note(peer_time_s=1_090.0, answered_s=1_000.05, round_trip_s=0.1)
    assert offset.offset_ms() == 90_000
    assert offset.round_trip_ms() == 100.0


def test_the_shortest_round_trip_speaks():
    offset = ClockOffset()
    offset.note(1_002.0, 1_000.0, 2.0)
    offset.note(1_000.5, 1_000.0, 0.002)
    offset.note(1_004.0, 1_000.0, 1.0)
    assert offset.offset_ms() == 501


def test_old_samples_are_forgotten_so_that_a_clock_that_was_set_is_seen():
    offset = ClockOffset()
    offset.note(1_000.0, 1_000.0, 0.001)
    for _ in range(SAMPLES):
        offset.note(1_060.0, 1_000.0, 0.2)
    assert offset.offset_ms() == 60_100


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
