"""The meters: what an edge of the journal counts as, and which steps are timed."""

import pytest

from handoffd.protocol.reason import Reason, State
from handoffd.status.latency import Step
from handoffd.status.meter import TIMED_LIMIT, Meters

NOW = 1_795_168_800.0


def told(*edges: tuple[float, str, str, str | None], tid: str = "t") -> Meters:
    """Return meters that heard of these: seconds, event, role, reason."""
    meters = Meters()
    for at, event, role, reason in edges:
        meters.edge(event, {"role": role, "reason": reason, "tid": tid}, NOW + at, at)
    return meters


def steps(meters: Meters) -> dict[Step, float]:
    assert all(spread.count <= 1 for spread in meters.steps.values())
    return {step: spread.total_s for step, spread in meters.steps.items() if spread.count}


def test_a_sender_times_from_the_take() -> None:
    meters = told(
        (0.0, "started", "sender", None),
        (0.5, "stored", "sender", None),
        (0.5, "published", "sender", None),
        (2.0, "claimed", "sender", None),
        (7.0, "completed", "sender", "completed"),
    )
    assert steps(meters) == {Step.TAKE_TO_STORED: 0.5, Step.TAKE_TO_CLAIMED: 2.0, Step.TAKE_TO_HOME: 7.0}
    assert meters.states["sender", State.CLAIMED] == 1
    assert meters.endings["sender", Reason.COMPLETED] == 1
    assert meters.history.over(Step.TAKE_TO_HOME, NOW + 7, 60).count == 1


def test_a_receiver_times_from_step_to_step() -> None:
    meters = told(
        (0.0, "stored", "receiver", None),
        (0.1, "published", "receiver", None),
        (1.1, "claimed", "receiver", None),
        (4.1, "rejected", "receiver", "rejected_by_agent"),
    )
    assert steps(meters) == {
        Step.STORED_TO_PUBLISHED: pytest.approx(0.1),
        Step.PUBLISHED_TO_CLAIMED: pytest.approx(1.0),
        Step.CLAIMED_TO_FINAL: pytest.approx(3.0),
    }


def test_a_host_that_sends_to_itself_over_a_relay_times_both_roles() -> None:
    meters = told((0.0, "started", "sender", None), (0.2, "stored", "receiver", None), (0.3, "stored", "sender", None))
    assert steps(meters) == {Step.TAKE_TO_STORED: 0.3}


@pytest.mark.parametrize(("event", "reason"), [("expired", "expired"), ("revoked", "revoked"), ("refused", "variant")])
def test_what_no_agent_finished_is_no_time_of_work(event: str, reason: str) -> None:
    meters = told((0.0, "started", "sender", None), (60.0, event, "sender", reason))
    assert steps(meters) == {}
    assert meters.endings["sender", Reason(reason)] == 1


def test_the_end_of_a_copy_ends_no_time() -> None:
    meters = told(
        (0.0, "started", "sender", None),
        (1.0, "refused", "sender", "duplicate"),
        (2.0, "stored", "sender", None),
    )
    assert steps(meters) == {Step.TAKE_TO_STORED: 2.0}
    assert meters.endings["sender", Reason.DUPLICATE] == 1


def test_waiting_for_room_counts_from_the_first_time_it_was_stored() -> None:
    meters = told(
        (0.0, "stored", "receiver", None), (1.0, "stored", "receiver", None), (5.0, "published", "receiver", None)
    )
    assert steps(meters)[Step.STORED_TO_PUBLISHED] == 5.0


def test_what_began_before_the_start_is_counted_and_not_timed() -> None:
    meters = told((3.0, "claimed", "sender", None), (4.0, "completed", "sender", "completed"))
    assert steps(meters) == {}
    assert meters.states["sender", State.COMPLETED] == 1


def test_odd_events_are_counted_and_unknown_ones_are_not() -> None:
    meters = told((0.0, "parked", "sender", None), (0.0, "made_up", "sender", None), (0.0, "stored", "made_up", None))
    assert meters.events["parked"] == 1
    assert "made_up" not in meters.events
    assert sum(meters.states.values()) == 0


def test_memory_is_bounded_when_nothing_ever_ends() -> None:
    meters = Meters()
    for number in range(TIMED_LIMIT + 10):
        meters.edge("started", {"role": "sender", "tid": number}, NOW, 0.0)
        meters.edge("stored", {"role": "receiver", "tid": number}, NOW, 0.0)
    assert {len(meters._taken), len(meters._unanswered), len(meters._here)} == {TIMED_LIMIT}


def test_a_canary_is_nobodys_handoff() -> None:
    meters = Meters()
    meters.edge("stored", {"role": "receiver", "tid": "t", "to": "handoffd-canary"}, NOW, 0.0)
    assert sum(meters.states.values()) == 0
