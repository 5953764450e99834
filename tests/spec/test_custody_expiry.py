"""docs/custody.md section 7: expiry, revoke, in doubt."""

import json
import os

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody.message import Attempt, Batch, Mirror, Offer, Settlement
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import EXPIRY_GRACE_S, REVOKE_AFTER_S

A, B = HostName("host-a"), HostName("host-b")
DAY_S = 86_400.0


def taken(pair: Pair, data: bytes | None = None) -> Offer:
    pair.a.drop(X, data or payload())
    pair.a.tick()
    (offer,) = [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)]
    return offer


def settle(host: Host, tid: TransferId, attempt: Attempt) -> None:
    host.engine.settle([Settlement(B, tid, attempt)])


def revoke(pair: Pair, tid: str, peer: HostName = A) -> Record | None:
    ((record,),) = pair.b.engine.revoke([Batch(peer, (TransferId(tid),))])
    return record


# ---------------------------------------------------------------- A alone


def test_what_never_left_expires_at_once_and_alone(pair: Pair) -> None:
    settle(pair.a, taken(pair).tid, Attempt.NOT_SENT)
    pair.a.tick(59.0)
    assert pair.a.outcomes() == []
    pair.a.tick(1.1)
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("expired", "never_sent")


def test_while_an_attempt_is_open_nothing_expires_alone(pair: Pair) -> None:
    taken(pair)
    pair.a.tick(61.0)
    assert pair.a.outcomes() == []


def test_after_a_restart_every_file_in_outbox_counts_as_maybe_sent(pair: Pair) -> None:
    settle(pair.a, taken(pair).tid, Attempt.NOT_SENT)
    pair.a.restart()
    pair.a.tick(61.0)
    assert pair.a.outcomes() == []
    assert len(pair.a.engine.debts([B])[0].revoke) == 1


def test_a_local_handoff_expires_with_a_reason_and_without_an_outcome(pair: Pair) -> None:
    pair.a.drop(X, payload(to="carol"))
    pair.a.tick()
    pair.a.tick(61.9)
    assert pair.a.names("handoff") == [X]
    pair.a.tick(0.2)
    assert pair.a.names("rejected") == [X, f"{X}.reason"]
    assert json.loads(pair.a.read(f"rejected/{X}.reason"))["reason"] == "expired"
    assert pair.a.outcomes() == []


def test_a_local_handoff_that_is_claimed_in_time_is_left_alone(pair: Pair) -> None:
    pair.a.drop(X, payload(to="carol"))
    pair.a.tick()
    pair.a.claim()
    pair.a.tick(70.0)
    assert pair.a.names("claimed") == [X]
    assert pair.a.journal.words()[-1] == "claimed"


def test_an_expired_local_one_does_not_replace_an_older_file_in_rejected(pair: Pair) -> None:
    (pair.a.root / "rejected" / X).write_bytes(b"older")
    pair.a.drop(X, payload(to="carol"))
    pair.a.tick()
    pair.a.tick(63.0)
    assert pair.a.read(f"rejected/{X}") == b"older"
    assert len(pair.a.names("rejected")) == 3


# ---------------------------------------------------------------- B's janitor


def test_the_janitor_comes_two_seconds_after_expiry(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.tick(61.9)
    assert pair.b.names("handoff") == [name]
    pair.b.tick(0.2)
    assert pair.b.names("handoff") == []
    assert pair.b.names("rejected") == [name, f"{name}.reason"]
    assert (pair.b.outcome()["reason"], pair.b.outcome()["delivered"]) == ("expired", "not_delivered")


def test_an_agent_that_was_faster_than_the_janitor_has_claimed_it(pair: Pair) -> None:
    tid, name = pair.cross()
    pair.b.engine._tree.clock.advance(63.0)  # type: ignore[attr-defined]
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    pair.b.engine._recall.janitor()
    assert pair.b.outcomes() == []
    assert pair.b.engine.record([tid])[0].state is State.CLAIMED  # type: ignore[union-attr]


def test_a_claimed_one_never_expires(pair: Pair) -> None:
    pair.cross()
    pair.b.claim()
    pair.b.tick(3600.0)
    assert pair.b.outcomes() == []


def test_the_pull_is_flushed_before_the_outcome_says_so(pair: Pair) -> None:
    pair.cross()
    order: list[str] = []
    inner = pair.b.fs._do
    pair.b.fs._do = lambda verb, act, *names: (order.append(f"{verb} {names[0]}"), inner(verb, act, *names))[1]  # type: ignore[method-assign]
    pair.b.tick(63.0)
    writing = order.index("create relay/tmp")
    pulled = order.index("move handoff")
    flushes = [order.index(f"sync_directories {one}") for one in ("handoff", "relay/inbox/host-a")]
    assert pulled < min(flushes) < max(flushes) < writing
    assert order.index("sync_directories relay/outcome") < order.index("move relay/inbox/host-a")


def test_after_a_jump_of_the_wall_clock_the_janitor_rests_a_minute(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.tick()
    pair.b.clock.wall_s += 3600.0
    pair.b.tick(1.0)
    pair.b.tick(58.0)
    assert pair.b.names("handoff") == [name]
    assert pair.b.journal.words().count("clock_jumped") == 1
    pair.b.tick(2.0)
    assert pair.b.names("handoff") == []


def test_a_jump_before_the_first_tick_is_one_too(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.clock.wall_s += 3600.0
    pair.b.tick(1.0)
    assert pair.b.names("handoff") == [name]


def test_a_suspend_is_no_jump(pair: Pair) -> None:
    pair.cross()
    pair.b.tick()
    pair.b.tick(3600.0)  # both clocks count it
    assert pair.b.outcome()["reason"] == "expired"


def test_an_expiry_that_the_disk_refused_is_an_expiry_later(pair: Pair) -> None:
    pair.cross()
    pair.b.faults.failing = Failing(frozenset({"create"}), 1, 2, 28)
    pair.b.tick(63.0)
    assert (pair.b.outcomes(), pair.b.names("handoff")) == ([], [])
    pair.b.tick(1.0)
    pair.b.tick(1.0)
    assert pair.b.outcome()["reason"] == "expired"


# ---------------------------------------------------------------- revoke


def test_an_unknown_one_gets_a_tombstone_that_a_late_post_meets(pair: Pair) -> None:
    offer = taken(pair)
    record = revoke(pair, offer.tid)
    assert record is not None
    assert (record.reason, record.handoff_id) == (Reason.REVOKED, None)
    (answer,) = pair.post(pair.a, pair.b, [offer])
    assert (answer.status, answer.final, pair.b.names("handoff")) == (410, True, [])


def test_a_waiting_one_is_pulled(pair: Pair) -> None:
    tid, name = pair.cross()
    record = revoke(pair, tid)
    assert record is not None
    assert record.state is State.REVOKED
    assert (pair.b.names("handoff"), pair.b.names("rejected")) == ([], [name, f"{name}.reason"])


def test_a_claimed_one_answers_claimed_also_if_nobody_has_looked_yet(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    record = revoke(pair, tid)
    assert record is not None
    assert (record.state, pair.b.outcomes()) == (State.CLAIMED, [])


def test_a_final_one_answers_its_outcome(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.tick(63.0)
    record = revoke(pair, tid)
    assert record is not None
    assert record.reason is Reason.EXPIRED


def test_another_peers_transfer_is_none_of_its_business(pair: Pair) -> None:
    tid, name = pair.cross()
    assert revoke(pair, tid, HostName("host-c")) is None
    assert pair.b.names("handoff") == [name]


def test_a_revoke_of_what_this_host_sends_itself_writes_no_tombstone(pair: Pair) -> None:
    data = payload()
    pair.a.drop(X, data)
    pair.a.tick()
    (records,) = pair.a.engine.revoke([Batch(HostName("host-b"), (transfer_id(data),))])
    assert [record and record.reason for record in records] == [Reason.UNROUTABLE]
    assert pair.a.outcomes() == []


def test_a_revoke_that_the_disk_refused_is_still_a_revoke_later(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.faults.failing = Failing(frozenset({"create"}), 1, 1, 28)
    first = revoke(pair, tid)
    assert first is not None
    assert not first.final
    pair.b.tick()
    assert pair.b.outcome()["reason"] == "revoked"


def test_one_unreadable_outcome_does_not_silence_the_others(pair: Pair) -> None:
    (pair.b.root / "relay/outcome" / f"{'1' * 64}.json").write_bytes(b"{}")
    tids = (TransferId("1" * 64), TransferId("2" * 64))
    ((bad, good),) = pair.b.engine.revoke([Batch(A, tids)])
    assert bad is None
    assert good is not None


def test_a_maybe_sent_one_is_revoked_at_expiry_and_asked_about_once_a_minute(pair: Pair) -> None:
    tid = taken(pair).tid
    settle(pair.a, tid, Attempt.UNKNOWN)
    pair.a.tick(60.5)
    asked = [pair.a.engine.debts([B])[0].revoke]
    for _ in range(4):
        pair.a.tick(20.0)
        asked.append(pair.a.engine.debts([B])[0].revoke)
    assert asked == [(tid,), (), (), (tid,), ()]


def test_a_sent_one_is_revoked_thirty_seconds_later_if_b_still_calls_it_published(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.tick(89.0)
    assert pair.a.engine.debts([B])[0].revoke == ()
    pair.a.tick(1.5)
    assert pair.a.engine.debts([B])[0].revoke == (tid,)


def test_a_claimed_one_is_never_revoked(pair: Pair) -> None:
    pair.cross()
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    pair.a.tick(1000.0)
    assert pair.a.engine.debts([B])[0].revoke == ()


# ---------------------------------------------------------------- withdrawing, giving up


def test_the_writer_withdraws_what_never_left_at_once(pair: Pair) -> None:
    tid = taken(pair).tid
    settle(pair.a, tid, Attempt.NOT_SENT)
    (record,) = pair.a.engine.withdraw([tid])
    assert record is not None
    assert (record.reason, record.delivered) == (Reason.REVOKED, "never_sent")


def test_the_writer_withdraws_a_published_one_through_b(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.withdraw([tid])
    pair.follow()
    assert [host.outcome()["reason"] for host in (pair.a, pair.b)] == ["revoked", "revoked"]


def test_withdrawing_a_claimed_one_says_that_it_is_claimed(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    pair.a.engine.withdraw([tid])
    pair.follow()
    assert pair.a.engine.record([tid])[0].state is State.CLAIMED  # type: ignore[union-attr]


def wishes(pair: Pair) -> list[str]:
    return pair.a.names("relay/wish")


def test_a_wish_to_withdraw_outlives_a_crash(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.withdraw([tid])
    assert wishes(pair) == [tid]
    pair.a.restart()
    pair.greet(pair.a, pair.b)
    pair.follow()
    assert [host.outcome()["reason"] for host in (pair.a, pair.b)] == ["revoked", "revoked"]
    assert wishes(pair) == []


def test_what_was_withdrawn_before_a_crash_is_not_offered_again(pair: Pair) -> None:
    tid = taken(pair).tid
    settle(pair.a, tid, Attempt.UNKNOWN)
    pair.a.engine.withdraw([tid])
    pair.a.restart()
    pair.greet(pair.a, pair.b)
    pair.a.tick(10.0)
    assert pair.offers(pair.a, pair.b) == []
    assert pair.a.engine.debts([B])[0].revoke == (tid,)


def test_a_wish_of_what_has_ended_goes_at_the_next_start(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.withdraw([tid])
    pair.follow()
    (pair.a.root / "relay/wish" / tid).touch()  # the power cut brought it back
    (pair.a.root / "relay/wish/notes").touch()
    pair.a.restart()
    assert wishes(pair) == ["notes"]  # what we would not write is not ours to remove


def test_what_ends_at_once_needs_no_wish(pair: Pair) -> None:
    tid = taken(pair).tid
    settle(pair.a, tid, Attempt.NOT_SENT)
    pair.a.faults.calls.clear()
    pair.a.engine.withdraw([tid])
    assert pair.a.faults.calls["create"] == 2  # the outcome and the reason beside the file


def test_what_was_withdrawn_in_flight_ends_once_no_byte_of_it_is_out(pair: Pair) -> None:
    tid = taken(pair).tid
    pair.a.engine.withdraw([tid])
    assert pair.a.outcomes() == []
    settle(pair.a, tid, Attempt.NOT_SENT)
    pair.a.tick()
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("revoked", "never_sent")
    assert pair.a.outcome()["detail"] == "withdrawn before it left"
    assert wishes(pair) == []


def test_a_wish_that_the_disk_refuses_is_asked_for_all_the_same(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.faults.failing = Failing(frozenset({"move"}), 1, 1, 28)
    pair.a.engine.withdraw([tid])
    assert wishes(pair) == []
    assert "a restart would forget it" in pair.a.journal.lines[-1]["detail"]
    assert pair.a.engine.debts([B])[0].revoke == (tid,)


def test_a_silent_peer_means_in_doubt_and_after_seven_days_unknown(pair: Pair) -> None:
    settle(pair.a, taken(pair).tid, Attempt.UNKNOWN)
    pair.a.tick(63.0)
    assert pair.a.journal.words().count("in_doubt") == 1
    pair.a.tick(7 * DAY_S - 10.0)
    assert pair.a.outcomes() == []
    pair.a.tick(20.0)
    assert pair.a.outcomes() == []  # a host that slept for a week gives the peer a minute to speak
    pair.a.tick(50.0)
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("outcome_unknown", "unknown")


def test_in_doubt_is_journalled_of_what_the_peer_has_too_and_once(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.tick(60.0 + REVOKE_AFTER_S + EXPIRY_GRACE_S - 1.0)
    assert "in_doubt" not in pair.a.journal.words()
    pair.a.tick(2.0)
    pair.a.tick(60.0)
    assert [line["tid"] for line in pair.a.journal.lines if line["event"] == "in_doubt"] == [tid]


def test_a_claim_that_takes_its_time_is_not_in_doubt(pair: Pair) -> None:
    pair.cross()
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    pair.a.tick(3_600.0)
    assert "in_doubt" not in pair.a.journal.words()


def test_an_operator_may_give_up_and_later_verdicts_are_ignored(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.resolve([tid])
    late = Record(tid, State.COMPLETED, B, "", reason=Reason.COMPLETED)
    pair.a.engine.mirror([Mirror(B, late)])
    assert pair.a.outcome()["reason"] == "outcome_unknown"


def test_giving_up_what_is_not_open_is_none(pair: Pair) -> None:
    assert pair.a.engine.resolve([TransferId("0" * 64)]) == [None]


@pytest.mark.parametrize("early", [True, False])
def test_a_revoke_for_lateness_is_an_expiry_to_the_writer(pair: Pair, early: bool) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    if early:
        pair.a.engine.withdraw([transfer_id(data)])
    else:
        pair.a.tick(91.0)
    pair.follow()
    assert pair.b.outcome()["reason"] == "revoked"
    assert pair.a.outcome()["reason"] == ("revoked" if early else "expired")
    assert tid == transfer_id(data)


def test_a_pull_that_the_disk_interrupts_is_no_claim(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.clock.advance(63.0)
    pair.b.faults.failing = Failing(frozenset({"stat"}), 1, 1, 5)
    pair.b.engine._recall.janitor()
    assert pair.b.engine.record([tid])[0].state is not State.CLAIMED  # type: ignore[union-attr]
    pair.b.tick()
    assert (pair.b.outcome()["reason"], pair.b.outcome()["delivered"]) == ("expired", "not_delivered")
