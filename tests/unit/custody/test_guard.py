"""What a step rests on is looked at again; what contradicts the rules is set aside and touched no more."""

import shutil

from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody.examine import examine
from handoffd.custody.guard import Guard
from handoffd.custody.message import Batch, Mirror, StatesQuery
from handoffd.custody.visit import Untold
from handoffd.protocol.reason import Delivered, Reason, State


def broken(host: Host) -> list[str]:
    return [line["detail"] for line in host.journal.lines if line["event"] == "broken"]


def taken_back(pair: Pair) -> str:
    """A handoff at B that an orderly stop took back from handoff/."""
    _, name = pair.cross()
    pair.b.engine.stop()
    pair.b.crash()
    return name


def test_a_waiting_token_whose_bytes_changed_is_not_published(pair: Pair) -> None:
    name = taken_back(pair)
    with open(pair.b.root / f"relay/inbox/host-a/{name}.new", "ab") as file:
        file.write(b" ")
    pair.b.start()
    assert pair.b.names("handoff") == []
    assert broken(pair.b) == [f"I7: the bytes of {name}.new do not hash to T; it was set aside"]
    assert pair.b.engine.set_aside() == 1


def test_a_waiting_token_that_also_lies_in_claimed_is_not_published(pair: Pair) -> None:
    pair.cross()
    pair.b.tick()
    receipt = next(iter(pair.b.engine._tree.ledger.receipts.values()))
    shutil.copyfile(pair.b.root / "handoff" / receipt.name, pair.b.root / "claimed" / receipt.name)
    receipt.place = "new"
    (pair.b.root / "handoff" / receipt.name).rename(pair.b.root / f"relay/inbox/host-a/{receipt.name}.new")
    pair.b.tick()
    assert pair.b.names("handoff") == []
    assert broken(pair.b) == ["I1: it waits to be published, and lies in claimed/; it was set aside"]


def test_a_waiting_token_that_is_no_file_is_not_published(pair: Pair) -> None:
    name = taken_back(pair)
    token = pair.b.root / f"relay/inbox/host-a/{name}.new"
    pair.b.start()
    token.unlink(missing_ok=True)
    receipt = next(iter(pair.b.engine._tree.ledger.receipts.values()))
    (pair.b.root / "handoff" / name).unlink()
    token.symlink_to("/etc/passwd")
    receipt.place = "new"
    pair.b.tick()
    assert pair.b.names("handoff") == []
    assert broken(pair.b) == [f"I7: {name}.new is not a file of ours; it was set aside"]


def test_a_token_that_is_gone_is_no_contradiction(pair: Pair) -> None:
    """There is nothing to publish: the move says so, and the look for it goes on."""
    pair.cross()
    receipt = next(iter(pair.b.engine._tree.ledger.receipts.values()))
    assert Guard(pair.b.engine._tree).may_publish(receipt)
    assert broken(pair.b) == []


def test_what_an_agent_has_claimed_does_not_end_as_not_delivered(pair: Pair) -> None:
    pair.cross()
    pair.b.claim()
    pair.b.tick()
    tree = pair.b.engine._tree
    receipt = next(iter(tree.ledger.receipts.values()))
    ending = (receipt.facts, Reason.REVOKED, Delivered.NOT_DELIVERED, "host-a", None)
    assert not Guard(tree).may_end(receipt, tree.ending(*ending))
    assert broken(pair.b) == ["I5: revoked, and an agent has claimed it; it was set aside"]
    assert pair.b.engine.set_aside() == 1


def test_the_alarm_names_the_handoff_and_where_it_came_from(pair: Pair) -> None:
    name = taken_back(pair)
    with open(pair.b.root / f"relay/inbox/host-a/{name}.new", "ab") as file:
        file.write(b" ")
    pair.b.start()
    (line,) = (line for line in pair.b.journal.lines if line["event"] == "broken")
    assert {key: line[key] for key in ("role", "peer", "from", "to")} == {
        "role": "receiver",
        "peer": "host-a",
        "from": "bob",
        "to": "alice",
    }
    assert line["tid"] in name


def test_nothing_ends_while_it_can_be_claimed(pair: Pair) -> None:
    """Somebody copies the token back while the janitor has it."""
    tid, name = pair.cross()
    token = pair.b.read(f"handoff/{name}")
    move = pair.b.fs.move

    def move_and_copy(source: str, name: str, target: str, wanted: str) -> None:
        move(source, name, target, wanted)
        if wanted.endswith(".pulled"):
            (pair.b.root / "handoff" / name).write_bytes(token)

    pair.b.fs.move = move_and_copy  # type: ignore[method-assign]
    pair.b.tick(70.0)
    assert pair.b.outcomes() == []
    assert broken(pair.b) == ["R4: expired, and it lies in handoff/; it was set aside"]
    assert (pair.b.names("handoff"), len(pair.b.names("relay/quarantine"))) == ([], 1)
    (line,) = (line for line in pair.b.journal.lines if line["event"] == "quarantined")
    assert (line["file"], line["tid"]) == (name, tid)


def test_a_claim_that_was_shown_stays_told_whatever_end_the_peer_tells(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    (record,) = pair.a.engine.record([tid])
    assert record is not None
    assert record.state is State.CLAIMED
    contrary = pair.b.engine._tree.ending(
        next(iter(pair.b.engine._tree.ledger.receipts.values())).facts,
        Reason.REVOKED,
        Delivered.NOT_DELIVERED,
        "host-a",
        None,
        "revoked by host-a",
    )
    pair.a.engine.mirror([Mirror(pair.b.name, contrary, 0)])
    assert (pair.a.outcome()["state"], pair.a.outcome()["delivered"]) == ("revoked", "claimed")
    words = "host-b had told it as claimed: an agent put its claim back"
    assert pair.a.outcome()["detail"] == f"revoked by host-a; {words}"
    assert (broken(pair.a), pair.a.engine.set_aside()) == ([], 0)


def test_what_was_set_aside_is_neither_told_nor_lost_nor_ended_nor_moved(pair: Pair) -> None:
    name = taken_back(pair)
    inbox = pair.b.root / "relay/inbox/host-a"
    with open(inbox / f"{name}.new", "ab") as file:
        file.write(b" ")
    pair.b.start()
    (tid,) = pair.b.engine._tree.ledger.aside
    (news,) = pair.b.engine.states([StatesQuery(pair.a.name, {tid: State.STORED}, None)])
    assert (news.records, news.lost) == ((), ())
    assert pair.b.engine.revoke([Batch(pair.a.name, (tid,))]) == [(None,)]
    for _ in range(3):
        pair.b.tick(70.0)
    assert pair.b.outcomes() == []
    assert sorted(path.name for path in inbox.iterdir()) == [name, f"{name}.new"]


def test_the_next_start_looks_anew(pair: Pair) -> None:
    name = taken_back(pair)
    token = pair.b.root / f"relay/inbox/host-a/{name}.new"
    size = token.stat().st_size
    with open(token, "ab") as file:
        file.write(b" ")
    pair.b.start()
    assert pair.b.engine.set_aside() == 1
    with open(token, "r+b") as file:
        file.truncate(size)
    pair.b.restart()
    assert pair.b.names("handoff") == [name]
    assert examine(pair.b.root, pair.b.boot_id).findings == set()


def test_a_peer_that_dials_is_told_no_more_of_it_than_that_it_is_here(pair: Pair) -> None:
    """Unsaid, the lender would call it lost."""
    name = taken_back(pair)
    with open(pair.b.root / f"relay/inbox/host-a/{name}.new", "ab") as file:
        file.write(b" ")
    pair.b.start()
    (tid,) = pair.b.engine._tree.ledger.aside
    pair.b.engine._tree.ledger.keep_for_telling(pair.a.name).note(tid)
    (tidings,) = pair.b.engine.tidings([Untold(pair.a.name, 0)])
    assert [(record.tid, record.state) for record in tidings.records] == [(tid, State.STORED)]


def test_a_copy_of_what_has_an_unreadable_end_holds_nothing_up(pair: Pair) -> None:
    tid, _ = pair.cross()
    copied = pair.a.read(f"relay/sent/host-b/{tid}~{X}")
    name = pair.b.claim()
    (pair.b.root / "claimed" / name).rename(pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    pair.a.write(f"relay/outcome/{tid}.json", b"{}")
    pair.a.drop("copy.json", copied)
    pair.a.drop("other.json", payload())
    pair.a.tick()
    assert pair.a.names("handoff") == []
    assert [name for name in pair.a.names("relay/outbox/host-b") if name.startswith("taking.")] == []
    assert "duplicate" in [line.get("reason") for line in pair.a.journal.lines]
    assert len(pair.push()) == 1
