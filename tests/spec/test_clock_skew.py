"""Clocks that are wrong, step or sleep: docs/custody.md section 7, by push, by pull and over a relay.

The promise: nothing is claimable later than the grace after its time by the clock of the host that offers it, the
writer hears a true reason, and a clock that jumps ends nothing within the minute in which it may be set right.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes import agents
from tests.fakes.star import Spoke, Star
from tests.fakes.world import World
from tests.unit.custody.pair import START, Pair, X, payload

from handoffd.custody.message import Mirror
from handoffd.custody.visit import Telling
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.timing import CLOCK_JUMP_REST_S, DOUBT_ASK_S, EXPIRY_GRACE_S, REVOKE_AFTER_S, SCAN_INTERVAL_S

LIFETIME_S = 60.0
SKEW_S = 90.0
WAYS = {"push": World, "pull": Spoke, "relay": Star}
PATIENCE = int(SKEW_S + LIFETIME_S + REVOKE_AFTER_S + 3 * DOUBT_ASK_S)
"""Rounds of a second in which all must have ended: the writer asks for an end after REVOKE_AFTER_S, once a minute."""

every_way = pytest.mark.parametrize("way", list(WAYS))
either_sign = pytest.mark.parametrize("skew_s", [SKEW_S, -SKEW_S], ids=["ahead", "behind"])


@pytest.fixture
def world(way: str, in_memory: Path) -> Iterator[World]:
    made = WAYS[way](in_memory)
    yield made
    made.close()


def offers_nothing_late(world: World, expires_at: float) -> None:
    """What an agent of B can claim now is not past the grace by B's clock; it looks once a tick."""
    late_s = world.b.clock.wall() - expires_at
    if world.b.names("handoff"):
        assert late_s <= EXPIRY_GRACE_S + SCAN_INTERVAL_S, "claimable, and long over"


def run_to_the_end(world: World, expires_at: float, each_round: Callable[[], object] = lambda: None) -> None:
    for _ in range(PATIENCE):
        if world.a.outcomes():
            return
        world.round()
        each_round()
        offers_nothing_late(world, expires_at)
    raise AssertionError("no end in sight")


@every_way
@either_sign
@pytest.mark.parametrize("whose", ["first", "last"])
def test_unclaimed_it_is_over_in_time_by_the_clock_of_the_host_that_offers_it(
    world: World, skew_s: float, whose: str
) -> None:
    """Nobody claims; whoever's clock is wrong, the writer reads that it expired and that no agent has it."""
    skewed = world.a if whose == "first" else world.b
    skewed.clock.wall_s += skew_s
    world.restart(skewed)  # it has been wrong for long, and did not jump
    expires_at = world.a.clock.wall() + LIFETIME_S
    world.hand_over(X, payload(at=world.a.clock.wall(), ttl_s=LIFETIME_S))
    run_to_the_end(world, expires_at)
    end = world.a.outcome()
    assert (end["reason"], end["delivered"]) == ("expired", "not_delivered")
    assert world.b.names("handoff") == []


@every_way
@either_sign
def test_claimed_in_time_by_that_clock_it_is_completed(world: World, skew_s: float) -> None:
    world.b.clock.wall_s += skew_s
    world.restart(world.b)
    lifetime_s = LIFETIME_S + SKEW_S
    world.hand_over(X, payload(ttl_s=lifetime_s))
    run_to_the_end(world, START + lifetime_s, lambda: agents.talks(world))
    assert world.a.outcome()["reason"] == "completed"


@every_way
def test_after_a_suspend_through_its_end_it_is_withdrawn_at_the_first_look(world: World) -> None:
    """Both clocks count the sleep: no jump, and no rest. The lid is opened long after the time is over."""
    world.hand_over(X, payload(ttl_s=LIFETIME_S))
    for _ in range(3):
        world.round()
    assert len(world.b.names("handoff")) == 1
    world.b.clock.advance(3600.0)
    world.tick(world.b)
    assert world.b.names("handoff") == []
    assert "clock_jumped" not in world.b.journal.words()
    run_to_the_end(world, START + LIFETIME_S)
    assert (world.a.outcome()["reason"], world.a.outcome()["delivered"]) == ("expired", "not_delivered")


@every_way
def test_a_suspend_of_the_writers_host_ends_nothing_that_an_agent_has(world: World) -> None:
    world.hand_over(X, payload(ttl_s=LIFETIME_S))
    for _ in range(3):
        world.round()
    agents.claim_all(world)
    world.a.clock.advance(3600.0)
    for _ in range(5):
        world.round()
        agents.talks(world)
    run_to_the_end(world, START + LIFETIME_S)
    assert world.a.outcome()["reason"] == "completed"


# ---------------------------------------------------------------- jumps


MANY = 5


def hand_over_many(world: World) -> list[str]:
    data = [payload(ttl_s=LIFETIME_S) for _ in range(MANY)]
    for number, one in enumerate(data):
        world.hand_over(f"{number:016x}-0.json", one)
    return [transfer_id(one) for one in data]


@every_way
@pytest.mark.parametrize("place", ["handoff/", "on its way", "at home"])
@pytest.mark.parametrize("who", [0, -2, -1], ids=["first", "last but one", "last"])
def test_a_clock_that_jumps_an_hour_and_is_set_right_ends_nothing(world: World, place: str, who: int) -> None:
    """Wherever the handoffs are: not taken yet, taken over between two hosts, or offered to an agent."""
    for host in world.hosts:
        world.tick(host)  # each has seen its clock once
    if place == "handoff/":
        world.hosts[who].clock.wall_s += 3600.0
    tids = hand_over_many(world)
    world.tick(world.a)
    if place == "on its way":
        world.hosts[who].clock.wall_s += 3600.0
    for _ in range(3):
        world.round()
    if place == "at home":
        assert len(world.b.names("handoff")) == MANY
        world.hosts[who].clock.wall_s += 3600.0
    for _ in range(int(LIFETIME_S) // 3):
        world.round()
    assert [outcome for host in world.hosts for outcome in host.outcomes()] == []
    world.hosts[who].clock.wall_s -= 3600.0
    for _ in range(20):
        agents.talks(world)
        world.round()
    assert [outcome["reason"] for outcome in world.a.outcomes()] == ["completed"] * len(tids)


def test_a_jump_between_two_ticks_is_seen_before_anything_ends_by_it(in_memory: Path) -> None:
    world = Spoke(in_memory)
    for host in world.hosts:
        world.tick(host)
    tids = hand_over_many(world)
    world.tick(world.a)
    found = world.tell(())
    assert found is not None
    world.a.clock.wall_s += 3600.0  # no tick from here to the lease
    parcels = world.lease(found.take)
    assert {parcel.answer.status for parcel in parcels} == {503}
    assert len(parcels) == len(tids)
    assert world.a.outcomes() == []


@every_way
def test_what_the_clock_still_says_after_the_minute_counts(world: World) -> None:
    for host in world.hosts:
        world.tick(host)
    hand_over_many(world)
    for _ in range(3):
        world.round()
    world.b.clock.wall_s += 3600.0
    for _ in range(int(CLOCK_JUMP_REST_S) + 3):
        world.round()
    assert world.b.names("handoff") == []
    assert [outcome["reason"] for outcome in world.b.outcomes()] == ["expired"] * MANY


# ---------------------------------------------------------------- whose clock it was


def ended_late(pair: Pair, ahead_ms: int | None) -> dict[str, object]:
    """One that nobody claimed, told to its writer's host, which measured how far host-b's clock is ahead."""
    tid, _ = pair.cross()
    pair.b.tick(LIFETIME_S + EXPIRY_GRACE_S + 1.0)
    (record,) = pair.b.engine.record([tid])
    assert record is not None
    pair.a.engine.mirror([Mirror(pair.b.name, record, ahead_ms)])
    return pair.a.outcome()


@pytest.mark.parametrize(
    ("ahead_ms", "words"),
    [
        (90_000, "the clock of host-b is 90.0 s ahead of that of host-a"),
        (-90_000, "the clock of host-b is 90.0 s behind that of host-a"),
    ],
)
def test_the_writer_reads_whose_clock_ended_it_and_how_far_that_is_off(pair: Pair, ahead_ms: int, words: str) -> None:
    end = ended_late(pair, ahead_ms)
    assert (end["by"], end["clock_offset_ms"]) == ("host-b", ahead_ms)
    assert str(end["detail"]).endswith(words)


@pytest.mark.parametrize("ahead_ms", [None, 0, int(EXPIRY_GRACE_S * 1000), -int(EXPIRY_GRACE_S * 1000)])
def test_clocks_that_agree_as_far_as_the_grace_are_no_reason(pair: Pair, ahead_ms: int | None) -> None:
    assert "clock" not in str(ended_late(pair, ahead_ms)["detail"])


def test_beyond_a_relay_the_offsets_add_up_and_each_time_keeps_its_clock(in_memory: Path) -> None:
    """The relay's clock is 1 s ahead of the writer's, and it measured that host-b's is 90 s ahead of its own."""
    world = Star(in_memory)
    world.hand_over(X, payload(ttl_s=LIFETIME_S))
    for _ in range(3):
        world.round()
    tid = transfer_id(world.a.read(f"relay/sent/host-h/{world.a.names('relay/sent/host-h')[0]}"))
    world.b.tick(LIFETIME_S + EXPIRY_GRACE_S + 1.0)
    (end,) = world.b.engine.record([tid])
    assert end is not None
    world.h.engine.tell([Telling(world.b.name, world.b.engine.epoch, world.visit.session, (end,), False, 90_000)])
    (told,) = world.h.engine.record([tid])
    assert told is not None
    assert "clock" not in told.detail, "the writer's host knows the sum"
    world.a.engine.mirror([Mirror(world.h.name, told, 1_000)])
    record = world.a.outcome()
    assert (record["by"], record["clock_offset_ms"], record["clocks"]) == ("host-b", 91_000, {"host-h": 1_000})
    assert record["edges_by"] == {"stored": "host-h", "leased": "host-h"}
    assert record["detail"].endswith("the clock of host-b is 91.0 s ahead of that of host-a")
    world.close()
