"""docs/custody.md section 11: sessions, polls, leases and what a relay may do, rule by rule."""

import errno
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import agents
from tests.fakes.faulty import Failing
from tests.fakes.order import in_order, recorded
from tests.fakes.star import Dialling, Spoke, Star
from tests.unit.custody.pair import START, Host, payload

from handoffd.custody.message import Arrival, Batch, Hello, Principal
from handoffd.custody.visit import Bring, Lease, Leased, Telling, Untold, Welcome, Wishes
from handoffd.protocol.name import AgentName, HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.timing import RELIST_S

NOTHING = Wishes()


@pytest.fixture
def spoke(tmp_path: Path) -> Iterator[Spoke]:
    world = Spoke(tmp_path)
    yield world
    world.close()


@pytest.fixture
def star(tmp_path: Path) -> Iterator[Star]:
    world = Star(tmp_path)
    yield world
    world.close()


def write(world: Dialling, *, ttl_s: float = 600.0, name: str = "0.json") -> TransferId:
    """Bob writes one, and it comes as far as it comes without a visitor."""
    data = payload(ttl_s=ttl_s)
    world.hand_over(name, data)
    world.tick(world.a)
    if isinstance(world, Star):
        world.push()
    return transfer_id(data)


def ask(world: Dialling, *tids: TransferId, epoch: str = "") -> Leased:
    (leased,) = world.lender.engine.lease([Lease(world.b.name, epoch or world.b.engine.epoch, tids)])
    return leased


def codes(leased: Leased) -> list[int]:
    return [parcel.answer.status for parcel in leased.parcels]


def wishes(world: Dialling) -> Wishes:
    found = world.tell(())
    assert found is not None
    return found


def state(host: Host, tid: TransferId) -> State:
    (record,) = host.engine.record([tid])
    assert record is not None
    return record.state


def outcome(host: Host, tid: TransferId) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.read(f"relay/outcome/{tid}.json"))
    return found


def away(world: Dialling, seconds: float) -> None:
    """Time passes at every host but the visitor's."""
    for host in world.hosts[:-1]:
        host.clock.advance(seconds)
        world.tick(host)


# ---------------------------------------------------------------- 11.1 sessions


def test_no_session_no_talk(spoke: Spoke) -> None:
    lender, b = spoke.a.engine, spoke.b
    for epoch, session in (("another", "s1"), (b.engine.epoch, "another")):
        assert lender.tell([Telling(b.name, epoch, session)])[0].refused
    assert not lender.tell([Telling(b.name, b.engine.epoch, "s1")])[0].refused


def test_a_restart_of_the_lender_ends_the_session(spoke: Spoke) -> None:
    spoke.a.restart()
    assert spoke.a.engine.tell([Telling(spoke.b.name, spoke.b.engine.epoch, "s1")])[0].refused


def test_nobody_but_a_peer_that_dials_in_is_welcome(star: Star) -> None:
    assert star.h.engine.welcome([Welcome(star.a.name, "epoch", "s9")]) == [False]
    assert star.h.engine.hello([Hello(star.b.name, star.b.engine.epoch)]) == [False]


def test_another_tree_of_the_visitor_ends_what_the_old_one_was_lent(spoke: Spoke) -> None:
    tid = write(spoke)
    assert codes(ask(spoke, tid)) == [200]
    assert spoke.a.engine.welcome([Welcome(spoke.b.name, "new-tree", "s2")]) == [True]
    assert outcome(spoke.a, tid)["reason"] == "peer_lost_state"
    assert json.loads(spoke.a.read("relay/peers/host-b.json")) == {"epoch": "new-tree", "mode": "pull"}
    assert codes(ask(spoke, tid, epoch="new-tree")) == [410]


# ---------------------------------------------------------------- 11.2 the poll


def test_take_is_oldest_deadline_first_and_a_hundred_at_the_most(spoke: Spoke) -> None:
    late = [payload(ttl_s=600.0 + number) for number in range(105)]
    for number, data in enumerate(late):
        spoke.hand_over(f"{number}.json", data)
    urgent = write(spoke, ttl_s=60.0, name="urgent.json")
    while spoke.a.names("handoff"):
        spoke.tick(spoke.a)
    taken = [urgent, *map(transfer_id, late)]
    assert wishes(spoke).take == tuple(taken[:100])
    assert wishes(spoke).take == tuple(taken[100:])


def test_what_was_named_and_not_leased_is_named_again_after_a_while(spoke: Spoke) -> None:
    tid = write(spoke)
    assert wishes(spoke).take == (tid,)
    assert wishes(spoke).take == ()
    away(spoke, RELIST_S)
    assert wishes(spoke).take == (tid,)


def test_a_lease_whose_answer_was_lost_is_named_again_in_the_next_session(spoke: Spoke) -> None:
    tid = write(spoke)
    ask(spoke, tid)
    assert wishes(spoke).take == ()
    spoke.hello()
    assert wishes(spoke).take == (tid,)


def test_before_all_is_told_no_lease_is_taken_for_lost(spoke: Spoke) -> None:
    tid = write(spoke)
    spoke.admit(ask(spoke, tid).parcels)
    spoke.hello()
    first = spoke.tell((), more=True)
    assert first is not None
    assert first.take == ()


def test_what_is_past_its_time_or_wished_back_is_not_handed_out(spoke: Spoke) -> None:
    tid = write(spoke, ttl_s=5.0)
    spoke.a.clock.advance(6.0)
    assert wishes(spoke).take == ()
    assert codes(ask(spoke, tid)) == [410]
    assert outcome(spoke.a, tid)["reason"] == "expired"
    back = write(spoke, name="1.json")
    spoke.a.engine.withdraw([back])
    assert outcome(spoke.a, back)["reason"] == "revoked"
    assert codes(ask(spoke, back)) == [410]


def test_a_final_is_told_until_it_may_be_forgotten(spoke: Spoke) -> None:
    tid = write(spoke)
    spoke.call_on()
    agents.archives(spoke)
    agents.archives(spoke)
    spoke.tick(spoke.b)
    (tidings,) = spoke.b.engine.tidings([Untold(spoke.a.name, 0)])
    assert [record.state for record in tidings.records] == [State.COMPLETED]
    spoke.call_on()
    assert outcome(spoke.a, tid)["reason"] == "completed"
    assert spoke.b.engine.tidings([Untold(spoke.a.name, 0)])[0].records == ()


def test_a_final_that_the_lender_could_not_record_is_told_again(spoke: Spoke) -> None:
    tid = write(spoke)
    spoke.call_on()
    agents.archives(spoke)
    agents.archives(spoke)
    spoke.tick(spoke.b)
    (tidings,) = spoke.b.engine.tidings([Untold(spoke.a.name, 0)])
    spoke.a.faults.failing = Failing(frozenset({"create"}), 1, 1, errno.ENOSPC)
    first = spoke.tell(tidings.records)
    assert first is not None
    assert first.forget == ()
    again = spoke.tell(tidings.records)
    assert again is not None
    assert again.forget == (tid,)


def test_what_the_lender_never_heard_of_may_be_forgotten(spoke: Spoke) -> None:
    records = spoke.b.engine.revoke([Batch(spoke.a.name, (TransferId("a" * 64),))])[0]
    (found,) = spoke.a.engine.tell(
        [Telling(spoke.b.name, spoke.b.engine.epoch, spoke.visit.session, tuple(r for r in records if r))]
    )
    assert found.forget == ("a" * 64,)


def test_a_complete_telling_that_lacks_what_was_told_means_that_it_is_lost(spoke: Spoke) -> None:
    tid = write(spoke)
    spoke.call_on()
    spoke.call_on()
    assert state(spoke.a, tid) is State.PUBLISHED
    spoke.hello()
    spoke.tell(())
    assert outcome(spoke.a, tid)["reason"] == "peer_lost_state"


def test_no_bytes_for_a_visitor_that_said_it_had_them(spoke: Spoke) -> None:
    tid = write(spoke)
    spoke.call_on()
    spoke.call_on()
    assert codes(ask(spoke, tid)) == [404]


def test_a_verdict_is_asked_for_late_and_answered_whatever_the_visitor_has(spoke: Spoke) -> None:
    tid = write(spoke, ttl_s=5.0)
    ask(spoke, tid)
    away(spoke, 6.0)
    assert wishes(spoke) == replace(NOTHING, next_s=RELIST_S)
    away(spoke, 30.0)
    spoke.call_on()
    spoke.call_on()
    assert outcome(spoke.a, tid)["reason"] == "expired"
    assert outcome(spoke.b, tid)["reason"] == "revoked"


# ---------------------------------------------------------------- 11.3 the lease


def test_bytes_leave_after_the_rename_and_one_flush(spoke: Spoke) -> None:
    tids = [write(spoke, name=f"{number}.json") for number in range(3)]
    before = spoke.a.faults.flushes.copy()
    leased = ask(spoke, *tids)
    assert [parcel.answer.data for parcel in leased.parcels] == [
        spoke.a.read(f"relay/sent/host-b/{tid}~{number}.json") for number, tid in enumerate(tids)
    ]
    assert spoke.a.faults.flushes - before == {"relay/sent/host-b": 1}


def test_the_same_epoch_gets_the_same_bytes_and_moves_nothing(spoke: Spoke) -> None:
    tid = write(spoke)
    first, changes = ask(spoke, tid), spoke.a.faults.changes + 0
    again = ask(spoke, tid)
    assert again.parcels[0].answer.data == first.parcels[0].answer.data
    assert spoke.a.faults.changes == changes


def test_another_epoch_gets_nothing_at_all(spoke: Spoke) -> None:
    tid = write(spoke)
    assert ask(spoke, tid, epoch="another").refused
    assert state(spoke.a, tid) is State.QUEUED


def test_a_lease_past_its_time_waits_for_a_verdict(spoke: Spoke) -> None:
    tid = write(spoke, ttl_s=5.0)
    ask(spoke, tid)
    away(spoke, 6.0)
    assert codes(ask(spoke, tid)) == [404]
    assert state(spoke.a, tid) is State.LEASED


def test_what_does_not_fit_is_left_out_and_named_again(spoke: Spoke) -> None:
    big = "x" * 1_000_000
    tids = []
    for number in range(6):
        data = payload(ttl_s=600.0 + number, transcript=[{"role": "user", "text": big}])
        spoke.hand_over(f"{number}.json", data)
        tids.append(transfer_id(data))
    spoke.tick(spoke.a)
    assert wishes(spoke).take == tuple(tids)
    assert len(ask(spoke, *tids).parcels) == 4
    assert wishes(spoke).take == (tids[4],)


@pytest.mark.parametrize(
    ("home", "sends", "reason"), [("zoe", "bob", "unroutable"), ("alice", "eve", "refused_policy")]
)
def test_a_refusal_after_a_lease_is_an_end(spoke: Spoke, home: str, sends: str, reason: str) -> None:
    tid = write(spoke)
    peers = {HostName("host-a"): frozenset({AgentName(sends)})}
    spoke.b.settings = replace(spoke.b.settings, agents=frozenset({AgentName(home)}), peers=peers)
    spoke.b.engine.configure([spoke.b.settings])
    spoke.call_on()
    spoke.call_on()
    assert (outcome(spoke.b, tid)["reason"], outcome(spoke.a, tid)["reason"]) == (reason, reason)
    assert spoke.b.names("handoff") == []


def test_what_the_visitor_sends_itself_is_told_unroutable_and_written_nowhere(tmp_path: Path) -> None:
    """The same bytes came two ways: an outcome would end the visitor's own sending."""
    world = Spoke(tmp_path)
    data = payload(ttl_s=600.0)
    world.b.engine.configure(
        [
            replace(
                world.b.settings,
                agents=frozenset({AgentName("bob")}),
                peers={HostName("host-a"): frozenset({AgentName("alice")})},
            )
        ]
    )
    world.b.drop("0.json", data)
    world.b.tick()
    tid = write_same(world, data)
    world.call_on()
    world.call_on()
    assert outcome(world.a, tid)["reason"] == "unroutable"
    assert not (world.b.root / f"relay/outcome/{tid}.json").exists()
    assert world.b.names("relay/outbox/host-a") != []
    world.close()


def write_same(world: Dialling, data: bytes) -> TransferId:
    world.hand_over("0.json", data)
    world.tick(world.a)
    return transfer_id(data)


# ---------------------------------------------------------------- 11.6 what the relay may do, and what A sees


def test_every_state_reaches_the_first_host_with_the_host_that_saw_it(star: Star) -> None:
    tid = write(star)
    star.follow()
    assert state(star.a, tid) is State.STORED
    parcels = ask(star, tid).parcels
    star.follow()
    assert state(star.a, tid) is State.LEASED
    star.admit(parcels)
    star.call_on()
    star.follow()
    assert state(star.a, tid) is State.PUBLISHED
    (record,) = star.h.engine.record([tid])
    assert record is not None
    assert (record.state, record.by, record.peer) == (State.PUBLISHED, "host-b", "host-a")


def test_what_was_not_leased_the_relay_ends_alone_even_after_a_restart(star: Star) -> None:
    tid = write(star, ttl_s=5.0)
    star.h.restart()
    away(star, 6.0)
    ended = outcome(star.h, tid)
    assert (ended["reason"], ended["delivered"], ended["by"]) == ("expired", "not_delivered", "host-h")
    assert (ended["peer"], ended["onward"]) == ("host-a", "host-b")


def test_what_was_leased_the_relay_never_ends_alone(star: Star) -> None:
    tid = write(star, ttl_s=5.0)
    ask(star, tid)
    away(star, 3600.0)
    assert state(star.h, tid) is State.LEASED


def test_a_revoke_of_a_leased_one_is_answered_so_and_passed_on(star: Star) -> None:
    tid = write(star)
    ask(star, tid)
    (records,) = star.h.engine.revoke([Batch(star.a.name, (tid,))])
    assert [record and record.state for record in records] == [State.LEASED]
    assert wishes(star).verdict == (tid,)


def test_a_revoke_of_a_waiting_one_ends_it_at_once(star: Star) -> None:
    tid = write(star)
    (records,) = star.h.engine.revoke([Batch(star.a.name, (tid,))])
    assert [record and record.reason for record in records] == [Reason.REVOKED]


def test_what_ended_is_kept_beside_its_outcome_until_the_first_host_forgets(star: Star) -> None:
    tid = write(star)
    star.call_on()
    agents.talks(star)
    star.b.tick(1.0)
    agents.talks(star)
    star.b.tick(3.0)
    star.b.tick(3.0)
    star.call_on()
    kept = {f"{tid}.json", f"{tid}.payload", f"{tid}.artefact"}
    assert kept == set(star.h.names("relay/outcome"))
    star.follow()
    star.follow()
    assert star.h.names("relay/outcome") == [f"{tid}.json"]
    assert star.h.names("archive") + star.h.names("rejected") + star.h.names("handoff") == []


def test_a_circle_is_refused_by_its_path_and_by_its_bytes(star: Star) -> None:
    data = payload(ttl_s=600.0)
    tid = transfer_id(data)
    star.hand_over("0.json", data)
    star.tick(star.a)
    star.push()
    other = Principal("host-b", None, frozenset({AgentName("bob")}))
    (answer,) = star.h.engine.admit([Arrival(other, data, tid)])
    assert answer.status == 421
    assert answer.problem is not None
    assert answer.problem.value == "loop"
    third = payload(ttl_s=600.0)
    (answer,) = star.h.engine.admit([Arrival(star.pair.principal(star.a), third, path=("host-h", "host-a"))])
    assert (answer.status, "host-h > host-a > host-h" in answer.detail) == (421, True)


def test_nothing_is_passed_back_to_where_it_came_from(star: Star) -> None:
    other = Principal("host-b", None, frozenset({AgentName("bob")}))
    (answer,) = star.h.engine.admit([Arrival(other, payload(ttl_s=600.0))])
    assert answer.status == 421


# ---------------------------------------------------------------- 11.7 the relay's start


def test_a_power_cut_makes_nothing_uncertain_that_is_only_passed_on(star: Star) -> None:
    tid = write(star)
    star.h.power_cut()
    star.h.start()
    assert state(star.h, tid) is State.STORED
    star.hello()
    star.call_on()
    assert len(star.b.names("handoff")) == 1


def test_what_an_agent_of_this_host_may_have_had_is_never_passed_on(tmp_path: Path) -> None:
    """Alice lived at the hub when it came; a power cut, and she is said to live elsewhere."""
    hub = Host(tmp_path / "h", "host-h", ["alice"], {"host-a": ["bob"], "host-b": ["zoe"]}, pulls=("host-b",)).start()
    data = payload(ttl_s=600.0, at=START)
    hub.engine.admit([Arrival(Principal("host-a", None, frozenset({AgentName("bob")})), data)])
    (name,) = hub.names("handoff")
    (hub.root / "handoff" / name).rename(hub.root / "relay/inbox/host-a" / f"{name}.new")
    hub.settings = replace(
        hub.settings,
        agents=frozenset(),
        peers={**hub.settings.peers, HostName("host-b"): frozenset({AgentName("alice")})},
    )
    hub.power_cut()
    hub.start()
    assert outcome(hub, transfer_id(data))["reason"] == "uncertain_power_loss"
    assert hub.names("relay/outbox/host-b") == []
    hub.fs.close()


def test_a_receipt_whose_file_somebody_removed_is_told_so(star: Star) -> None:
    tid = write(star)
    (name,) = star.h.names("relay/outbox/host-b")
    (star.h.root / "relay/outbox/host-b" / name).unlink()
    star.h.restart()
    assert outcome(star.h, tid)["reason"] == "vanished_at_target"


def mode(host: Host) -> str:
    return str(json.loads(host.read("relay/peers/host-b.json"))["mode"])


@pytest.mark.parametrize("running", [False, True])
def test_who_was_pushed_to_and_dials_in_now_may_have_had_what_was_offered(tmp_path: Path, running: bool) -> None:
    a = Host(tmp_path / "a", "host-a", ["bob"], {"host-b": ["alice"]}).start()
    a.engine.hello([Hello(HostName("host-b"), "epoch-b")])
    a.drop("0.json", payload(ttl_s=600.0))
    a.tick()
    assert len(a.names("relay/outbox/host-b")) == 1
    change(a, running, pulls=frozenset({HostName("host-b")}))
    assert (len(a.names("relay/outbox/host-b")), len(a.names("relay/sent/host-b"))) == (0, 1)
    assert mode(a) == "pull"
    a.fs.close()


@pytest.mark.parametrize("running", [False, True])
def test_who_dialled_in_and_is_pushed_to_now_may_never_have_had_its_lease(spoke: Spoke, running: bool) -> None:
    tid = write(spoke)
    ask(spoke, tid)
    change(spoke.a, running, pulls=frozenset())
    assert (len(spoke.a.names("relay/outbox/host-b")), len(spoke.a.names("relay/sent/host-b"))) == (1, 0)
    assert mode(spoke.a) == "push"
    away(spoke, 601.0)
    assert spoke.a.names("relay/outcome") == []  # in doubt: it may be there, so it does not end alone


def test_a_new_mode_is_noted_after_the_moves_that_it_asks_for_are_durable(spoke: Spoke) -> None:
    ask(spoke, write(spoke))
    spoke.a.settings = replace(spoke.a.settings, pulls=frozenset())
    spoke.a.crash()
    order = recorded(spoke.a)
    spoke.a.start()
    move, note = "move relay/sent/host-b relay/outbox/host-b", "exchange relay/tmp relay/peers"
    assert order.index(note) > order.index(move)
    assert in_order(order, move, "sync_directories relay/outbox/host-b", note)
    assert in_order(order, move, "sync_directories relay/sent/host-b", note)


def change(host: Host, running: bool, **more: object) -> None:
    host.settings = replace(host.settings, **more)  # type: ignore[arg-type]
    if running:
        host.engine.configure([host.settings])
    else:
        host.restart()


def test_of_two_names_of_one_rename_the_furthest_counts(star: Star) -> None:
    tid = write(star)
    ask(star, tid)
    (name,) = star.h.names("relay/sent/host-b")
    for place in (f"relay/outbox/host-b/{name}", f"relay/inbox/host-a/{name.partition('~')[2]}.new"):
        (star.h.root / place).hardlink_to(star.h.root / "relay/sent/host-b" / name)
    star.h.power_cut()
    star.h.start()
    assert state(star.h, tid) is State.LEASED
    assert star.h.names("relay/outbox/host-b") == []
    assert star.h.names("relay/quarantine") == []


def test_an_artefact_brought_under_another_epoch_is_not_kept(spoke: Spoke) -> None:
    tid = write(spoke)
    assert codes(ask(spoke, tid)) == [200]
    for peer, epoch, status in (
        (spoke.b.name, "another", 412),
        (HostName("host-c"), spoke.b.engine.epoch, 412),
        (spoke.b.name, spoke.b.engine.epoch, 200),
    ):
        (answer,) = spoke.a.engine.bring([Bring(peer, epoch, tid, b"{}")])
        assert (answer.status, answer.tid) == (status, tid)
        assert (f"{tid}.artefact" in spoke.a.names("relay/outcome")) == (status == 200)
    (answer,) = spoke.a.engine.bring([Bring(spoke.b.name, spoke.b.engine.epoch, TransferId("0" * 64), b"{}")])
    assert answer.status == 404
