"""What the daemon is told when something becomes claimable: once for each file, also of what a start finds."""

from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody.message import Waiting


def heard(host: Host) -> list[Waiting]:
    return [item for item in host.engine.drain_news() if isinstance(item, Waiting)]


def test_what_is_published_is_told_with_its_name_and_facts(pair: Pair) -> None:
    tid, name = pair.cross()
    (item,) = heard(pair.b)
    assert (item.agent, item.name, item.facts.tid, item.facts.sender) == ("alice", name, tid, "bob")
    pair.b.tick()
    assert heard(pair.b) == []


def test_a_start_tells_what_still_waits_and_not_what_is_claimed(pair: Pair) -> None:
    pair.cross()
    pair.b.claim()
    _, name = pair.cross(name="other.json")
    heard(pair.b)
    pair.b.restart()
    assert [item.name for item in heard(pair.b)] == [name]


def test_after_a_power_cut_nobody_is_woken_for_what_is_taken_back(pair: Pair) -> None:
    pair.cross()
    heard(pair.b)
    pair.b.power_cut()
    pair.b.start()
    assert heard(pair.b) == []


def test_what_an_orderly_stop_took_back_is_told_when_it_is_published_again(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.engine.stop()
    pair.b.restart()
    assert name in [item.name for item in heard(pair.b)]


def test_a_file_between_two_local_agents_is_told_once_and_again_when_the_name_comes_again(pair: Pair) -> None:
    first, second = payload("carol", "bob"), payload("carol", "bob", ttl_s=30.0)
    pair.a.drop(X, first)
    for _ in range(3):
        pair.a.tick()
    pair.a.drop(X, second)
    pair.a.tick()
    told = heard(pair.a)
    assert [(item.agent, item.name) for item in told] == [("bob", X)] * 2
    assert told[0].written_ns != told[1].written_ns


def test_what_nobody_here_can_claim_is_not_told(pair: Pair) -> None:
    pair.a.drop("1.json", payload("carol", "nobody"))
    pair.a.drop("2.json", payload("carol", "bob", at=pair.a.clock.wall_s - 100.0))
    pair.a.drop("3.json", b"no handoff")
    pair.a.tick()
    assert heard(pair.a) == []
