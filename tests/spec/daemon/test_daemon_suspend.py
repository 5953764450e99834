"""Laptops sleep and networks go away: when the other host can be reached again, what waited arrives at once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.spec.daemon.rig import Host, Pair, ending, until
from tests.spec.daemon.road import Road, Sleeper
from tests.spec.daemon.star import Dialled, is_up, pair_up

pytestmark = pytest.mark.slow

HOURS_S = 8 * 3_600.0
TTL_S = 20 * 3_600.0
"""Longer than the sleep."""
BACK_S = 2.0
"""What is promised; a busy machine gets BUSY times as long. A connection that hangs is given up after 35 s at the
earliest, so within this time nothing is found by waiting for it."""
BUSY = 16


def arrives_at_once(host: Host, tid: str, since_s: float) -> None:
    left_s = since_s + BUSY * BACK_S - time.monotonic()
    until(f"{tid[:8]} is visible on {host.name}", lambda: any(tid in name for name in host.names("handoff")), left_s)
    print(f"reachable again, and visible on {host.name}, after {time.monotonic() - since_s:.2f} s")


@pytest.fixture
def road(place: Path) -> Iterator[tuple[Dialled, Road]]:
    """alice-vm dials bob-vm, over a road that can be blocked."""
    dialled = Dialled(place)
    bob, alice = dialled.hosts
    with Road(bob.tls_port) as way, ending(*dialled.hosts):
        pair_up(alice, bob, everything=False, port=way.port)
        yield dialled, way


def dial(dialled: Dialled, sleeper: Sleeper) -> None:
    dialled.bob.start().ready()
    sleeper.start()
    dialled.alice.ready()
    until("alice-vm has dialled in", lambda: is_up(dialled.bob, "alice-vm") and is_up(dialled.alice, "bob-vm"))


def test_a_laptop_that_slept_for_hours_has_what_waited_as_soon_as_it_wakes(road: tuple[Dialled, Road]) -> None:
    """Its connections lead nowhere by then, and nobody has told it."""
    dialled, way = road
    bob, alice = dialled.hosts
    sleeper = Sleeper(alice)
    dial(dialled, sleeper)
    sleeper.fall_asleep()
    way.block()
    tid = bob.hand_over("alice", ttl_s=TTL_S)
    until("bob-vm has it in custody", lambda: bob.names("handoff") == [])
    way.clear()
    sleeper.wake(HOURS_S)
    arrives_at_once(alice, tid, time.monotonic())
    alice.archive(alice.claim(tid))
    assert bob.ended(tid)["reason"] == "completed"
    back = alice.hand_over("bob", ttl_s=TTL_S)
    arrives_at_once(bob, back, time.monotonic())
    assert "every link begins anew" in alice.log()


def test_of_two_hosts_that_call_each_other_the_one_that_slept_is_back_at_once(stopped_pair: Pair) -> None:
    bob, alice = stopped_pair.hosts
    sleeper = Sleeper(alice)
    with Road(bob.tls_port) as to_bob, Road(alice.tls_port) as to_alice:
        bob.call_through(alice, to_alice.port)
        alice.call_through(bob, to_bob.port)
        bob.start()
        sleeper.start()
        stopped_pair.linked()
        sleeper.fall_asleep()
        to_bob.block()
        to_alice.block()
        tid = bob.hand_over("alice", ttl_s=TTL_S)
        until("bob-vm has it in custody", lambda: bob.names("handoff") == [])
        back = alice.hand_over("bob", ttl_s=TTL_S)
        to_bob.clear()
        to_alice.clear()
        sleeper.wake(HOURS_S)
        woken_s = time.monotonic()
        arrives_at_once(alice, tid, woken_s)
        arrives_at_once(bob, back, woken_s)
        bob.end()
        alice.end()


def test_a_host_that_was_cut_off_dials_in_as_soon_as_there_is_a_way(road: tuple[Dialled, Road]) -> None:
    dialled, way = road
    bob, alice = dialled.hosts
    dial(dialled, Sleeper(alice))
    way.block(told=True)
    alice.told("link_down", peer="bob-vm")
    tids = [bob.hand_over("alice", ttl_s=TTL_S) for _ in range(3)]
    until("bob-vm has them in custody", lambda: bob.names("handoff") == [])
    way.clear()
    since_s = time.monotonic()
    for tid in tids:
        arrives_at_once(alice, tid, since_s)


def test_what_was_over_while_its_host_slept_is_never_to_be_claimed(road: tuple[Dialled, Road]) -> None:
    """Offered before the lid was closed: the first look after it withdraws it, and the writer hears why."""
    dialled, _ = road
    bob, alice = dialled.hosts
    sleeper = Sleeper(alice)
    dial(dialled, sleeper)
    tid = bob.hand_over("alice", ttl_s=3_600.0)
    alice.published(tid)
    bob.told("published", tid=tid)
    sleeper.fall_asleep()
    sleeper.wake(HOURS_S)
    assert alice.ended(tid)["reason"] == "expired"
    assert alice.names("handoff") == []
    record = bob.ended(tid)
    assert (record["reason"], record["delivered"], record["by"]) == ("expired", "not_delivered", "alice-vm")
    assert "clock_jumped" not in [line["event"] for line in alice.journal()], "a sleep is no jump"
