"""What a disk that refuses one thing does to that one thing, and to nothing else."""

import errno
import os

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody.ledger import Facts
from handoffd.custody.message import Arrival, Principal
from handoffd.protocol.name import AgentName, TransferId, outbox_name, published_name, suffixed
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Reason

BOB = Principal("@bob", AgentName("bob"), frozenset({AgentName("bob")}))
CALLER = "0011223344556677"


def refuse(host: Host, verb: str, first: int, last: int = 1_000) -> None:
    host.faults.rest()
    host.faults.failing = Failing(frozenset({verb}), first, last, errno.ENOSPC)


def parked(host: Host) -> list[dict[str, object]]:
    return [line for line in host.journal.lines if line["event"] == "parked"]


# ---------------------------------------------------------------- what agents post


def test_of_a_group_that_agents_post_the_one_that_is_not_written_is_the_only_one_refused(pair: Pair) -> None:
    refuse(pair.a, "create", 1, 1)
    answers = pair.a.engine.admit([Arrival(BOB, payload()) for _ in range(3)])
    assert [answer.status for answer in answers] == [503, 201, 201]
    assert len(pair.a.names("relay/outbox/host-b")) == 2


def test_what_lies_in_outbox_from_a_try_that_failed_halfway_is_taken_for_what_it_is(pair: Pair) -> None:
    data = payload(caller_hash=CALLER)
    tid = transfer_id(data)
    name = outbox_name(tid, published_name(CALLER, tid))
    (pair.a.root / "relay/outbox/host-b" / name).write_bytes(data)
    (answer,) = pair.a.engine.admit([Arrival(BOB, data)])
    assert (answer.status, answer.tid) == (201, tid)
    assert (pair.a.names("relay/outbox/host-b"), pair.a.names("relay/tmp")) == ([name], [])


# ---------------------------------------------------------------- a take


def test_a_file_that_was_taken_and_cannot_be_named_is_told_once_and_goes_on_later(pair: Pair) -> None:
    pair.a.drop(X, data := payload())
    refuse(pair.a, "move", 2)
    for _ in range(3):
        pair.a.tick(1.0)
    (line,) = parked(pair.a)
    assert (line["file"], line["peer"]) == (X, "host-b")
    pair.a.faults.failing = None
    pair.a.tick(1.0)
    assert pair.a.names("relay/outbox/host-b") == [f"{transfer_id(data)}~{X}"]


def test_a_file_that_was_taken_before_the_last_start_and_cannot_be_named_is_told_once(pair: Pair) -> None:
    pair.a.write(f"relay/outbox/host-b/taking.0123456789abcdef~{X}", payload())
    pair.a.restart()
    refuse(pair.a, "move", 1)
    for _ in range(3):
        pair.a.tick(1.0)
    assert [line["file"] for line in parked(pair.a)] == [X]


def test_a_file_that_was_taken_and_cannot_be_flushed_is_told_once(pair: Pair) -> None:
    pair.a.write(f"relay/outbox/host-b/taking.0123456789abcdef~{X}", payload())
    pair.a.restart()
    refuse(pair.a, "sync_files", 1)
    for _ in range(3):
        pair.a.tick(1.0)
    (line,) = parked(pair.a)
    assert "cannot be flushed now" in str(line["detail"])


def test_a_file_for_this_host_that_was_taken_and_finds_no_free_name_is_told_once(pair: Pair) -> None:
    data = payload("bob", "carol")
    pair.a.write(f"relay/outbox/host-b/taking.0123456789abcdef~{X}", data)
    other = f"{X.partition('-')[0]}-l{transfer_id(data)[:12]}.json"
    for name in (X, other):
        pair.a.drop(name, payload("bob", "carol"))
    pair.a.restart()
    for _ in range(3):
        pair.a.tick(1.0)
    (line,) = parked(pair.a)
    assert other in str(line["detail"])
    os.unlink(pair.a.root / "handoff" / other)
    pair.a.tick(1.0)
    assert pair.a.read(f"handoff/{other}") == data


def test_what_is_local_after_all_goes_back_beside_a_file_that_has_its_name_by_now(pair: Pair) -> None:
    data = payload("bob", "carol")
    name = f"{CALLER}-0.json"
    (pair.a.root / f"relay/outbox/host-b/taking.abc~{name}").write_bytes(data)
    pair.a.drop(name, payload("bob", "carol"))
    pair.a.restart()
    pair.a.tick()
    assert pair.a.names("handoff") == [name, f"{CALLER}-l{transfer_id(data)[:12]}.json"]
    assert pair.a.names("relay/outbox/host-b") == []


# ---------------------------------------------------------------- ends


def test_an_outcome_that_stands_and_cannot_be_read_is_left_alone(pair: Pair) -> None:
    pair.a.engine.admit([Arrival(BOB, data := payload())])
    pair.a.engine.drain_news()
    (pair.a.root / f"relay/outcome/{transfer_id(data)}.json").write_bytes(b"{")
    sending = pair.a.engine._tree.ledger.sendings[transfer_id(data)]
    sending.flying = 0
    pair.a.tick(61.0)
    line = parked(pair.a)[0]
    assert (line["tid"], str(line["detail"])[:33]) == (sending.tid, "an outcome stands and cannot be r")
    assert pair.a.read(f"relay/outcome/{sending.tid}.json") == b"{"
    assert len(pair.a.names("relay/outbox/host-b")) == 1


def test_three_names_are_tried_and_then_it_stays_where_it_is(pair: Pair) -> None:
    tree, tid = pair.a.engine._tree, TransferId("0" * 64)
    tree.salt = lambda: "f" * 32
    taken = ["x.json", suffixed("x.json", tid), suffixed("ffffffff.x.json", tid)]
    for name in taken:
        (pair.a.root / "archive" / name).write_bytes(b"older")
    pair.a.drop("y.json", b"{}")
    with pytest.raises(FileExistsError, match="no free name") as refused:
        tree.place("handoff", "y.json", "archive", "x.json", tid)
    assert refused.value.errno == errno.EEXIST
    assert (pair.a.names("handoff"), pair.a.names("archive")) == (["y.json"], sorted(taken))


def test_without_its_reason_no_file_is_rejected(pair: Pair) -> None:
    tree, tid = pair.a.engine._tree, TransferId("0" * 64)
    pair.a.drop("y.json", b"{}")
    record = tree.ending(Facts(tid), Reason.EXPIRED, Delivered.NEVER_SENT, "host-a", "y.json")
    refuse(pair.a, "create", 1)
    with pytest.raises(OSError, match="the reason cannot be written"):
        tree.reject("handoff", "y.json", "y.json", record)
    assert (pair.a.names("handoff"), pair.a.names("rejected")) == (["y.json"], [])
