"""docs/custody.md section 11.5 to 11.7: push as second hop, circles and long ways, rule by rule."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import agents
from tests.fakes.chain import Chain
from tests.fakes.lane import PullLane, PushLane
from tests.unit.custody.pair import Host, payload

from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.message import (
    Answer,
    Arrival,
    Attempt,
    Batch,
    Hello,
    Lookup,
    Mirror,
    Offer,
    Principal,
    Settlement,
    Want,
)
from handoffd.custody.visit import Untold
from handoffd.protocol.name import AgentName, HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Problem, State
from handoffd.protocol.timing import PATH_HOSTS

ANYBODY = frozenset({AgentName("bob"), AgentName("carol")})
Make = Callable[[str], Chain]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Chain] = []

    def chain(lanes: str) -> Chain:
        made.append(Chain(tmp_path / str(len(made)), lanes))
        return made[-1]

    def in_place(lanes: str) -> Chain:
        (tmp_path / str(len(made))).mkdir()
        return chain(lanes)

    yield in_place
    for world in made:
        world.close()


@pytest.fixture
def relay(make: Make) -> Chain:
    """A -> H -> B, with nothing handed over yet."""
    return make("push push")


def hub(world: Chain) -> Host:
    return world.named["h"]


def write(world: Chain, *, ttl_s: float = 600.0) -> TransferId:
    """Bob writes one, and it comes as far as H."""
    data = payload(ttl_s=ttl_s)
    world.hand_over("0.json", data)
    world.tick(world.a)
    world.push()
    return transfer_id(data)


def posted(world: Chain) -> list[Offer]:
    """What H would post now."""
    return world.lanes[1].wire.offers(hub(world), world.b)  # type: ignore[union-attr]


def settle(world: Chain, tid: TransferId, attempt: Attempt, **more: object) -> None:
    hub(world).engine.settle([Settlement(world.b.name, tid, attempt, **more)])  # type: ignore[arg-type]


def state(host: Host, tid: TransferId) -> State:
    (record,) = host.engine.record([tid])
    assert record is not None
    return record.state


def outcome(host: Host, tid: TransferId) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.read(f"relay/outcome/{tid}.json"))
    return found


def later(world: Chain, seconds: float) -> None:
    for host in world.hosts:
        host.clock.advance(seconds)
        world.tick(host)


def arrive(host: Host, data: bytes, peer: str, path: tuple[str, ...] = ()) -> Answer:
    principal = Principal(HostName(peer), None, ANYBODY)
    (answer,) = host.engine.admit([Arrival(principal, data, path=path)])
    return answer


# ---------------------------------------------------------------- 11.5 the second hop


def test_a_later_try_bears_the_path_too(relay: Chain) -> None:
    tid = write(relay)
    assert [offer.path for offer in posted(relay)] == [("host-a",)]
    settle(relay, tid, Attempt.NOT_SENT)
    later(relay, 1.0)
    assert [(offer.tries, offer.path) for offer in posted(relay)] == [(1, ("host-a",))]


def test_the_outbox_is_flushed_once_for_a_group_before_the_first_byte_leaves(relay: Chain) -> None:
    for number in range(3):
        relay.hand_over(f"{number}.json", payload(ttl_s=600.0))
    relay.tick(relay.a)
    before = hub(relay).faults.flushes.copy()
    relay.push()
    made = hub(relay).faults.flushes - before
    assert made["relay/outbox/host-b"] == 1
    assert len(posted(relay)) == 3


def test_a_flush_that_fails_lets_nothing_leave(relay: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(directories: object) -> None:
        if "relay/outbox/host-b" in list(directories):  # type: ignore[call-overload]
            raise FlushFailed("relay/outbox/host-b")
        sync(directories)

    sync = hub(relay).fs.sync_directories
    monkeypatch.setattr(hub(relay).fs, "sync_directories", fail)
    relay.hand_over("0.json", payload(ttl_s=600.0))
    relay.tick(relay.a)
    offers = relay.wire.offers(relay.a, hub(relay))
    with pytest.raises(FlushFailed):
        relay.wire.post(relay.a, hub(relay), offers)
    assert posted(relay) == []


def test_the_hosts_that_handed_it_on_go_with_it_and_not_into_it(make: Make) -> None:
    world = make("push push push")
    data = payload(ttl_s=600.0)
    world.hand_over("0.json", data)
    world.tick(world.a)
    world.lanes[0].push()
    world.lanes[1].push()
    (offer,) = world.lanes[2].wire.offers(world.named["h2"], world.b)  # type: ignore[union-attr]
    assert (offer.path, offer.data) == (("host-a", "host-h1"), data)


def test_nothing_is_sent_before_the_next_hosts_epoch_is_noted(relay: Chain) -> None:
    (hub(relay).root / "relay/peers/host-b.json").unlink()
    hub(relay).restart()
    write(relay)
    hub(relay).engine.drain_news()
    assert hub(relay).engine.offers([Want(relay.b.name, 100, 1 << 20)]) == [()]
    relay.lanes[1].wire.greet(hub(relay), relay.b)  # type: ignore[union-attr]


# ---------------------------------------------------------------- 11.6 what H may do, and what A sees


def test_stored_is_said_only_while_no_byte_can_be_beyond(relay: Chain) -> None:
    tid = write(relay)
    (offer,) = posted(relay)
    assert state(hub(relay), tid) is State.LEASED  # an attempt is open
    settle(relay, tid, Attempt.NOT_SENT)
    assert state(hub(relay), tid) is State.STORED
    hub(relay).clock.advance(10.0)
    assert posted(relay) == [replace(offer, tries=1)]
    settle(relay, tid, Attempt.UNKNOWN)
    assert state(hub(relay), tid) is State.LEASED
    relay.follow()
    assert state(relay.a, tid) is State.LEASED


def test_every_state_reaches_the_first_host_with_the_host_that_saw_it(make: Make) -> None:
    world = make("push push push")
    data = payload(ttl_s=600.0)
    world.hand_over("0.json", data)
    world.tick(world.a)
    world.lanes[0].push()
    assert state(world.a, transfer_id(data)) is State.STORED
    for _ in range(3):
        world.round()
    assert state(world.a, transfer_id(data)) is State.PUBLISHED
    (record,) = world.named["h1"].engine.record([transfer_id(data)])
    assert record is not None
    assert (record.state, record.by) == (State.PUBLISHED, "host-b")
    assert {"stored", "leased", "published"} <= set(record.edges)


def test_what_never_left_the_relay_ends_alone(relay: Chain) -> None:
    tid = write(relay, ttl_s=5.0)
    posted(relay)
    settle(relay, tid, Attempt.NOT_SENT, detail="link down: unreachable")
    later(relay, 6.0)
    ended = outcome(hub(relay), tid)
    assert (ended["reason"], ended["delivered"], ended["by"]) == ("expired", "not_delivered", "host-h")
    assert (ended["peer"], ended["onward"]) == ("host-a", "host-b")
    assert "unreachable" in str(ended["detail"])


def test_what_may_have_left_ends_with_the_next_hosts_word(relay: Chain) -> None:
    tid = write(relay, ttl_s=5.0)
    posted(relay)
    settle(relay, tid, Attempt.UNKNOWN)
    later(relay, 3600.0)
    assert state(hub(relay), tid) is State.LEASED
    assert hub(relay).engine.debts([relay.b.name])[0].revoke == (tid,)
    hub(relay).clock.advance(61.0)
    relay.lanes[1].carry()
    assert outcome(hub(relay), tid)["reason"] == "expired"
    assert outcome(relay.b, tid)["reason"] == "revoked"


def test_a_revoke_is_answered_leased_and_passed_on(relay: Chain) -> None:
    tid = write(relay)
    posted(relay)
    settle(relay, tid, Attempt.UNKNOWN)
    (told,) = hub(relay).engine.revoke([Batch(relay.a.name, (tid,))])
    assert told[0] is not None
    assert told[0].state is State.LEASED
    assert hub(relay).engine.debts([relay.b.name])[0].revoke == (tid,)


def test_a_revoke_of_what_never_left_ends_it_at_once(relay: Chain) -> None:
    tid = write(relay)
    posted(relay)
    settle(relay, tid, Attempt.NOT_SENT)
    (told,) = hub(relay).engine.revoke([Batch(relay.a.name, (tid,))])
    assert told[0] is not None
    assert told[0].reason == "revoked"


def test_another_tree_beyond_ends_what_may_be_there_and_is_offered_the_rest(relay: Chain) -> None:
    gone, kept = write(relay), write(relay)
    posted(relay)
    settle(relay, gone, Attempt.UNKNOWN)
    settle(relay, kept, Attempt.NOT_SENT)
    hub(relay).clock.advance(10.0)
    assert hub(relay).engine.hello([Hello(relay.b.name, "another-tree")]) == [True]
    assert outcome(hub(relay), gone)["reason"] == "peer_lost_state"
    assert [offer.tid for offer in posted(relay)] == [kept]


def test_a_refusal_beyond_is_an_end_here(relay: Chain) -> None:
    relay.b.settings = replace(relay.b.settings, agents=frozenset({AgentName("zoe")}))
    relay.b.engine.configure([relay.b.settings])
    tid = write(relay)
    relay.round()
    relay.round()
    assert outcome(relay.a, tid)["reason"] == "unroutable"
    assert "not at home on host-b" in str(outcome(relay.a, tid)["detail"])


# ---------------------------------------------------------------- the artefact on its way home


def completed(world: Chain) -> TransferId:
    """Alice has finished with other bytes than came, and every host but A knows; no artefact was fetched."""
    data = payload(ttl_s=600.0)
    world.hand_over("0.json", data)
    for _ in range(4):
        world.round()
    agents.talks(world)
    world.tick(world.b)
    agents.talks(world)
    for _ in range(4):
        world.b.clock.advance(2.0)
        world.tick(world.b)
    assert outcome(world.b, transfer_id(data))["artefact"]
    return transfer_id(data)


def test_until_the_artefact_is_here_its_fetch_is_put_off(relay: Chain) -> None:
    tid = completed(relay)
    records = relay.b.engine.record([tid])
    hub(relay).engine.mirror([Mirror(relay.b.name, record, 0) for record in records if record])
    wanted = Lookup(Principal(relay.a.name, None, ANYBODY), tid, artefact=True)
    (answer,) = hub(relay).engine.lookup([wanted])
    assert (answer.status, answer.problem) == (503, Problem.UNAVAILABLE)
    relay.round()
    (answer,) = hub(relay).engine.lookup([wanted])
    assert answer.status == 200


def test_a_host_that_we_dial_is_told_the_end_when_the_artefact_is_here(make: Make) -> None:
    world = make("pull push")
    tid = completed(world)
    hub(world).engine.mirror([Mirror(world.b.name, record, 0) for record in world.b.engine.record([tid]) if record])
    (tidings,) = hub(world).engine.tidings([Untold(world.a.name, 0)])
    (told,) = tidings.records
    assert (told.state, told.artefact) == (State.CLAIMED, None)
    assert told.at == told.edges["claimed"]
    for _ in range(3):
        world.round()
    assert outcome(world.a, tid)["reason"] == "completed"
    assert any(name.endswith(".original") for name in world.a.names("archive"))


# ---------------------------------------------------------------- loops


def ring(make: Make, lanes: str) -> Chain:
    """A -> H1 -> H2, where H2 is told that alice lives at H1, from where it gets what is for her."""
    world = make(lanes)
    far = world.named["b"]
    peers = {HostName("host-h"): frozenset({AgentName("bob"), AgentName("carol"), AgentName("alice")})}
    far.settings = replace(far.settings, agents=frozenset(), peers=peers)
    far.engine.configure([far.settings])
    return world


@pytest.mark.parametrize("lanes", ["push push", "push pull", "pull push", "pull pull"])
def test_two_hosts_that_name_each_other_end_it_at_once_with_the_path(make: Make, lanes: str) -> None:
    world = ring(make, lanes)
    data = payload(ttl_s=600.0)
    world.hand_over("0.json", data)
    for _ in range(3):
        world.round()
    ended = outcome(world.a, transfer_id(data))
    assert (ended["reason"], ended["delivered"]) == ("unroutable", "not_delivered")
    assert "host-a > host-h > host-b > host-h" in str(ended["detail"])
    assert [name for name in world.a.names("rejected") if name.endswith(".reason")] != []


def test_what_comes_back_by_a_third_host_is_refused_by_t_and_by_path(relay: Chain) -> None:
    data = payload(ttl_s=600.0)
    relay.hand_over("0.json", data)
    relay.tick(relay.a)
    relay.push()
    for path in ((), ("host-a", "host-h", "host-b")):
        answer = arrive(hub(relay), data, "host-b", path)
        assert (answer.status, answer.problem) == (421, Problem.LOOP)
    assert "host-a > host-h > host-b > host-h" in answer.detail
    assert hub(relay).names("relay/outcome") == []


def test_a_loop_ends_at_once_though_another_attempt_is_open(relay: Chain) -> None:
    tid = write(relay)
    posted(relay)
    settle(relay, tid, Attempt.UNKNOWN)
    hub(relay).clock.advance(10.0)
    posted(relay)
    settle(relay, tid, Attempt.NOT_ADMITTED, status=421, detail="not here", problem=Problem.NOT_HERE)
    assert state(hub(relay), tid) is State.LEASED
    hub(relay).clock.advance(10.0)
    posted(relay)
    settle(relay, tid, Attempt.NOT_ADMITTED, status=421, detail="in a circle: a > b > a", problem=Problem.LOOP)
    ended = outcome(hub(relay), tid)
    assert (ended["reason"], ended["detail"]) == ("unroutable", "in a circle: a > b > a")


def test_a_peer_that_asks_for_an_end_of_what_goes_round_is_told_and_nothing_is_written(relay: Chain) -> None:
    tid = write(relay)
    (told,) = hub(relay).engine.revoke([Batch(relay.b.name, (tid,))])
    assert told[0] is not None
    assert told[0].reason == "unroutable"
    assert hub(relay).names("relay/outcome") == []


def test_a_retry_of_what_we_have_from_that_peer_is_no_loop_wherever_the_agent_lives_now(relay: Chain) -> None:
    data = payload(ttl_s=600.0)
    assert arrive(hub(relay), data, "host-a", ("host-a",)).status in (201, 202)
    moved = {**hub(relay).settings.peers, relay.b.name: frozenset()}
    hub(relay).engine.configure([replace(hub(relay).settings, peers=moved)])
    assert arrive(hub(relay), data, "host-a", ("host-a",)).status == 200


def test_more_hosts_than_there_may_be_on_a_way_are_refused_with_the_path(relay: Chain) -> None:
    hosts = tuple(f"host-{number}" for number in range(PATH_HOSTS + 1))
    assert arrive(hub(relay), payload(ttl_s=600.0), "host-a", hosts[:PATH_HOSTS]).status in (201, 202)
    answer = arrive(hub(relay), payload(ttl_s=600.0), "host-a", hosts)
    assert (answer.status, answer.problem) == (421, Problem.LOOP)
    assert answer.detail.startswith(f"handed on by more than {PATH_HOSTS} hosts: host-0 > host-1 > ")


# ---------------------------------------------------------------- 11.7 H's start


def test_after_a_restart_what_is_in_the_outbox_is_maybe_sent(relay: Chain) -> None:
    tid = write(relay, ttl_s=5.0)
    posted(relay)
    settle(relay, tid, Attempt.NOT_SENT)
    hub(relay).restart()
    assert state(hub(relay), tid) is State.LEASED
    later(relay, 6.0)
    assert state(hub(relay), tid) is State.LEASED
    assert hub(relay).engine.debts([relay.b.name])[0].revoke == (tid,)


def test_a_start_pushes_again_and_the_next_host_takes_it_once(relay: Chain) -> None:
    tid = write(relay)
    relay.lanes[1].push(answers_arrive=False)
    hub(relay).restart()
    relay.lanes[1].carry()
    assert state(hub(relay), tid) is State.PUBLISHED
    assert len(relay.b.names("handoff")) == 1


@pytest.mark.parametrize("lanes", ["push push", "push pull"])
def test_a_next_host_that_changes_between_push_and_pull_has_it_once(make: Make, lanes: str) -> None:
    world = make(lanes)
    tid = write(world)
    world.lanes[1].push(answers_arrive=False)
    before = hub(world).settings
    dialled = frozenset() if before.pulls else frozenset({world.b.name})
    hub(world).settings = replace(before, pulls=dialled)
    hub(world).restart()
    kind = PullLane if dialled else PushLane
    world.lanes[1] = kind(world, hub(world), world.b)
    for _ in range(3):
        world.round()
    assert state(world.a, tid) is State.PUBLISHED
    assert len(world.b.names("handoff")) == 1
    world.until_quiet(agents.archives)
    assert outcome(world.a, tid)["reason"] == "completed"


def test_the_next_host_may_forget_what_has_ended_and_a_start_says_so_again(relay: Chain) -> None:
    tid = write(relay)
    relay.until_quiet(agents.archives)
    hub(relay).restart()
    assert hub(relay).engine.debts([relay.b.name])[0].forget == (tid,)


# ---------------------------------------------------------------- home of some, relay of others


def test_a_host_may_be_the_home_of_some_agents_and_the_relay_of_others(relay: Chain) -> None:
    both = replace(hub(relay).settings, agents=frozenset({AgentName("sven")}))
    hub(relay).settings = both
    hub(relay).engine.configure([both])
    relay.a.settings = replace(
        relay.a.settings, peers={hub(relay).name: frozenset({AgentName("alice"), AgentName("sven")})}
    )
    relay.a.engine.configure([relay.a.settings])
    here, on = payload(to="sven", ttl_s=600.0), payload(to="alice", ttl_s=600.0)
    assert arrive(hub(relay), here, "host-a").status == 201
    assert arrive(hub(relay), on, "host-a").status == 201
    assert len(hub(relay).names("handoff")) == 1
    relay.lanes[1].carry()
    assert len(relay.b.names("handoff")) == 1


def test_everybody_else_lives_at_the_default_peer(relay: Chain) -> None:
    chosen = replace(hub(relay).settings, default_peer=relay.b.name)
    hub(relay).engine.configure([chosen])
    assert arrive(hub(relay), payload(to="zoe", ttl_s=600.0), "host-a").status in (201, 202)
    back = arrive(hub(relay), payload(to="yves", ttl_s=600.0), "host-b", ("host-b",))
    assert (back.status, back.problem) == (421, Problem.NOT_HERE)
    assert "would hand it back: host-b > host-h > host-b" in back.detail
