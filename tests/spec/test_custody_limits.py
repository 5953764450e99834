"""What grows and what must not, and the group that shares its flushes (docs/custody.md section 16)."""

import json
import tracemalloc

import pytest
from tests.unit.custody.pair import START, Pair, moment, payload

from handoffd.custody.message import Accept, Arrival, Batch, Lookup, Offer, StatesQuery
from handoffd.custody.take import TAKE_LIMIT
from handoffd.protocol.name import AgentName, HostName, TransferId
from handoffd.protocol.reason import Delivered, Reason, State
from handoffd.protocol.record import Record, encode

A = HostName("host-a")
MANY = 20_000
PAYLOAD_BYTES = 8_192


def offers(pair: Pair) -> list[Offer]:
    return [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)]


def test_a_backlog_is_taken_in_portions(pair: Pair) -> None:
    for number in range(2 * TAKE_LIMIT + 1):
        (pair.a.root / "handoff" / f"{number}.json").write_bytes(payload())
    pair.a.restart()
    assert pair.a.engine.tick([0.0]) == [True]
    portions = [len(offers(pair))]
    while pair.a.engine.look([{}])[0]:
        portions.append(len(offers(pair)))
    portions.append(len(offers(pair)))
    assert portions == [TAKE_LIMIT, TAKE_LIMIT, 1]


@pytest.mark.slow
def test_twenty_thousand_files_are_taken_without_being_held_in_memory(pair: Pair) -> None:
    template = json.loads(payload(context_summary="x" * PAYLOAD_BYTES))
    for number in range(MANY):
        body = json.dumps({**template, "handoff_id": f"1-bob-alice-{number}"}).encode()
        (pair.a.root / "handoff" / f"{number}.json").write_bytes(body)
    pair.a.restart()
    pair.a.engine.tick([0.0])
    taken, peaks, more = len(offers(pair)), [], True
    while more:
        traced = taken in (TAKE_LIMIT, MANY // 2, MANY - TAKE_LIMIT)
        if traced:
            tracemalloc.start()
        more = pair.a.engine.look([{}])[0]
        if traced:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        taken += len(offers(pair))
    assert taken == MANY
    assert len(peaks) == 3
    assert max(peaks) < 4 * TAKE_LIMIT * PAYLOAD_BYTES
    assert max(peaks) < 2 * min(peaks)


@pytest.fixture
def crowded(pair: Pair) -> Pair:
    """B with twenty thousand outcomes of A's."""
    at = moment(START)
    for number in range(MANY):
        tid = TransferId(f"{number:064x}")
        record = Record(
            tid,
            State.EXPIRED,
            "host-b",
            at,
            handoff_id=f"1-bob-alice-{number}",
            sender="bob",
            to="alice",
            peer="host-a",
            reason=Reason.EXPIRED,
            delivered=Delivered.NOT_DELIVERED,
            expires_at=at,
        )
        (pair.b.root / "relay/outcome" / f"{tid}.json").write_bytes(encode(record))
    pair.b.restart()
    pair.b.tick(1.0)
    pair.b.faults.calls.clear()
    return pair


@pytest.mark.slow
def test_no_lookup_lists_a_directory_however_many_outcomes_there_are(crowded: Pair) -> None:
    tid, engine = TransferId(f"{7:064x}"), crowded.b.engine
    principal = crowded.principal(crowded.a)
    assert engine.lookup([Lookup(principal, tid)])[0].status == 200
    assert engine.record([tid])[0] is not None
    assert len(engine.states([StatesQuery(A, {tid: State.STORED}, None)])[0].records) == 1
    assert engine.revoke([Batch(A, (tid,))])[0][0] is not None
    assert engine.forget([Batch(A, (tid,))])[0][0] is not None
    assert engine.accept([Accept(AgentName("alice"), tid, None)])[0].status == 410
    assert crowded.b.faults.calls["names"] == 0
    assert crowded.b.faults.calls["read"] <= 6


@pytest.mark.slow
def test_a_tick_lists_only_handoff_however_many_outcomes_there_are(crowded: Pair) -> None:
    for _ in range(10):
        crowded.b.tick(1.0)
    calls = crowded.b.faults.calls
    assert calls["names"] == 10
    assert calls["stat"] <= 10 * 250  # a portion of the hourly sweep, and nothing that grows with the archive


def test_an_observed_receipt_costs_no_listing(pair: Pair) -> None:
    pair.cross()
    pair.b.claim()
    pair.b.tick()
    pair.b.faults.calls.clear()
    for _ in range(20):
        pair.b.tick(1.0)
    assert pair.b.faults.calls["names"] == 20  # handoff/, once a tick
    assert pair.b.faults.calls["read"] == 0


# ---------------------------------------------------------------- flushes are shared


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_group_at_a_flushes_its_directories_once(pair: Pair, count: int) -> None:
    for number in range(count):
        pair.a.drop(f"{number}.json", payload())
    pair.a.faults.calls.clear()
    pair.a.tick()
    assert len(offers(pair)) == count
    assert (pair.a.faults.calls["sync_files"], pair.a.faults.calls["sync_directories"]) == (count, 2)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_group_at_b_flushes_its_directory_once(pair: Pair, count: int) -> None:
    arrivals = [Arrival(pair.principal(pair.a), payload()) for _ in range(count)]
    pair.b.faults.calls.clear()
    answers = pair.b.engine.admit(arrivals)
    assert {answer.status for answer in answers} == {201}
    assert (pair.b.faults.calls["create"], pair.b.faults.calls["sync_directories"]) == (count, 1)


@pytest.mark.parametrize("count", [1, 50])
def test_a_group_of_ends_flushes_as_often_as_one(pair: Pair, count: int) -> None:
    for number in range(count):
        pair.a.drop(f"{number}.json", payload())
    pair.a.tick()
    pair.push()
    for name in pair.b.names("handoff"):
        (pair.b.root / "handoff" / name).rename(pair.b.root / "archive" / name)
    pair.b.faults.calls.clear()
    pair.b.tick()
    assert len(pair.b.outcomes()) == count
    assert pair.b.faults.calls["sync_directories"] <= 4


def test_memory_follows_open_work_not_history(pair: Pair) -> None:
    for number in range(30):
        _, name = pair.cross(payload(), f"{number}.json")
        (pair.b.root / "handoff" / name).rename(pair.b.root / "archive" / name)
        pair.b.tick()
        pair.follow()
    for host in (pair.a, pair.b):
        ledger = host.engine._tree.ledger
        assert (len(ledger.sendings), len(ledger.receipts), len(ledger._by_inode)) == (0, 0, 0)
