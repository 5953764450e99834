"""A hub between two hosts that only dial out: nothing is lost and nothing happens twice, whoever is away."""

import json
import time
from math import inf

import pytest
from harness.books import all_ended, audit, unfinished
from harness.engine import eventually
from harness.host import Fields, Host, Written
from harness.star import Star

CONFIG = "/etc/handoffd/handoffd.yaml"
SKEW_S = 90
DEFAULT_LIFETIME_S = 60.0
SHORT_S = 3.0
BACK_S = 2.0
"""What is promised of a spoke that can reach the hub again; a busy machine gets BUSY times as long, once in ROUNDS."""
BUSY = 10
ROUNDS = 4
POLL_S = 20.0
"""A poll that hung for longer had nothing to say, and was answered before the proxy lost its patience."""


def assert_each_completed_once(star: Star, count: int) -> None:
    eventually("all have ended", lambda: all_ended(star))
    books = audit(star)
    assert books.faults == []
    assert books.ends == {"completed": count}


def link(host: Host, peer: str) -> Fields:
    """Return what a host's daemon says of its link to a peer."""
    # It ends with 1 where something needs attention, such as a clock that is off.
    command = ("handoffd", "status", "--config", CONFIG, "--json")
    told = json.loads(host.execute(*command, check=False))
    (found,) = [one for one in told["peers"] if one["peer"] == peer]
    return dict(found)


def test_two_hosts_that_cannot_see_each_other_hand_over_through_the_hub(star: Star) -> None:
    assert star.networks(star.bob) & star.networks(star.alice) == set()
    star.alice.listen()
    star.bob.listen()
    there = star.bob.hand_over("alice", "--count", "10", "--callers", "10")
    star.alice.hand_over("bob", "--count", "10", "--callers", "10")
    assert_each_completed_once(star, 20)
    record = star.bob.final(there[0].tid)
    where = {state: record.get("edges_by", {}).get(state, record["by"]) for state in record["edges"]}
    expected = {"stored": "hub", "leased": "hub", **dict.fromkeys(("published", "claimed", "completed"), "laptop")}
    assert {"stored", "leased", "published", "completed"} <= where.keys(), "a claim so short may not have been seen"
    assert where == {state: expected[state] for state in where}, "each time by the clock of where it happened"
    assert [star.hub.ls(place) for place in ("handoff", "claimed", "archive", "rejected")] == [[]] * 4


def test_a_hub_that_is_killed_while_both_spokes_poll_loses_nothing(star: Star) -> None:
    star.alice.listen()
    star.bob.listen()
    for _ in range(3):
        star.bob.hand_over("alice", "--count", "5", "--callers", "5")
        star.alice.hand_over("bob", "--count", "5", "--callers", "5")
        star.hub.kill_daemon()
    assert_each_completed_once(star, 30)


def test_a_spoke_that_is_back_gets_at_once_what_waited_for_it(star: Star, capsys: pytest.CaptureFixture[str]) -> None:
    took_s: dict[str, float] = {}
    while len(took_s) < ROUNDS and min(took_s.values(), default=inf) > BUSY * BACK_S:
        written, seen_s = seen_after_the_road_opened(star)
        took_s[written.tid] = seen_s
    with capsys.disabled():
        print(f"\nthe road is open, and its handoff visible, after {seen_s:.2f} s")
    assert seen_s < BUSY * BACK_S, took_s
    star.alice.listen()
    for tid in took_s:
        assert star.bob.final(tid)["reason"] == "completed"


def seen_after_the_road_opened(star: Star) -> tuple[Written, float]:
    """Hand one over while laptop is cut off; return it, and after how many seconds of open road alice can see it."""
    with star.closed_road():
        written = star.bob.hand_over_one("alice")
        eventually("the hub has it", lambda: holds(star.hub, "relay/outbox/laptop", written))
        eventually("laptop has noticed", lambda: turns(star.alice)[-1:] == ["link_down"])
    began_s = time.monotonic()
    eventually("alice can see it", lambda: star.offers(star.alice, written))
    return written, time.monotonic() - began_s


def holds(host: Host, place: str, written: Written) -> bool:
    return any(written.tid in name for name in host.ls(place))


def turns(host: Host) -> list[str]:
    return [line["event"] for line in host.journal() if line["event"] in ("link_up", "link_down")]


def test_a_spoke_that_never_comes_back_ends_its_handoffs_by_rule(star: Star) -> None:
    leased = star.hand_over_in_time(star.bob, SHORT_S, lambda one: star.offers(star.alice, one))
    eventually("bob's host knows", lambda: "published" in events(star.bob, leased.tid))
    star.close_road()
    waiting = star.hand_over_in_time(star.bob, SHORT_S, lambda one: holds(star.hub, "relay/outbox/laptop", one))
    ended = star.bob.final(waiting.tid)
    assert (ended["reason"], ended["delivered"], ended["by"]) == ("expired", "not_delivered", "hub")
    eventually("the leased one is in doubt", lambda: shown(star.bob, leased.tid)["in_doubt"])
    assert star.bob.outcome(leased.tid) is None, "nobody knows what became of it"
    star.bob.execute("handoffd", "resolve", leased.tid, "--yes", "--config", CONFIG)
    given_up = star.bob.final(leased.tid)
    assert (given_up["reason"], given_up["delivered"]) == ("outcome_unknown", "unknown")
    assert star.alice.final(leased.tid)["reason"] == "expired", "it has withdrawn what it offered, and says so"
    star.open_road()
    star.linked(star.alice)
    later = star.bob.hand_over_one("alice")
    star.alice.listen()
    assert star.bob.final(later.tid)["reason"] == "completed"
    assert [line["sha256"] for line in star.alice.ledger(what="claimed")] == [later.tid]
    assert star.bob.final(leased.tid) == given_up, "a late verdict changes nothing"
    for host in star.hosts:
        eventually(f"{host.name} holds nothing", lambda host=host: not unfinished(host))


def events(host: Host, tid: str) -> list[str]:
    return [line["event"] for line in host.journal() if line.get("tid") == tid]


def shown(host: Host, tid: str) -> Fields:
    return dict(json.loads(host.execute("handoffd", "show", tid, "--config", CONFIG, "--json")))


@pytest.mark.parametrize("skew_s", [SKEW_S, -SKEW_S], ids=["ahead", "behind"])
@pytest.mark.parametrize("who", ["laptop", "hub"])
def test_a_host_90_s_off_loses_nothing_and_is_named(unstarted_star: Star, who: str, skew_s: int) -> None:
    star = unstarted_star
    skewed = {"laptop": star.alice, "hub": star.hub}[who]
    skewed.set_clock(skew_s)
    star.start()
    star.alice.listen()
    star.bob.listen()
    star.bob.hand_over("alice", "--count", "3", "--callers", "3")
    star.alice.hand_over("bob", "--count", "3", "--callers", "3")
    assert_each_completed_once(star, 6)
    seen_from = star.hub if skewed is star.alice else star.bob
    eventually(f"{seen_from.name} knows", lambda: near(link(seen_from, who)["clock_offset_ms"], skew_s))
    if skew_s > 0:
        # 60 s are over on arrival at a clock 90 s ahead: the writer reads that, and whose clock it was.
        late = star.bob.final(star.bob.hand_over_one("alice", lifetime_s=DEFAULT_LIFETIME_S).tid)
        assert (late["reason"], late["delivered"], late["by"]) == ("expired", "not_delivered", who)
        assert near(late["clock_offset_ms"], skew_s)
        assert f"the clock of {who} is" in late["detail"]
        assert "ahead of that of bob-home" in late["detail"]
        assert len(star.alice.ledger(what="claimed")) == 3


def near(offset_ms: int | None, skew_s: int) -> bool:
    return offset_ms is not None and round(offset_ms / 10_000) * 10 == skew_s


def test_a_proxy_that_cuts_what_is_idle_for_30_s_never_cuts_a_poll(star: Star) -> None:
    before = len(star.seen_by_proxy("quiet"))

    def polls() -> list[Fields]:
        quiet = star.seen_by_proxy("quiet")[before:]
        return [line for line in quiet if line["silent_s"] > POLL_S and not line["from_client"]]

    cuts = len(star.seen_by_proxy("cut"))
    eventually("two polls hung to their end and were answered", lambda: len(polls()) >= 2, within_s=180)
    star.alice.listen()
    star.bob.listen()
    star.bob.hand_over_one("alice")
    star.alice.hand_over_one("bob")
    assert_each_completed_once(star, 2)
    assert [cut for cut in star.seen_by_proxy("cut")[cuts:] if cut["owed"] == "answer"] == []
    assert star.is_up(star.alice)
    assert [line["event"] for line in star.alice.journal()].count("link_up") == 1
