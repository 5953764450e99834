"""What a host only passes on, where its files are in an odd place: docs/custody.md sections 11.5 to 11.7."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import agents
from tests.fakes.chain import Chain
from tests.fakes.faulty import Failing
from tests.fakes.star import Spoke
from tests.unit.custody.pair import Host, payload

from handoffd.custody.message import Arrival, Attempt, Landing, Mirror, Offer, Principal, Settlement
from handoffd.protocol.name import AgentName, HostName, TransferId, published_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Problem, Reason, State
from handoffd.protocol.record import Artefact, Record
from handoffd.protocol.timing import FORGET_AFTER_S, HOUR_S

Make = Callable[[str], Chain]
BOBS = frozenset({AgentName("bob"), AgentName("carol")})
INBOX = "relay/inbox/host-a"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Chain] = []

    def chain(lanes: str) -> Chain:
        made.append(Chain(tmp_path, lanes))
        return made[-1]

    yield chain
    for world in made:
        world.close()


def outcome(host: Host, tid: TransferId) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.read(f"relay/outcome/{tid}.json"))
    return found


def held_up(world: Chain) -> tuple[TransferId, str, bytes]:
    """A handoff that H has and could not put into outbox/; T, N and its bytes."""
    hub, data = world.named["h"], payload(ttl_s=600.0)
    hub.faults.rest()
    hub.faults.failing = Failing(frozenset({"move"}), 2, 2, errno.ENOSPC)
    (answer,) = hub.engine.admit([Arrival(Principal("host-a", None, BOBS), data, path=("host-a",))])
    assert (answer.status, answer.record and answer.record.state) == (202, State.STORED)
    name = published_name(json.loads(data)["caller_hash"], transfer_id(data))
    assert hub.names(INBOX) == [f"{name}.new", f"{name}.routed"]
    return transfer_id(data), name, data


# ---------------------------------------------------------------- forwarding


def test_what_is_forwarded_is_offered_at_once(make: Make) -> None:
    hub, data = make("push push").named["h"], payload(ttl_s=600.0)
    hub.engine.admit([Arrival(Principal("host-a", None, BOBS), data, path=("host-a",))])
    (offer,) = (item for item in hub.engine.drain_news() if isinstance(item, Offer))
    assert (offer.tid, offer.data, offer.path) == (transfer_id(data), data, ("host-a",))


def test_of_both_names_of_one_rename_the_later_one_stays(make: Make) -> None:
    world = make("push push")
    hub = world.named["h"]
    tid, name, _ = held_up(world)
    os.link(hub.root / INBOX / f"{name}.new", hub.root / f"relay/outbox/host-b/{tid}~{name}")
    hub.tick()
    assert (hub.names(INBOX), hub.names("relay/outbox/host-b")) == ([f"{name}.routed"], [f"{tid}~{name}"])
    assert hub.names("relay/quarantine") == []


def test_another_file_under_its_name_is_put_away_and_it_goes_on(make: Make) -> None:
    world = make("push push")
    hub = world.named["h"]
    tid, name, data = held_up(world)
    (hub.root / f"relay/outbox/host-b/{tid}~{name}").write_bytes(b"squat")
    hub.tick()
    assert hub.read(f"relay/outbox/host-b/{tid}~{name}") == data
    (line,) = (line for line in hub.journal.lines if line["event"] == "quarantined")
    assert line["tid"] == tid
    assert len(hub.names("relay/quarantine")) == 1


# ---------------------------------------------------------------- ends before it went on


def test_what_could_not_go_on_ends_beside_its_record_with_both_its_neighbours(make: Make) -> None:
    world = make("push push")
    hub = world.named["h"]
    tid, _, data = held_up(world)
    hub.tick(603.0)
    ended = outcome(hub, tid)
    assert (ended["reason"], ended["delivered"], ended["detail"]) == ("expired", "not_delivered", "")
    assert (ended["peer"], ended["onward"]) == ("host-a", "host-b")
    assert hub.read(f"relay/outcome/{tid}.payload") == data
    assert (hub.names(INBOX), hub.names("rejected")) == ([], [])


def test_what_may_not_go_back_ends_without_a_next_host(make: Make) -> None:
    """Its agent has moved to the host that it came from."""
    world = make("push push")
    hub = world.named["h"]
    tid, _, _ = held_up(world)
    peers = {HostName("host-a"): BOBS | {AgentName("alice")}, HostName("host-b"): frozenset[AgentName]()}
    hub.engine.configure([replace(hub.settings, peers=peers)])
    hub.tick(603.0)
    assert (outcome(hub, tid)["peer"], outcome(hub, tid).get("onward")) == ("host-a", None)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize(("after_s", "reason"), [(0.0, "revoked"), (601.0, "expired")])
def test_what_was_taken_back_before_a_start_ends_then_and_is_never_uncertain(
    make: Make, power: bool, after_s: float, reason: str
) -> None:
    world = make("push push")
    hub = world.named["h"]
    tid, name, data = held_up(world)
    hub.clock.advance(after_s)
    (hub.power_cut if power else hub.crash)()
    (hub.root / INBOX / f"{name}.new").rename(hub.root / INBOX / f"{name}.pulled")
    hub.start()
    assert (outcome(hub, tid)["reason"], outcome(hub, tid)["delivered"]) == (reason, "not_delivered")
    assert hub.read(f"relay/outcome/{tid}.payload") == data
    assert hub.names(INBOX) == hub.names("relay/outbox/host-b") == []


# ---------------------------------------------------------------- what is told of it


def test_a_retry_that_meets_a_later_state_times_each_by_the_host_that_saw_it(make: Make) -> None:
    world = make("push push")
    tid = transfer_id(data := payload(ttl_s=600.0))
    world.hand_over("0.json", data)
    world.tick(world.a)
    world.push(answers_arrive=False)
    world.lanes[1].carry()
    world.a.clock.advance(10.0)
    world.push()
    (record,) = world.a.engine.record([tid])
    assert record is not None
    assert (record.state, record.by) == (State.PUBLISHED, "host-b")
    assert record.timed_by("stored") == "host-h"


def test_an_artefact_that_does_not_come_is_told_as_missing(make: Make) -> None:
    world = make("push push")
    hub, data = world.named["h"], payload(ttl_s=600.0)
    tid = transfer_id(data)
    world.hand_over("0.json", data)
    world.round()
    final = Artefact("end.json", transfer_id(b"the end"), 7)
    ended = Record(tid, State.COMPLETED, world.b.name, "", reason=Reason.COMPLETED, delivered=Delivered.CLAIMED)
    hub.engine.mirror([Mirror(world.b.name, replace(ended, artefact=final), 0)])
    hub.engine.land([Landing(tid, None)])
    (line,) = (line for line in hub.journal.lines if line["event"] == "artefact_missing")
    assert (line["tid"], line["role"], line["detail"]) == (tid, "relay", "the peer has none, or did not bring it")
    assert hub.names("relay/outbox/host-b") == hub.names("relay/sent/host-b") == []


# ---------------------------------------------------------------- what a start owes, and what it forgets


def test_after_a_start_nothing_is_owed_to_a_next_host_that_dials_in(make: Make) -> None:
    """It tells its finals until it is told to forget them."""
    world = make("push pull")
    hub = world.named["h"]
    tid = transfer_id(data := payload(ttl_s=600.0))
    world.hand_over("0.json", data)
    world.until_quiet(agents.archives)
    assert outcome(hub, tid)["onward"] == "host-b"
    hub.restart()
    assert hub.engine.debts([world.b.name])[0].forget == ()


def test_after_a_start_what_a_peer_that_dials_in_has_ended_is_forgotten_in_its_time(tmp_path: Path) -> None:
    world = Spoke(tmp_path)
    world.hand_over("0.json", payload(ttl_s=600.0))
    world.until_quiet(agents.archives)
    world.a.restart()
    left = []
    for seconds in (FORGET_AFTER_S, 2 * HOUR_S):
        world.a.tick(seconds)
        world.a.tick(1.0)
        left.append(len(world.a.outcomes()))
    assert left == [1, 0]
    world.close()


def test_an_unknown_answer_ends_nothing_though_it_speaks_of_a_circle(make: Make) -> None:
    """Only what the peer has written itself is its refusal (a10)."""
    world = make("push push")
    hub, data = world.named["h"], payload(ttl_s=600.0)
    hub.engine.admit([Arrival(Principal("host-a", None, BOBS), data)])
    told = Settlement(world.b.name, transfer_id(data), Attempt.UNKNOWN, status=421, problem=Problem.LOOP)
    hub.engine.settle([told])
    assert hub.outcomes() == []
    hub.engine.settle([replace(told, attempt=Attempt.NOT_ADMITTED)])
    assert hub.outcome()["reason"] == "unroutable"
