"""Two clocks 90 seconds apart: late is late by the receiver's clock, and nothing is lost or claimed twice."""

import pytest
from harness.books import all_ended, audit
from harness.engine import eventually
from harness.pair import Pair

SKEW_S = 90
DEFAULT_LIFETIME_S = 60.0
SHORT_S = 4.0
both_signs = pytest.mark.parametrize("skew_s", [SKEW_S, -SKEW_S], ids=["alice-vm ahead", "alice-vm behind"])


def skewed(strangers: Pair, skew_s: int) -> Pair:
    strangers.alice.set_clock(skew_s)
    strangers.start()
    return strangers


@both_signs
def test_long_handoffs_are_completed_both_ways(strangers: Pair, skew_s: int) -> None:
    pair = skewed(strangers, skew_s)
    pair.alice.listen()
    pair.bob.listen()
    pair.bob.hand_over("alice", "--count", "10", "--callers", "10")
    pair.alice.hand_over("bob", "--count", "10", "--callers", "10")
    eventually("all have ended", lambda: all_ended(pair))
    books = audit(pair)
    assert books.faults == []
    assert books.ends == {"completed": 20}
    assert books.artefacts_missing == 0


@both_signs
def test_the_difference_of_the_clocks_is_written_into_the_outcome(strangers: Pair, skew_s: int) -> None:
    pair = skewed(strangers, skew_s)
    pair.alice.listen()
    written = pair.bob.hand_over_one("alice")
    offset_s = pair.bob.final(written.tid)["clock_offset_ms"] / 1_000
    assert round(offset_s / 10) * 10 == skew_s


def test_a_default_lifetime_is_over_on_arrival_at_a_host_90_s_ahead(strangers: Pair) -> None:
    pair = skewed(strangers, SKEW_S)
    pair.alice.listen()
    written = pair.bob.hand_over_one("alice", lifetime_s=DEFAULT_LIFETIME_S)
    for host in pair.hosts:
        outcome = host.final(written.tid)
        assert (outcome["reason"], outcome["delivered"]) == ("expired", "not_delivered")
    assert pair.alice.ledger(what="claimed") == []


def test_a_host_90_s_behind_cannot_claim_what_its_sender_has_ended(strangers: Pair) -> None:
    pair = skewed(strangers, -SKEW_S)
    pair.alice.stop_daemon()
    written = pair.bob.hand_over_one("alice", lifetime_s=SHORT_S)
    assert pair.bob.final(written.tid)["reason"] == "expired"
    pair.alice.start_daemon()
    pair.alice.listen()
    later = pair.bob.hand_over_one("alice")
    assert pair.bob.final(later.tid)["reason"] == "completed"
    assert [claim["sha256"] for claim in pair.alice.ledger(what="claimed")] == [later.tid]


def test_an_unclaimed_handoff_at_a_host_90_s_behind_is_taken_back_by_its_sender(strangers: Pair) -> None:
    pair = skewed(strangers, -SKEW_S)
    written = pair.hand_over_in_time(pair.bob, SHORT_S, lambda one: pair.offers(pair.alice, one))
    # By alice's clock there are 94 s left; bob's daemon takes it back half a minute after its own clock says so.
    outcome = pair.bob.final(written.tid, within_s=240)
    assert (outcome["reason"], outcome["delivered"]) == ("expired", "not_delivered")
    assert pair.alice.final(written.tid)["reason"] == "revoked"
    assert pair.alice.ls("handoff") == []
