"""protocol/timing.py: the arithmetic, and every inequality that docs/custody.md section 12 asks for."""

import pytest

from handoffd.protocol import timing
from handoffd.protocol.timing import is_beyond, retain_minimum_s, retry_delay_s


def test_outcomes_are_retained_longer_than_anybody_may_ask_for_them() -> None:
    hour_s = 3600.0
    least = timing.DOUBT_MAX_S + hour_s + timing.MAX_TTL_S + timing.FORGET_AFTER_S
    assert retain_minimum_s(timing.DOUBT_MAX_S, timing.MAX_TTL_S, timing.FORGET_AFTER_S) == least
    assert least < timing.RETAIN_S


def test_the_defaults_hold_for_the_longest_lifetime_that_can_be_configured() -> None:
    assert retain_minimum_s(timing.DOUBT_MAX_S, timing.MAX_TTL_LIMIT_S, timing.FORGET_AFTER_S) < timing.RETAIN_S


def test_a_forgotten_outcome_outlives_the_longest_request_and_the_largest_clock_error() -> None:
    assert timing.FORGET_AFTER_S > timing.REQUEST_TOTAL_S + timing.CLOCK_ERROR_S


def test_a_signature_is_remembered_until_its_bytes_meet_the_expiry_refusal() -> None:
    assert timing.SIGNATURE_MEMORY_S >= timing.CLOCK_ERROR_S
    assert timing.SIGNATURE_MEMORY_S > timing.CLOCK_JUMP_REST_S + timing.EXPIRY_GRACE_S


def test_the_sender_asks_only_after_the_janitor_has_had_its_chance() -> None:
    assert timing.REVOKE_AFTER_S > timing.EXPIRY_GRACE_S
    assert timing.DOUBT_MAX_S > timing.DOUBT_ASK_S > timing.REQUEST_TOTAL_S > timing.CONNECT_S


def test_three_looks_fit_into_the_time_before_a_file_is_called_vanished() -> None:
    assert timing.VANISHED_S / timing.VANISHED_LOOKS > timing.UNACCOUNTED_S


def test_sizes_contain_one_another() -> None:
    assert timing.PAYLOAD_LIMIT_BYTES < timing.BATCH_LIMIT_BYTES < timing.ROUTE_LIMIT_BYTES
    assert timing.PENDING_LIMIT >= timing.BATCH_ITEMS


@pytest.mark.parametrize(
    ("tries", "delay_s"), [(0, 0.0), (1, 0.25), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 5.0), (7, 5.0), (99, 5.0)]
)
def test_pauses_grow_and_then_stay(tries: int, delay_s: float) -> None:
    assert retry_delay_s(tries, 0.5) == delay_s


def test_chance_spreads_a_pause_by_a_fifth_either_way() -> None:
    assert retry_delay_s(6, 0.0) == pytest.approx(4.0)
    assert retry_delay_s(6, 0.999999) == pytest.approx(6.0, abs=1e-4)


@pytest.mark.parametrize(("ahead_s", "beyond"), [(60.0, False), (90_000.0, False), (90_001.0, True), (1e9, True)])
def test_a_lifetime_far_ahead_of_our_clock_is_beyond(ahead_s: float, beyond: bool) -> None:
    assert is_beyond(1e9 + ahead_s, 1e9, 86_400.0) is beyond
