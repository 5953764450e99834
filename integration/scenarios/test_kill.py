"""kill -9 at awkward moments: a daemon dies the instant a certain file appears, starts again and ends its work."""

import pytest
from harness.books import all_ended, audit
from harness.engine import eventually
from harness.host import Host
from harness.pair import Pair

BURST = 20
"""Handoffs on the way when the daemon dies, so that it dies in the middle of some of them."""
BURSTS = 6
"""A moment may be so short that a busy machine does not see it in the first of them."""

MOMENTS = {
    "bob-vm: just taken from the agents": "relay/outbox/alice-vm/*~*",
    "bob-vm: just accepted by the peer": "relay/sent/alice-vm/*~*",
    "bob-vm: just shown as claimed": "claimed/*.json",
    "bob-vm: just recorded as ended": "relay/outcome/*.json",
    "alice-vm: just received, not published": "relay/inbox/bob-vm/*.new",
    "alice-vm: just published": "handoff/*-r*.json",
    "alice-vm: just claimed by its agent": "claimed/*-r*.json",
    "alice-vm: just recorded as ended": "relay/outcome/*.json",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_daemon_killed_at_an_awkward_moment_loses_and_repeats_nothing(pair: Pair, moment: str) -> None:
    victim = host_named(pair, moment.partition(":")[0])
    pair.alice.listen("--talk", "0.1")
    victim.kill_daemon_when(MOMENTS[moment])
    for number in range(1, BURSTS + 1):
        pair.bob.hand_over("alice", "--count", str(BURST), "--callers", str(BURST), caller=f"Caller {number}")
        eventually("it was killed, or all have ended", lambda: 137 in victim.exits() or all_ended(pair))
        if 137 in victim.exits():
            break
    eventually(f"{victim.name} was killed", lambda: 137 in victim.exits())
    victim.wait_ready()
    assert_books_balance(pair, number * BURST)


def test_both_daemons_killed_again_and_again_lose_and_repeat_nothing(pair: Pair) -> None:
    pair.alice.listen()
    pair.bob.begin(*pair.bob.initiator("alice", "--count", "60", "--callers", "60", "--pause", "0.05"))
    for goal in range(10, 60, 10):
        has_written(pair.bob, goal)
        for host in pair.hosts:
            host.kill_daemon()
    has_written(pair.bob, 60)
    assert_books_balance(pair, 60)
    assert pair.bob.exits().count(137) == pair.alice.exits().count(137) == 5


@pytest.mark.parametrize("name", ["bob-vm", "alice-vm"])
def test_a_whole_machine_that_goes_off_and_on_keeps_a_waiting_handoff(pair: Pair, name: str) -> None:
    written = pair.bob.hand_over_one("alice")
    eventually("bob has heard that it arrived", lambda: pair.bob.ls("relay/sent/alice-vm"))
    host = host_named(pair, name)
    host.power_off()
    host.power_on()
    pair.alice.listen()
    assert pair.bob.final(written.tid)["reason"] == "completed"
    assert_books_balance(pair, 1)


def test_a_claim_made_while_both_daemons_are_dead_is_seen_by_both_later(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice")
    eventually("it waits on alice's host", lambda: pair.alice.ls("handoff"))
    for host in pair.hosts:
        host.crash_daemon()
    pair.alice.listen()
    eventually("alice has archived it", lambda: pair.alice.ledger(what="archived"))
    for host in pair.hosts:
        host.start_daemon()
    assert pair.bob.final(written.tid)["reason"] == "completed"
    assert_books_balance(pair, 1)


def has_written(host: Host, goal: int) -> None:
    eventually(f"{host.agent} has written {goal}", lambda: len(host.ledger(what="written")) >= goal)


def host_named(pair: Pair, name: str) -> Host:
    return next(host for host in pair.hosts if host.name == name)


def assert_books_balance(pair: Pair, count: int) -> None:
    eventually("all have ended", lambda: all_ended(pair))
    books = audit(pair)
    assert books.faults == []
    assert books.ends == {"completed": count}
