"""docs/custody.md section 11.4 and its rows of 11.7: one agent at home on several hosts, rule by rule."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import agents
from tests.fakes.faulty import Failing
from tests.fakes.star import Several
from tests.unit.custody.pair import Host, payload

from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.message import Arrival, Hello, Offer, Owed, Principal, Want
from handoffd.custody.tree import Settings
from handoffd.custody.visit import Lease, Leased, Telling, Welcome
from handoffd.protocol.name import AgentName, HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Problem, State
from handoffd.protocol.timing import RELIST_S

ALICE, BOB = AgentName("alice"), AgentName("bob")
HOMES = ("host-b", "host-c", "host-d")


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Several]:
    world = Several(tmp_path)
    yield world
    world.close()


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Host]:
    """Bob's own host, at which both of alice's dial in."""
    host = Host(tmp_path / "a", "host-a", ["bob"], {name: ["alice"] for name in HOMES[:2]}, pulls=HOMES[:2]).start()
    yield host
    host.fs.close()


def write(world: Several, *, ttl_s: float = 600.0) -> TransferId:
    """Bob writes one, and the hub has it."""
    data = payload(ttl_s=ttl_s)
    world.hand_over(f"{len(world.witness.handoffs)}.json", data)
    world.tick(world.a)
    world.push()
    return transfer_id(data)


def drop(host: Host, *, ttl_s: float = 600.0) -> TransferId:
    data = payload(ttl_s=ttl_s)
    host.drop("0.json", data)
    host.tick()
    return transfer_id(data)


def lease(lender: Host, peer: str, tid: TransferId, epoch: str = "") -> Leased:
    (leased,) = lender.engine.lease([Lease(HostName(peer), epoch or f"tree-of-{peer}", (tid,))])
    return leased


def asked(world: Several, home: Host, tid: TransferId) -> Leased:
    return lease(world.h, home.name, tid, home.engine.epoch)


def visit(lender: Host, peer: str, session: str = "s1") -> tuple[TransferId, ...]:
    """A new session of a home; return what it is told to take."""
    assert lender.engine.welcome([Welcome(HostName(peer), f"tree-of-{peer}", session)]) == [True]
    (wishes,) = lender.engine.tell([Telling(HostName(peer), f"tree-of-{peer}", session)])
    return wishes.take


def code(leased: Leased) -> int:
    (parcel,) = leased.parcels
    return parcel.answer.status


def outcome(host: Host, tid: TransferId) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.read(f"relay/outcome/{tid}.json"))
    return found


def state(host: Host, tid: TransferId) -> State:
    (record,) = host.engine.record([tid])
    assert record is not None
    return record.state


def living_at(settings: Settings, *peers: str, pulls: tuple[str, ...] = HOMES) -> Settings:
    """The same settings with alice at these peers, and `pulls` of them dialling in."""
    others = {peer: names - {ALICE} for peer, names in settings.peers.items()}
    homes = {HostName(peer): frozenset({ALICE}) for peer in peers}
    return replace(settings, peers={**others, **homes}, pulls=frozenset(map(HostName, pulls)))


# ---------------------------------------------------------------- who gets it


def test_every_home_is_woken_and_told_to_take_it(several: Several) -> None:
    tid = write(several)
    news = several.h.engine.drain_news()
    assert {item.peer for item in news if isinstance(item, Owed)} >= set(HOMES)
    for home in list(several.homes):
        several.b = home
        wishes = several.tell(())
        assert wishes is not None
        assert wishes.take == (tid,)
    assert [name[:64] for name in several.h.names("relay/outbox/@alice")] == [tid]


def test_each_home_is_told_again_after_a_while(origin: Host) -> None:
    tid = drop(origin)
    assert (visit(origin, "host-b"), visit(origin, "host-c")) == ((tid,), (tid,))
    again = Telling(HostName("host-b"), "tree-of-host-b", "s1")
    assert origin.engine.tell([again])[0].take == ()
    origin.clock.advance(RELIST_S)
    assert origin.engine.tell([again])[0].take == (tid,)


def test_the_first_lease_has_it_and_every_other_home_is_told_so(several: Several) -> None:
    tid = write(several)
    first, second, third = several.homes
    assert code(asked(several, first, tid)) == 200
    assert several.h.names("relay/outbox/@alice") == []
    assert [name[:64] for name in several.h.names(f"relay/sent/{first.name}")] == [tid]
    for loser in (second, third):
        (parcel,) = asked(several, loser, tid).parcels
        assert (parcel.answer.status, parcel.answer.problem) == (409, Problem.ALREADY_CLAIMED)
        assert parcel.answer.data is None


def test_leases_of_one_group_are_decided_by_the_rename(several: Several) -> None:
    tid = write(several)
    leases = [Lease(home.name, home.engine.epoch, (tid,)) for home in several.homes]
    # The second of the same home is its own repeated request.
    answers = several.h.engine.lease([leases[1], leases[0], leases[1], leases[2]])
    assert [code(leased) for leased in answers] == [200, 409, 200, 409]
    assert [name[:64] for name in several.h.names(f"relay/sent/{leases[1].peer}")] == [tid]


def test_whoever_has_it_gets_the_same_bytes_again_and_nobody_else_is_offered_it(several: Several) -> None:
    tid = write(several)
    first, second, _ = several.homes
    one, again = asked(several, first, tid), asked(several, first, tid)
    assert one.parcels[0].answer.data == again.parcels[0].answer.data
    several.b = second
    several.hello()
    wishes = several.tell(())
    assert wishes is not None
    assert wishes.take == ()
    assert code(asked(several, second, tid)) == 409


def test_after_its_end_the_losers_are_told_the_end(several: Several) -> None:
    tid = write(several)
    several.until_quiet(agents.archives)
    winner = str(outcome(several.h, tid)["onward"])
    assert winner in HOMES
    for home in several.homes:
        (parcel,) = asked(several, home, tid).parcels
        assert (parcel.answer.status, parcel.answer.final, parcel.answer.data) == (410, True, None)


def test_a_peer_that_is_no_home_hears_nothing_of_it(origin: Host) -> None:
    origin.engine.configure(
        [
            replace(
                origin.settings,
                peers={**origin.settings.peers, HostName("host-x"): frozenset()},
                pulls=origin.settings.pulls | {HostName("host-x")},
            )
        ]
    )
    tid = drop(origin)
    assert visit(origin, "host-x") == ()
    assert code(lease(origin, "host-x", tid)) == 404
    visit(origin, "host-b")
    assert code(lease(origin, "host-b", tid)) == 200
    assert code(lease(origin, "host-x", tid)) == 404


def test_one_that_lost_its_tree_loses_it_for_all(origin: Host) -> None:
    tid = drop(origin)
    visit(origin, "host-b")
    assert code(lease(origin, "host-b", tid)) == 200
    assert origin.engine.welcome([Welcome(HostName("host-b"), "another-tree", "s2")]) == [True]
    assert outcome(origin, tid)["reason"] == "peer_lost_state"
    assert visit(origin, "host-c") == ()
    assert code(lease(origin, "host-c", tid)) == 410


def test_another_tree_of_one_home_takes_nothing_from_what_waits_for_all(origin: Host) -> None:
    tid = drop(origin)
    visit(origin, "host-b")
    assert origin.engine.welcome([Welcome(HostName("host-b"), "another-tree", "s2")]) == [True]
    assert state(origin, tid) is State.QUEUED
    assert visit(origin, "host-c") == (tid,)


def test_a_home_that_has_it_by_another_way_keeps_it(several: Several) -> None:
    """The same bytes came to it from elsewhere: what it tells of them counts, and no other home is offered them."""
    data = payload(ttl_s=600.0)
    first, second, _ = several.homes
    elsewhere = Principal("host-h", None, frozenset({BOB}))
    assert first.engine.admit([Arrival(elsewhere, data)])[0].status == 201
    several.hand_over("0.json", data)
    several.tick(several.a)
    several.push()
    several.b = first
    several.call_on()
    assert [name[:64] for name in several.h.names(f"relay/sent/{first.name}")] == [transfer_id(data)]
    assert code(asked(several, second, transfer_id(data))) == 409
    several.until_quiet(agents.archives)
    several.witness.final()


# ---------------------------------------------------------------- while it waits


def test_what_no_home_comes_for_expires_and_says_whose_they_were(origin: Host) -> None:
    tid = drop(origin, ttl_s=5.0)
    assert state(origin, tid) is State.QUEUED
    origin.tick(6.0)
    ended = outcome(origin, tid)
    assert (ended["reason"], ended["delivered"]) == ("expired", "never_sent")
    assert ended["detail"] == "no home of alice came for it: host-b, host-c"


def test_a_home_that_comes_too_late_ends_it(origin: Host) -> None:
    tid = drop(origin, ttl_s=5.0)
    visit(origin, "host-b")
    origin.clock.advance(6.0)
    assert code(lease(origin, "host-b", tid)) == 410
    visit(origin, "host-c")
    assert code(lease(origin, "host-c", tid)) == 410


def test_its_writer_can_have_it_back_at_once(origin: Host) -> None:
    tid = drop(origin)
    (record,) = origin.engine.withdraw([tid])
    assert record is not None
    assert record.reason == "revoked"
    assert visit(origin, "host-b") == ()


def test_what_an_agent_posts_waits_for_any_home_too(origin: Host) -> None:
    data = payload(ttl_s=600.0)
    (answer,) = origin.engine.admit([Arrival(Principal("@bob", BOB, frozenset({BOB})), data)])
    assert answer.status == 201
    assert visit(origin, "host-c") == (transfer_id(data),)


def test_nothing_goes_back_to_the_home_it_came_from(several: Several) -> None:
    """Who lists alice at a host that sends for her has one of the two wrong; as with one home it is not_here."""
    hub, home = several.h, several.homes[0]
    sends = Principal(home.name, None, frozenset({AgentName("dora")}))
    (answer,) = hub.engine.admit([Arrival(sends, payload("dora", ttl_s=600.0))])
    assert answer.problem is Problem.NOT_HERE


# ---------------------------------------------------------------- after a restart


def test_a_restart_offers_what_waited_and_keeps_what_was_leased(several: Several) -> None:
    waits, leased = write(several), write(several)
    first, second, _ = several.homes
    assert code(asked(several, first, leased)) == 200
    several.h.restart()
    assert (state(several.h, waits), state(several.h, leased)) == (State.STORED, State.LEASED)
    several.b = second
    several.hello()
    wishes = several.tell(())
    assert wishes is not None
    assert wishes.take == (waits,)
    assert code(asked(several, second, leased)) == 409


@pytest.mark.parametrize("winner", ["host-b", "0-host"])
def test_of_two_names_that_a_power_cut_left_the_lease_counts(winner: str, tmp_path: Path) -> None:
    """Whatever comes first in the order of names."""
    homes = (winner, "host-c")
    hub = Host(tmp_path / "h", "host-h", [], {"host-a": ["bob"], **{n: ["alice"] for n in homes}}, pulls=homes).start()
    data = payload(ttl_s=600.0)
    hub.engine.admit([Arrival(Principal("host-a", None, frozenset({BOB})), data)])
    visit(hub, winner)
    tid = transfer_id(data)
    assert code(lease(hub, winner, tid)) == 200
    (name,) = hub.names(f"relay/sent/{winner}")
    os.link(hub.root / "relay/sent" / winner / name, hub.root / "relay/outbox/@alice" / name)
    hub.power_cut()
    hub.start()
    assert (hub.names("relay/outbox/@alice"), hub.names(f"relay/sent/{winner}")) == ([], [name])
    assert state(hub, tid) is State.LEASED
    visit(hub, "host-c")
    assert code(lease(hub, "host-c", tid)) == 409
    hub.fs.close()


def test_a_take_that_a_crash_interrupted_goes_on(origin: Host) -> None:
    data = payload(ttl_s=600.0)
    (origin.root / "relay/outbox/@alice/taking.0123456789abcdef~0.json").write_bytes(data)
    origin.restart()
    origin.tick()
    assert visit(origin, "host-b") == (transfer_id(data),)


def test_what_expired_for_all_is_forgotten_in_its_time(origin: Host) -> None:
    tid = drop(origin, ttl_s=5.0)
    origin.tick(6.0)
    origin.restart()
    for _ in range(4):
        origin.tick(16 * 3600.0)
    assert f"{tid}.json" not in origin.names("relay/outcome")


# ---------------------------------------------------------------- homes come and go


def test_a_home_that_comes_gets_what_waits(origin: Host) -> None:
    tid = drop(origin)
    origin.engine.drain_news()
    origin.engine.configure([living_at(origin.settings, *HOMES)])
    assert HostName("host-d") in {item.peer for item in origin.engine.drain_news() if isinstance(item, Owed)}
    assert visit(origin, "host-d") == (tid,)
    assert code(lease(origin, "host-d", tid)) == 200


@pytest.mark.parametrize("restart", [False, True])
def test_a_home_that_goes_gets_no_more(origin: Host, restart: bool) -> None:
    waits = drop(origin)
    taken = payload(ttl_s=600.0)
    origin.drop("1.json", taken)
    origin.tick()
    visit(origin, "host-b")
    assert code(lease(origin, "host-b", transfer_id(taken))) == 200
    configure(origin, living_at(origin.settings, "host-c", "host-d"), restart)
    assert visit(origin, "host-b", "s2") == (transfer_id(taken),)  # what it leased is its own
    assert code(lease(origin, "host-b", waits)) == 404
    assert visit(origin, "host-c") == (waits,)


@pytest.mark.parametrize("restart", [False, True])
def test_the_one_home_that_is_left_gets_it(origin: Host, restart: bool) -> None:
    tid = drop(origin)
    configure(origin, living_at(origin.settings, "host-c"), restart)
    assert origin.names("relay/outbox/@alice") != []
    assert visit(origin, "host-c") == (tid,)
    assert code(lease(origin, "host-c", tid)) == 200


@pytest.mark.parametrize("restart", [False, True])
def test_the_one_home_that_is_left_and_called_is_sent_it(origin: Host, restart: bool) -> None:
    tid = drop(origin)
    settings = living_at(origin.settings, "host-c", pulls=("host-b",))
    configure(origin, settings, restart)
    assert (origin.names("relay/outbox/@alice"), len(origin.names("relay/outbox/host-c"))) == ([], 1)
    assert origin.engine.hello([Hello(HostName("host-c"), "tree-of-host-c")]) == [True]
    (offers,) = origin.engine.offers([Want(HostName("host-c"), 100, 1 << 23)])
    assert [offer.tid for offer in offers if isinstance(offer, Offer)] == [tid]


@pytest.mark.parametrize("restart", [False, True])
def test_the_one_home_that_is_left_is_not_sent_what_came_from_it(several: Several, restart: bool) -> None:
    tid, hub = write(several, ttl_s=60.0), several.h
    configure(hub, living_at(hub.settings, "host-a"), restart)
    hub.tick()
    assert (len(hub.names("relay/outbox/@alice")), hub.names("relay/outbox/host-a")) == (1, [])
    assert hub.engine.hello([Hello(HostName("host-a"), several.a.engine.epoch)]) == [True]
    assert hub.engine.offers([Want(HostName("host-a"), 100, 1 << 23)]) == [()]
    hub.tick(61.0)
    assert outcome(hub, tid)["reason"] == "expired"


def test_what_the_disk_did_not_let_go_to_the_one_home_goes_later_and_holds_no_other_up(origin: Host) -> None:
    first = drop(origin)
    second = payload(ttl_s=600.0)
    origin.drop("1.json", second)
    origin.tick()
    origin.faults.rest()
    origin.faults.failing = Failing(frozenset({"move"}), 1, 1, errno.ENOSPC)
    origin.engine.configure([living_at(origin.settings, "host-c", pulls=("host-b",))])
    assert len(origin.names("relay/outbox/@alice")) == len(origin.names("relay/outbox/host-c")) == 1
    (line,) = [line for line in origin.journal.lines if line["event"] == "parked"]
    assert "not yet moved to the one home that is left, host-c" in line["detail"]
    assert (line["role"], line["peer"]) == ("sender", "@alice")
    origin.tick()
    assert origin.names("relay/outbox/@alice") == []
    assert origin.engine.hello([Hello(HostName("host-c"), "tree-of-host-c")]) == [True]
    (offers,) = origin.engine.offers([Want(HostName("host-c"), 100, 1 << 23)])
    assert {offer.tid for offer in offers} == {first, transfer_id(second)}


def test_what_the_disk_refuses_on_every_tick_is_told_once(origin: Host) -> None:
    """The ticks of a full night would else fill the disk with lines that say that it is full."""
    drop(origin)
    origin.faults.rest()
    origin.faults.failing = Failing(frozenset({"move"}), 1, 1_000, errno.ENOSPC)
    origin.engine.configure([living_at(origin.settings, "host-c", pulls=("host-b",))])
    for _ in range(10):
        origin.tick()
    assert len(origin.names("relay/outbox/@alice")) == 1
    assert origin.journal.words().count("parked") == 1


def test_nothing_leaves_for_the_one_home_before_its_move_is_flushed(origin: Host) -> None:
    drop(origin)
    visit(origin, "host-c")
    origin.faults.rest()
    # First come two directories of the new mode, then that of its note.
    origin.faults.failing = Failing(frozenset({"sync_directories"}), 4, 4, errno.EIO)
    with pytest.raises(FlushFailed):
        origin.engine.configure([living_at(origin.settings, "host-c", pulls=("host-b",))])
    assert origin.engine.offers([Want(HostName("host-c"), 100, 1 << 23)]) == [()]


def test_both_names_of_the_move_to_the_one_that_is_called(origin: Host) -> None:
    """A power cut within the start that moved it shows both; the later one counts."""
    tid = drop(origin)
    (name,) = origin.names("relay/outbox/@alice")
    os.link(origin.root / "relay/outbox/@alice" / name, origin.root / "relay/outbox/host-c" / name)
    origin.settings = living_at(origin.settings, "host-c", pulls=("host-b",))
    origin.power_cut()
    origin.start()
    assert (origin.names("relay/outbox/@alice"), origin.names("relay/outbox/host-c")) == ([], [name])
    assert state(origin, tid) is State.QUEUED


def test_what_waited_for_one_stays_its_own_when_another_comes(tmp_path: Path) -> None:
    origin = Host(tmp_path / "a", "host-a", ["bob"], {"host-b": ["alice"], "host-c": []}, pulls=HOMES[:2]).start()
    tid = drop(origin)
    origin.engine.configure([living_at(origin.settings, "host-b", "host-c")])
    assert visit(origin, "host-c") == ()
    assert code(lease(origin, "host-c", tid)) == 404
    assert visit(origin, "host-b") == (tid,)
    origin.fs.close()


def test_what_nobody_is_home_to_now_is_told_of_and_expires(origin: Host) -> None:
    tid = drop(origin, ttl_s=60.0)
    origin.settings = living_at(origin.settings)
    origin.restart()
    (line,) = [line for line in origin.journal.lines if line["event"] == "peer_unknown"]
    assert "alice, which no peer lists now" in line["detail"]
    assert visit(origin, "host-b") == ()
    origin.tick(61.0)
    assert outcome(origin, tid)["detail"] == "no home of alice came for it: it has none now"


def test_an_agent_that_came_home_does_not_get_what_was_on_its_way_to_others(origin: Host) -> None:
    tid = drop(origin, ttl_s=60.0)
    origin.engine.configure([replace(living_at(origin.settings), agents=frozenset({ALICE, BOB}))])
    origin.tick(61.0)
    assert outcome(origin, tid)["reason"] == "expired"


def configure(host: Host, settings: Settings, restart: bool) -> None:
    """Take up settings while running, or by a restart."""
    host.settings = settings
    if restart:
        host.restart()
    else:
        host.engine.configure([settings])
