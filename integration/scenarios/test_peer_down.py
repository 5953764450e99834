"""One side is away for a while: nothing is lost, and nothing happens twice when it comes back."""

from harness.books import all_ended, audit
from harness.engine import eventually
from harness.pair import Pair


def test_handoffs_written_while_the_peers_daemon_is_down_arrive_when_it_is_up(pair: Pair) -> None:
    pair.alice.stop_daemon()
    pair.alice.listen()
    pair.bob.hand_over("alice", "--count", "10", "--callers", "10")
    eventually("bob's daemon has taken them all", lambda: pair.bob.ls("handoff") == [])
    assert pair.alice.ledger(what="claimed") == []
    pair.alice.start_daemon()
    assert_all_completed(pair, 10)


def test_handoffs_written_while_the_peers_machine_is_off_arrive_when_it_is_on(pair: Pair) -> None:
    pair.alice.power_off()
    pair.bob.hand_over("alice", "--count", "10", "--callers", "10")
    eventually("bob's daemon has taken them all", lambda: pair.bob.ls("handoff") == [])
    pair.alice.power_on()
    pair.alice.listen()
    assert_all_completed(pair, 10)


def test_handoffs_written_while_their_own_daemon_is_down_leave_when_it_is_up(pair: Pair) -> None:
    pair.bob.stop_daemon()
    pair.alice.listen()
    written = pair.bob.hand_over("alice", "--count", "10", "--callers", "10")
    assert len(pair.bob.ls("handoff")) == len(written)
    pair.bob.start_daemon()
    assert_all_completed(pair, 10)


def test_an_agent_works_on_while_its_own_daemon_is_down(pair: Pair) -> None:
    written = pair.bob.hand_over("alice", "--count", "5", "--callers", "5")
    eventually("they wait on alice's host", lambda: len(pair.alice.ls("handoff")) == len(written))
    pair.alice.kill_daemon()
    pair.alice.listen()
    assert_all_completed(pair, 5)


def test_an_orderly_stop_takes_back_what_nobody_claimed_and_offers_it_again(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice")
    eventually("it waits on alice's host", lambda: pair.alice.ls("handoff"))
    pair.alice.stop_daemon()
    assert pair.alice.ls("handoff") == []
    assert pair.alice.exits()[-1] == 0
    pair.alice.start_daemon()
    eventually("it waits again", lambda: pair.alice.ls("handoff"))
    pair.alice.listen()
    assert pair.bob.final(written.tid)["reason"] == "completed"


def assert_all_completed(pair: Pair, count: int) -> None:
    eventually("all have ended", lambda: all_ended(pair))
    books = audit(pair)
    assert books.faults == []
    assert books.ends == {"completed": count}
    assert books.artefacts_missing == 0
