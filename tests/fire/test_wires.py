"""What a network does: resets at any byte, lost answers, late duplicates, a deaf direction, a link that flaps."""

import itertools
import os
import random
import time
from collections import Counter

import pytest
from tests.fire.agent import Agents
from tests.fire.ground import Ground
from tests.fire.history import History, How
from tests.fire.wire import Way
from tests.spec.daemon.rig import EXPIRY_DEADLINE_S, payload, until

POINTS = int(os.environ.get("HANDOFFD_RESET_POINTS", "40"))
"""Resets in each direction, spread evenly over a hand-over's bytes; with 0 at every byte, which takes half an hour."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if POINTS else 0)]

FLAPS = int(os.environ.get("HANDOFFD_FLAPS", "12"))
"""Seconds of which the link is down for one half."""
SETTLE_S = 180.0
TRIES = 5


@pytest.mark.parametrize("way", list(Way))
def test_a_reset_at_any_byte_of_request_and_answer_neither_loses_nor_repeats(ground: Ground, way: Way) -> None:
    before = ground.to_alice.carried[way]
    ground.pair.deliver()
    length = ground.to_alice.carried[way] - before
    assert length > 500
    step = length // POINTS if POINTS else 1
    first = random.randrange(step)
    print(f"resets after {first} bytes and every {step} more")
    tids = []
    for count in range(first, length, step):
        ground.to_alice.reset_after(way, count)
        tids.append(ground.bob.hand_over("alice"))
        ground.alice.archive(ground.alice.claim(tids[-1]))
    ground.heal()
    for tid in tids:
        assert [host.ended(tid)["reason"] for host in ground.pair.hosts] == ["completed", "completed"]
    until(
        "alice's host tells of each end",
        lambda: {line["tid"] for line in ground.alice.journal("completed")} >= set(tids),
    )
    published = Counter(line["tid"] for line in ground.alice.journal("published"))
    assert {published[tid] for tid in tids} == {1}


def test_an_answer_that_is_lost_is_asked_for_again(ground: Ground) -> None:
    tid = admitted_unheard(ground)
    assert ground.bob.journal("stored", tid=tid) == []
    ground.heal()
    ground.alice.archive(ground.alice.claim(tid))
    assert ground.bob.ended(tid)["reason"] == "completed"
    ground.alice.told("completed", tid=tid)
    assert len(ground.alice.journal("published", tid=tid)) == 1


def admitted_unheard(ground: Ground) -> str:
    """Hand one over whose answer is lost, and return it.

    It goes by a connection that is open, for no other can be made. Where the pulse of the link has just taken the idle
    ones, nothing leaves, and one more is tried.
    """
    for _ in range(TRIES):
        ground.pair.linked().deliver()
        downs = len(ground.bob.journal("link_down"))
        ground.to_alice.swallow(Way.BACK)
        tid = ground.bob.hand_over("alice")
        until(
            "it has come, or nobody can be called",
            lambda one=tid, before=downs: came(ground, one) or len(ground.bob.journal("link_down")) > before,
        )
        if came(ground, tid):
            return tid
        ground.heal()
        ground.alice.archive(ground.alice.claim(tid))
    raise AssertionError(f"of {TRIES} handoffs none left")


def came(ground: Ground, tid: str) -> bool:
    return any(tid in name for name in ground.alice.names("handoff"))


def test_a_request_that_comes_after_its_revoke_offers_nothing(ground: Ground) -> None:
    """It lies on the wire while its sender gives it up; then it arrives, late and whole."""
    ground.pair.deliver()
    tid = given_up_on_the_wire(ground)
    assert ground.bob.ended(tid)["delivered"] == "not_delivered"
    ground.to_alice.release()
    later = ground.pair.deliver()  # after this everything that was held has been read
    ground.alice.told("completed", tid=later)
    assert [name for name in ground.alice.names("handoff") if tid in name] == []
    assert ground.alice.journal("published", tid=tid) == []


def given_up_on_the_wire(ground: Ground) -> str:
    """Hold what bob's daemon sends until it has given up a handoff, and return that.

    New connections pass. Where the pulse of the link has just taken the idle one, the handoff goes by another, and one
    more is tried.
    """
    for _ in range(TRIES):
        ground.to_alice.hold()
        tid = ground.bob.hand_over("alice", ttl_s=4.0)
        ground.bob.ended(tid, EXPIRY_DEADLINE_S)
        revoked = ground.alice.outcome(tid)
        if revoked is not None and revoked["detail"] == "never came here":
            return tid
        ground.to_alice.release()
    raise AssertionError(f"{TRIES} handoffs passed a wire that was held")


@pytest.mark.parametrize(("number", "way"), list(itertools.product((0, 1), Way)))
def test_one_direction_that_is_deaf_delays_and_nothing_else(ground: Ground, number: int, way: Way) -> None:
    ground.wires[number].swallow(way)
    there, back = ground.bob.hand_over("alice"), ground.alice.hand_over("bob")
    whole = (ground.alice, there) if number == 1 else (ground.bob, back)
    whole[0].published(whole[1])  # the other link goes on as if nothing were
    ground.heal()
    for target, tid in ((ground.alice, there), (ground.bob, back)):
        target.archive(target.claim(tid))
    for tid, host in itertools.product((there, back), ground.pair.hosts):
        assert host.ended(tid)["reason"] == "completed"


def test_a_link_that_flaps_each_second_delivers_between(ground: Ground) -> None:
    history = History()
    agents = Agents(history, random.Random(1))
    for source, target in (ground.pair.hosts, ground.pair.hosts[::-1]):
        agents.claim(target)
        agents.write(source, target, 0.1)
    for _ in range(FLAPS):
        for wire in ground.wires:
            wire.cut()
        time.sleep(0.5)
        ground.heal()
        time.sleep(0.5)
    agents.stop()
    until("all have ended", lambda: not history.open(), SETTLE_S)
    agents.end()
    assert history.faults() == []
    assert history.reasons()["completed"] > FLAPS


def test_the_checker_finds_what_is_wrong(ground: Ground) -> None:
    history = History()
    tid = history.write(ground.bob, ground.alice, payload("bob", "alice"))
    assert history.faults() == [
        f"{tid[:12]} from bob-vm: lost: it has no outcome",
        f"{tid[:12]} from bob-vm: its bytes lie in 0 places at its source",
    ]
    name = ground.alice.claim(tid)
    for _ in range(2):
        history.claim(name, How.OK)
    ground.alice.archive(name)
    ground.bob.ended(tid)
    history.end(name, "rejected_by_agent")
    until("it is home", lambda: ground.bob.names("archive"))
    assert history.faults() == [
        f"{tid[:12]} from bob-vm: claimed 2 times",
        f"{tid[:12]} from bob-vm: an agent ended it as {{'rejected_by_agent': 1}}, and it ended as completed",
    ]
