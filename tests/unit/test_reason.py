"""protocol/reason.py: the tables of docs/custody.md section 9."""

from itertools import product

import pytest

from handoffd.protocol.reason import (
    ARCHIVED,
    HTTP_STATUS,
    PROBLEM_STATUS,
    RANK,
    STATE_OF,
    Delivered,
    Problem,
    Reason,
    State,
    delivered_after,
    is_final,
    rises,
)

OPEN = [State.QUEUED, State.STORED, State.LEASED, State.PUBLISHED, State.CLAIMED]
FINAL = [state for state in State if state not in OPEN]


def test_every_word_is_in_every_table_it_belongs_to() -> None:
    assert set(RANK) == set(State)
    assert set(STATE_OF) == set(HTTP_STATUS) == set(Reason)
    assert set(PROBLEM_STATUS) == set(Problem)


def test_the_reasons_are_the_closed_list_of_the_specification() -> None:
    assert [reason.value for reason in Reason] == [
        "completed",
        "rejected_by_agent",
        "expired",
        "revoked",
        "malformed",
        "too_large",
        "unroutable",
        "variant",
        "duplicate",
        "refused_policy",
        "content_changed",
        "uncertain_power_loss",
        "vanished_at_target",
        "peer_lost_state",
        "outcome_unknown",
    ]


def test_the_problems_are_the_second_closed_list() -> None:
    assert {problem.value for problem in Problem} >= {
        "bad_request",
        "unauthorized",
        "forbidden",
        "not_found",
        "not_here",
        "already_claimed",
        "not_claimed_by_you",
        "epoch_changed",
        "loop",
        "rate_limited",
        "unavailable",
    }


def test_open_states_are_ordered_and_finals_exclude_each_other() -> None:
    assert sorted(OPEN, key=RANK.__getitem__) == OPEN
    assert len({RANK[state] for state in FINAL}) == 1
    assert all(is_final(state) for state in FINAL)
    assert not any(is_final(state) for state in OPEN)


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_a_state_rises_only_to_a_higher_one(old: State, new: State) -> None:
    assert rises(old, new) == (RANK[new] > RANK[old])
    assert not (is_final(old) and rises(old, new))


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (Reason.COMPLETED, State.COMPLETED),
        (Reason.REJECTED_BY_AGENT, State.REJECTED),
        (Reason.EXPIRED, State.EXPIRED),
        (Reason.REVOKED, State.REVOKED),
        (Reason.UNCERTAIN_POWER_LOSS, State.UNCERTAIN),
        (Reason.VANISHED_AT_TARGET, State.UNKNOWN),
        (Reason.PEER_LOST_STATE, State.UNKNOWN),
        (Reason.OUTCOME_UNKNOWN, State.UNKNOWN),
    ],
)
def test_reasons_have_the_state_the_specification_gives_them(reason: Reason, state: State) -> None:
    assert STATE_OF[reason] is state


def test_all_other_reasons_are_refusals() -> None:
    refused = {reason for reason in Reason if STATE_OF[reason] is State.REFUSED}
    assert {reason.value for reason in refused} == {
        "malformed",
        "too_large",
        "unroutable",
        "variant",
        "duplicate",
        "refused_policy",
        "content_changed",
    }


def test_a_repeated_post_of_an_ended_one_is_answered_as_section_5_expects() -> None:
    """200: A notes what became of it; 409, 410, 422 with final: B holds an outcome; 413 stands for itself."""
    assert {HTTP_STATUS[reason] for reason in ARCHIVED} == {200}
    assert {HTTP_STATUS[reason] for reason in Reason} == {200, 409, 410, 413, 422}


def test_only_a_completed_payload_is_archived() -> None:
    assert frozenset({Reason.COMPLETED}) == ARCHIVED


@pytest.mark.parametrize("reason", list(Reason))
def test_a_claim_that_was_seen_is_never_denied(reason: Reason) -> None:
    assert delivered_after(reason, claim_seen=True, sent=True) is Delivered.CLAIMED


@pytest.mark.parametrize("reason", [one for one in Reason if STATE_OF[one] in (State.UNCERTAIN, State.UNKNOWN)])
def test_what_is_not_known_is_not_called_undelivered(reason: Reason) -> None:
    assert delivered_after(reason, claim_seen=False, sent=True) is Delivered.UNKNOWN


@pytest.mark.parametrize(
    ("reason", "sent", "delivered"),
    [
        (Reason.EXPIRED, True, Delivered.NOT_DELIVERED),
        (Reason.EXPIRED, False, Delivered.NEVER_SENT),
        (Reason.REVOKED, True, Delivered.NOT_DELIVERED),
        (Reason.CONTENT_CHANGED, True, Delivered.UNKNOWN),
        (Reason.CONTENT_CHANGED, False, Delivered.NEVER_SENT),
        (Reason.COMPLETED, True, Delivered.CLAIMED),
    ],
)
def test_what_an_outcome_says_of_delivery(reason: Reason, sent: bool, delivered: Delivered) -> None:
    assert delivered_after(reason, claim_seen=False, sent=sent) is delivered
