"""The network goes away at bad moments. Whatever was in flight, each handoff is claimed once and ends once."""

from harness.books import all_ended, audit
from harness.engine import eventually
from harness.pair import Pair

NEARLY_THE_LIMIT_BYTES = 900_000
LARGER_THAN_A_POLL_BYTES = 30_000


def test_a_lost_answer_does_not_make_a_second_handoff(pair: Pair) -> None:
    """The request reaches alice's host, the answer never comes back."""
    pair.warm_up()
    with pair.alice.frozen_daemon():
        written = pair.bob.hand_over_one("alice", "--filler-bytes", str(LARGER_THAN_A_POLL_BYTES))
        eventually("its bytes are in flight", lambda: pair.alice.unread_bytes() > LARGER_THAN_A_POLL_BYTES // 2)
        pair.alice.unplug()
    eventually("alice's host has it all the same", lambda: pair.alice.ls("handoff"))
    assert pair.bob.ls("relay/sent/alice-vm") == []
    pair.alice.plug_in()
    eventually("bob has heard that it arrived", lambda: pair.bob.ls("relay/sent/alice-vm"))
    pair.alice.listen()
    assert_each_completed_once(pair, [written.tid])


def test_a_request_cut_in_the_middle_is_sent_again_whole(pair: Pair) -> None:
    """Frozen, alice's daemon leaves the first packets of a large request unread; then the network goes away."""
    pair.warm_up()
    pair.alice.listen()
    with pair.alice.frozen_daemon():
        written = pair.bob.hand_over_one("alice", "--filler-bytes", str(NEARLY_THE_LIMIT_BYTES))
        eventually("its first bytes are in flight", lambda: pair.alice.unread_bytes() > LARGER_THAN_A_POLL_BYTES)
        assert pair.alice.unread_bytes() < NEARLY_THE_LIMIT_BYTES
        pair.bob.unplug()
    pair.bob.plug_in()
    assert_each_completed_once(pair, [written.tid])


def test_handoffs_written_during_a_cut_travel_when_it_is_healed(pair: Pair) -> None:
    pair.alice.listen()
    pair.bob.listen()
    with pair.alice.unplugged():
        there = pair.bob.hand_over("alice", "--count", "10", "--callers", "10")
        back = pair.alice.hand_over("bob", "--count", "10", "--callers", "10")
        eventually("both daemons have taken them", lambda: pair.bob.ls("handoff") == pair.alice.ls("handoff") == [])
    assert_each_completed_once(pair, [one.tid for one in there + back])


def test_a_claim_and_an_outcome_made_during_a_cut_come_home_when_it_is_healed(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice")
    eventually("bob has heard that it arrived", lambda: pair.bob.ls("relay/sent/alice-vm"))
    with pair.alice.unplugged():
        pair.alice.listen()
        assert pair.alice.final(written.tid)["reason"] == "completed"
        assert pair.bob.outcome(written.tid) is None
    assert_each_completed_once(pair, [written.tid])


def assert_each_completed_once(pair: Pair, tids: list[str]) -> None:
    eventually("all have ended", lambda: all_ended(pair))
    books = audit(pair)
    assert books.faults == []
    assert books.ends["completed"] == len(tids)
    assert sorted(books.claims.elements()) == sorted(tids)
