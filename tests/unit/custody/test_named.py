"""Every answer and every line says which handoff it is about (docs/custody.md section 10)."""

import os
from dataclasses import replace

import pytest
from tests.unit.custody.pair import START, Host, Pair, X, payload

from handoffd.custody import admit, report, send
from handoffd.custody import tree as tree_module
from handoffd.custody.message import (
    Accept,
    Arrival,
    Attempt,
    Batch,
    Launch,
    Lookup,
    Mirror,
    Offer,
    Settlement,
    Want,
)
from handoffd.custody.visit import Untold
from handoffd.protocol.name import CANARY_AGENT, AgentName, HostName, Nonce, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Problem, State

ALICE, B = AgentName("alice"), HostName("host-b")


def quarantined(host: Host) -> tuple[object, object]:
    (line,) = (line for line in host.journal.lines if line["event"] == "quarantined")
    return line["detail"], line["tid"]


# ---------------------------------------------------------------- refusals


def test_one_too_many_is_refused_by_its_t(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admit, "PENDING_LIMIT", 0)
    data = payload()
    (answer,) = pair.b.engine.admit([Arrival(pair.principal(pair.a), data)])
    assert (answer.problem, answer.tid) == (Problem.RATE_LIMITED, transfer_id(data))


def test_a_canary_out_of_its_time_is_refused_by_its_t(pair: Pair) -> None:
    data = payload(CANARY_AGENT, CANARY_AGENT, at=START + 100.0, ttl_s=20.0)
    (answer,) = pair.a.engine.launch([Launch(B, data)])
    assert (answer.problem, answer.tid) == (Problem.BAD_REQUEST, transfer_id(data))


def test_who_came_after_a_claim_that_nobody_had_seen_is_told_by_its_t(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    (answer,) = pair.b.engine.accept([Accept(ALICE, tid, Nonce("n1"))])
    assert (answer.problem, answer.tid) == (Problem.ALREADY_CLAIMED, tid)


def test_what_is_unknown_has_no_t(pair: Pair) -> None:
    (answer,) = pair.b.engine.lookup([Lookup(pair.principal(pair.a), "0" * 64)])
    assert (answer.problem, answer.tid) == (Problem.NOT_FOUND, "")


# ---------------------------------------------------------------- what leased bytes became


def test_what_became_of_leased_bytes_is_told_by_their_t(pair: Pair) -> None:
    data = payload()
    (received,) = pair.b.engine.receive([Arrival(pair.principal(pair.a), data, transfer_id(data))])
    assert (received.tid, received.later) == (transfer_id(data), False)


def test_refusals_of_leased_bytes_count_among_the_tombstones_of_their_peer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "TOMBSTONES_PER_HOUR", 1)
    pair.b.engine.revoke([Batch(pair.a.name, (TransferId("0" * 64),))])
    data = payload(to="zoe")
    (received,) = pair.b.engine.receive([Arrival(pair.principal(pair.a), data, transfer_id(data))])
    assert received.later
    assert pair.b.names("relay/outcome") == [f"{'0' * 64}.json"]


def test_an_end_that_cannot_be_read_is_told_as_stored_to_the_peer_it_came_from(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.tick(70.0)
    pair.b.write(f"relay/outcome/{tid}.json", b"{")
    (tidings,) = pair.b.engine.tidings([Untold(pair.a.name, 0)])
    (record,) = tidings.records
    assert (record.tid, record.state, record.peer) == (tid, State.STORED, "host-a")


# ---------------------------------------------------------------- what is put away


def test_a_copy_that_took_the_tokens_place_is_put_away_under_its_t(pair: Pair) -> None:
    tid, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed/mine.json")
    pair.b.write(f"handoff/{name}", b"{}")
    pair.b.engine.revoke([Batch(pair.a.name, (tid,))])
    assert quarantined(pair.b) == ("not the file that was published", tid)


def test_bytes_that_were_changed_in_outbox_are_put_away_under_their_t(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    (offer,) = (item for item in pair.a.engine.drain_news() if isinstance(item, Offer))
    pair.a.engine.settle([Settlement(B, offer.tid, Attempt.NOT_SENT)])
    (pair.a.root / f"relay/outbox/host-b/{offer.tid}~{X}").write_bytes(b"{}")
    pair.a.clock.advance(10.0)
    assert pair.a.engine.offers([Want(B, 10, 1 << 20)]) == [()]
    assert quarantined(pair.a) == ("bytes do not hash to T", offer.tid)
    assert pair.a.outcome()["reason"] == "content_changed"


def test_a_peer_that_is_configured_no_more_is_named(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    pair.a.settings = replace(pair.a.settings, peers={})
    pair.a.restart()
    (line,) = (line for line in pair.a.journal.lines if line["event"] == "peer_unknown")
    assert line["peer"] == "host-b"


# ---------------------------------------------------------------- how much is told


def test_after_a_start_what_is_open_is_as_old_as_its_file(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    (before,) = pair.a.engine.open_handoffs()
    pair.a.restart()
    (after,) = pair.a.engine.open_handoffs()
    assert (after.tid, after.since) == (before.tid, before.since)


def test_so_many_forgets_are_owed_at_a_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "STATES_ITEMS", 2)
    tids = {pair.cross(name=f"{number}.json")[0] for number in range(3)}
    pair.b.tick(70.0)
    pair.a.engine.mirror([Mirror(B, record) for record in pair.b.engine.record(list(tids)) if record])
    first = pair.a.engine.debts([B])[0].forget
    assert len(first) == 2
    pair.a.engine.forgotten([Batch(B, first)])
    assert {*first, *pair.a.engine.debts([B])[0].forget} == tids


def test_an_artefact_of_just_the_limit_is_handed_over(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    tid, _ = pair.cross()
    name, end = pair.b.claim(), b'{"end": 1}'
    pair.b.write(f"archive/{name}", end)
    (pair.b.root / "claimed" / name).unlink()
    pair.b.tick()
    asked = Lookup(pair.principal(pair.a), tid, artefact=True)
    for limit, status in ((len(end), 200), (len(end) - 1, 404)):
        monkeypatch.setattr(report, "PAYLOAD_LIMIT_BYTES", limit)
        assert pair.b.engine.lookup([asked])[0].status == status


def test_the_time_of_a_canarys_request_is_told_with_its_journey(pair: Pair) -> None:
    (answer,) = pair.a.engine.launch([Launch(B, payload(CANARY_AGENT, CANARY_AGENT, ttl_s=20.0))])
    assert answer.tid is not None
    for attempt, posted_s in ((Attempt.UNKNOWN, START + 1.0), (Attempt.NOT_SENT, None)):
        pair.a.engine.settle([Settlement(B, answer.tid, attempt, posted_s=posted_s)])
        (journey,) = pair.a.engine.journey([answer.tid])
        assert journey is not None
        assert journey.posted_s == START + 1.0


# ---------------------------------------------------------------- views are for the eye alone (a12)


def test_a_view_costs_no_flush_of_a_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    tid, name = pair.cross()
    flushed: list[int] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        flushed.append(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr("handoffd.custody.filesystem.os.fsync", note)
    (answer,) = pair.b.engine.accept([Accept(ALICE, tid, Nonce("n1"))])
    assert answer.status == 200
    pair.follow()
    for view in (pair.b.root / "claimed" / name, pair.a.root / "claimed" / X):
        assert view.stat().st_ino not in flushed
    assert (pair.b.root / "relay/inbox/host-a").stat().st_ino in flushed
