"""docs/custody.md section 12: forgetting."""

import errno
import json
import os
from dataclasses import replace

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import Host, Pair, payload

from handoffd.custody import report
from handoffd.custody.message import Arrival, Batch, Mirror, StatesQuery
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Artefact, Record

A, B = HostName("host-a"), HostName("host-b")
HOUR_S, DAY_S = 3600.0, 86_400.0


def ended(pair: Pair, data: bytes | None = None) -> TransferId:
    """A handoff that has expired at both ends, and A's forget is still owed."""
    tid, _ = pair.cross(data)
    pair.b.tick(63.0)
    pair.a.tick(63.0)
    (records,) = pair.b.engine.revoke([Batch(A, (tid,))])
    pair.a.engine.mirror([Mirror(B, record) for record in records if record])
    return tid


def later(host: Host, seconds: float) -> None:
    """Let time pass; the sweep looks at the whole of outcome/ once an hour."""
    host.tick(seconds)
    host.tick(1.0)
    host.tick(1.0)


def test_a_forgotten_outcome_stays_until_a_day_after_expiry(pair: Pair) -> None:
    ended(pair)
    pair.follow()
    for host in (pair.a, pair.b):
        later(host, DAY_S - 120.0)
        assert len(host.outcomes()) == 1
        later(host, 2 * HOUR_S)
        assert host.outcomes() == []


def test_without_a_forget_it_stays_thirty_days(pair: Pair) -> None:
    ended(pair)
    for host in (pair.a, pair.b):
        later(host, 29 * DAY_S)
        assert len(host.outcomes()) == 1
        later(host, 2 * DAY_S)
        assert host.outcomes() == []


def test_a_forget_is_remembered_in_memory_only(pair: Pair) -> None:
    ended(pair)
    pair.follow()
    pair.b.restart()
    later(pair.b, 3 * DAY_S)
    assert len(pair.b.outcomes()) == 1


def test_after_its_own_restart_a_asks_again_to_forget(pair: Pair) -> None:
    tid = ended(pair)
    pair.follow()
    pair.a.restart()
    assert pair.a.engine.debts([B])[0].forget == (tid,)


def test_a_forget_is_owed_until_it_is_confirmed(pair: Pair) -> None:
    tid = ended(pair)
    assert pair.a.engine.debts([B])[0].forget == (tid,)
    pair.a.engine.forgotten([Batch(B, (tid,))])
    assert pair.a.engine.debts([B])[0].forget == ()


def test_a_replay_after_forgetting_meets_a_new_tombstone(pair: Pair) -> None:
    data = payload()
    ended(pair, data)
    pair.follow()
    later(pair.b, DAY_S + 2 * HOUR_S)
    assert pair.b.outcomes() == []
    (answer,) = pair.b.engine.admit([Arrival(pair.principal(pair.a), data)])
    assert (answer.status, answer.final, pair.b.names("handoff")) == (410, True, [])
    assert len(pair.b.outcomes()) == 1


def test_an_open_one_cannot_be_forgotten(pair: Pair) -> None:
    tid, _ = pair.cross()
    assert pair.b.engine.forget([Batch(A, (tid,))]) == [(None,)]


def test_another_peer_cannot_make_us_forget(pair: Pair) -> None:
    tid = ended(pair)
    assert pair.b.engine.forget([Batch(HostName("host-c"), (tid,))]) == [(None,)]


def test_an_unreadable_outcome_is_kept_and_does_not_stop_the_others(pair: Pair) -> None:
    tid = ended(pair)
    (pair.b.root / "relay/outcome" / f"{'1' * 64}.json").write_bytes(b"{}")
    ((bad, good),) = pair.b.engine.forget([Batch(A, (TransferId("1" * 64), tid))])
    assert bad is None
    assert good is not None


def test_directories_are_flushed_before_an_outcome_is_deleted(pair: Pair) -> None:
    ended(pair)
    pair.follow()
    order: list[str] = []
    inner = pair.b.fs._do
    pair.b.fs._do = lambda verb, act, *names: (order.append(f"{verb} {names[0]}"), inner(verb, act, *names))[1]  # type: ignore[method-assign]
    later(pair.b, DAY_S + 2 * HOUR_S)
    deleted = order.index("unlink relay/outcome")
    for directory in ("handoff", "relay/inbox/host-a", "relay/outbox/host-a", "relay/sent/host-a"):
        assert order.index(f"sync_directories {directory}") < deleted


def test_while_the_clock_is_in_doubt_nothing_is_deleted(pair: Pair) -> None:
    ended(pair)
    pair.follow()
    pair.b.tick()
    pair.b.clock.wall_s += 40 * DAY_S
    pair.b.tick(1.0)
    assert len(pair.b.outcomes()) == 1


def test_the_outcome_of_bytes_that_tell_no_time_is_kept_a_day_too(pair: Pair) -> None:
    pair.a.drop("x.json", payload().replace(b'"expires_at"', b'"expires_when"'))
    pair.a.tick()
    pair.a.tick(2.5)
    assert pair.a.outcome()["reason"] == "malformed"
    later(pair.a, HOUR_S)
    assert len(pair.a.outcomes()) == 1


def test_an_outcome_that_waits_for_its_artefact_is_not_deleted_for_its_age(pair: Pair) -> None:
    pair.a.engine.configure([replace(pair.a.settings, retain_s=10 * DAY_S)])
    tid, _ = pair.cross()
    artefact = Artefact("end.json", transfer_id(b"x"), 1)
    pair.a.engine.mirror([Mirror(B, Record(tid, State.COMPLETED, B, "", reason=Reason.COMPLETED, artefact=artefact))])
    later(pair.a, 11 * DAY_S)
    assert len(pair.a.outcomes()) == 1


def test_after_a_restart_nothing_is_forgotten_before_its_artefact_came(pair: Pair) -> None:
    """A relay would delete it: it keeps the only copy on the way."""
    tid, name = pair.cross()
    pair.b.claim()
    final = json.dumps({**json.loads(pair.b.read(f"claimed/{name}")), "transcript": [{"role": "user", "text": "bye"}]})
    pair.b.write(f"claimed/{name}", final.encode())
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)
    pair.b.tick(3.0)
    (news,) = pair.b.engine.states([StatesQuery(A, {tid: State.STORED}, None)])
    pair.a.engine.mirror([Mirror(B, record, 0) for record in news.records])
    assert pair.a.outcome()["artefact"]
    pair.a.restart()
    pair.greet(pair.a, pair.b)
    (debts,) = pair.a.engine.debts([B])
    assert (debts.fetch, debts.forget) == ((tid,), ())
    pair.follow()
    assert final.encode() in [pair.a.read(f"archive/{one}") for one in pair.a.names("archive")]


# ------------------------------------------------------------------------------------------------- the sweep


def one_more(pair: Pair) -> TransferId:
    return ended(pair, payload(at=pair.b.clock.wall_s))


def forgotten(pair: Pair, count: int) -> None:
    """So many handoffs that have ended, and that B may forget in a day."""
    for _ in range(count):
        one_more(pair)
    pair.follow()
    assert len(pair.b.outcomes()) == count


def test_only_a_portion_is_looked_at_on_each_tick(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "DELETES_PER_TICK", 2)
    forgotten(pair, 5)
    left = []
    for seconds in (DAY_S + 2 * HOUR_S, 1.0, 1.0):
        pair.b.tick(seconds)
        left.append(len(pair.b.outcomes()))
    assert left == [3, 1, 0]


def test_nothing_but_what_was_forgotten_goes_with_it(pair: Pair) -> None:
    forgotten(pair, 2)
    kept = one_more(pair)
    later(pair.b, DAY_S + 2 * HOUR_S)
    assert [record["tid"] for record in pair.b.outcomes()] == [kept]


def test_a_forget_that_comes_while_outcomes_are_looked_at_counts_an_hour_later(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "DELETES_PER_TICK", 1)
    late = [one_more(pair) for _ in range(3)]
    pair.b.tick(2 * DAY_S)  # one was looked at
    assert pair.b.engine.forget([Batch(A, tuple(late))]) != [(None,) * 3]
    pair.b.tick(1.0)
    pair.b.tick(1.0)
    assert len(pair.b.outcomes()) == 3
    for _ in range(3):
        pair.b.tick(HOUR_S)
    assert pair.b.outcomes() == []


def test_a_clock_that_jumps_while_outcomes_are_looked_at_loses_no_forget(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "DELETES_PER_TICK", 1)
    forgotten(pair, 3)
    pair.b.tick(DAY_S + 2 * HOUR_S)
    pair.b.clock.wall_s -= DAY_S
    for seconds in (1.0, 61.0, 1.0, 1.0):
        pair.b.tick(seconds)
    assert len(pair.b.outcomes()) == 2
    later(pair.b, DAY_S)
    assert pair.b.outcomes() == []


def test_an_outcome_that_cannot_be_deleted_stops_no_other(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "DELETES_PER_TICK", 1)
    forgotten(pair, 3)
    pair.b.faults.failing = Failing(frozenset({"unlink"}), 1, 1, errno.EIO)
    for seconds in (DAY_S + 2 * HOUR_S, 1.0, 1.0, 1.0):
        pair.b.tick(seconds)
    assert len(pair.b.outcomes()) == 1
