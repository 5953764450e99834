"""docs/custody.md section 4: the rules that every step obeys, seen from the file system's side."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.faulty import Failing
from tests.fakes.order import in_order, recorded
from tests.unit.custody.pair import Pair, payload

from handoffd.custody import filesystem
from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.message import Accept, Coming, Finish, Hello, News, Offer
from handoffd.protocol.name import AgentName, Nonce
from handoffd.protocol.reason import Reason, State

CUSTODY = Path(filesystem.__file__).parent
DOORS = ("filesystem", "layout", "reading", "remains")
"""The port; the checks before it opens; the views, which only read."""
RENAMES = re.compile(r"\bos\.(rename|replace|renames|link|unlink|remove|fsync|open)\b|shutil\.|Path\.(rename|replace)")


@pytest.mark.parametrize("path", [path for path in CUSTODY.glob("*.py") if path.stem not in DOORS], ids=str)
def test_r1_the_engine_reaches_the_disk_through_the_port_alone(path: Path) -> None:
    assert not RENAMES.search(path.read_text())


def test_r2_a_take_flushes_bytes_before_the_move_and_names_before_the_offer(pair: Pair) -> None:
    order = recorded(pair.a)
    told = pair.a.engine._tree

    def hear() -> None:
        order.extend("offer" for item in told.news if isinstance(item, Offer))

    pair.a.engine.hand_over_early(hear)
    pair.cross()
    assert in_order(
        order,
        "sync_files handoff",
        "move handoff relay/outbox/host-b",
        "move relay/outbox/host-b relay/outbox/host-b",
        "sync_directories relay/outbox/host-b",
        "offer",
        "sync_directories handoff",
        "move relay/outbox/host-b relay/sent/host-b",
    )
    assert order.index("sync_directories relay/outbox/host-b") < order.index("offer")


def test_what_may_go_is_told_in_the_middle_of_its_group(pair: Pair) -> None:
    early: list[News] = []
    pair.a.engine.hand_over_early(lambda: early.extend(pair.a.engine.drain_news()))
    pair.a.drop("x.json", payload())
    pair.a.tick()
    (offer,) = (item for item in early if isinstance(item, Offer))
    assert offer not in pair.a.engine.drain_news()
    assert pair.post(pair.a, pair.b, [offer])[0].status == 201


def test_r2_a_note_is_whole_and_named_durably_before_it_counts(pair: Pair) -> None:
    order = recorded(pair.a)
    assert pair.a.engine.hello([Hello(pair.b.name, "e" * 32)]) == [True]
    assert in_order(order, "create relay/tmp", "exchange relay/tmp relay/peers", "sync_directories relay/peers")


def test_a_payload_that_comes_alone_is_announced_before_it_is_flushed(pair: Pair) -> None:
    order = recorded(pair.a)
    early: list[News] = []

    def hear() -> None:
        news = pair.a.engine.drain_news()
        order.extend(f"tell {type(item).__name__}" for item in news)
        early.extend(news)

    pair.a.engine.hand_over_early(hear)
    data = payload()
    pair.a.drop("x.json", data)
    pair.a.tick()
    steps = ["tell Coming", "sync_files handoff", "sync_directories relay/outbox/host-b", "tell Offer"]
    assert [step for step in order if step in steps] == steps
    coming, offer = (item for item in early if isinstance(item, Coming | Offer))
    assert coming == Coming(offer.peer, offer.tid, len(data))


@pytest.mark.parametrize("files", [[b"{}"], [payload(), payload()], [payload(to_agent="bob", from_agent="alice")]])
def test_nothing_else_is_announced(pair: Pair, files: list[bytes]) -> None:
    for number, data in enumerate(files):
        pair.a.drop(f"{number}.json", data)
    pair.a.tick()
    assert not [item for item in pair.a.engine.drain_news() if isinstance(item, Coming)]


def test_r3_stored_is_said_after_inbox_is_flushed(pair: Pair) -> None:
    pair.b.faults.failing = Failing(frozenset({"sync_directories"}), 1, 1, 5)
    with pytest.raises(FlushFailed):
        pair.cross()
    assert pair.b.names("handoff") == []


def test_r3_a_claim_is_told_after_its_flush(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    pair.b.faults.failing = Failing(frozenset({"sync_directories"}), 1, 1, 5)
    with pytest.raises(FlushFailed):
        pair.b.tick()
    assert pair.b.engine._tree.ledger.receipts[tid].state.value == "published"


def test_r4_r5_pull_then_outcome_then_moves(pair: Pair) -> None:
    pair.cross()
    order = recorded(pair.b)
    pair.b.tick(63.0)
    assert in_order(
        order,
        "move handoff relay/inbox/host-a",
        "sync_directories handoff",
        "sync_directories relay/inbox/host-a",
        "move relay/tmp relay/outcome",
        "sync_directories relay/outcome",
        "move relay/inbox/host-a rejected",
        "unlink relay/inbox/host-a",
    )


def test_r3_an_agents_end_is_flushed_before_it_is_recorded(pair: Pair) -> None:
    pair.cross()
    name = pair.b.claim()
    pair.b.tick()
    (pair.b.root / "claimed" / name).rename(pair.b.root / "archive" / name)
    order = recorded(pair.b)
    pair.b.tick()
    assert in_order(order, "sync_directories archive", "create relay/tmp", "move relay/tmp relay/outcome")


def test_r5_the_winners_end_is_durable_before_its_file_moves(pair: Pair) -> None:
    tid, _ = pair.cross()
    alice = AgentName("alice")
    pair.b.engine.accept([Accept(alice, tid, Nonce("n"))])
    order = recorded(pair.b)
    pair.b.engine.finish([Finish(alice, tid, reject=False, artefact=b"{}")])
    assert in_order(
        order,
        "move relay/tmp archive",
        "sync_directories archive",
        "move relay/tmp relay/outcome",
        "sync_directories relay/outcome",
        "move relay/inbox/host-a archive",
        "unlink relay/inbox/host-a",
    )


def test_r3_an_accept_is_flushed_before_its_bytes_leave(pair: Pair) -> None:
    tid, _ = pair.cross()
    order = recorded(pair.b)
    pair.b.engine.accept([Accept(AgentName("alice"), tid, Nonce("n"))])
    assert in_order(
        order,
        "move handoff relay/inbox/host-a",
        "sync_directories relay/inbox/host-a",
        "sync_directories handoff",
        "read relay/inbox/host-a",
    )


def test_r5_an_outcome_never_changes(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.tick(63.0)
    before = pair.b.read(f"relay/outcome/{tid}.json")
    tree = pair.b.engine._tree
    record = tree.outcome(tid)
    assert record is not None
    (stands,) = tree.write_outcomes([replace(record, state=State.COMPLETED, reason=Reason.COMPLETED)])
    assert stands == record
    assert pair.b.read(f"relay/outcome/{tid}.json") == before


def test_r5_an_outcome_that_was_named_is_flushed_though_another_one_failed(pair: Pair) -> None:
    for number in range(3):
        pair.cross(payload(), f"{number}.json")
    pair.b.faults.failing = Failing(frozenset({"move"}), 5, 5, 28)  # three pulls, one outcome, and not the second
    order = recorded(pair.b)
    pair.b.clock.advance(63.0)
    pair.b.engine._recall.janitor()
    assert len(pair.b.outcomes()) == 2
    assert in_order(order, "move relay/tmp relay/outcome", "sync_directories relay/outcome")
    pair.b.tick()
    assert len(pair.b.outcomes()) == 3


@pytest.mark.parametrize("act", ["take", "admit", "observe", "janitor", "stop"])
def test_r7_a_failed_flush_of_a_directory_ends_whatever_was_asked(pair: Pair, act: str) -> None:
    if act != "take":
        pair.cross()
    if act == "observe":
        pair.b.claim()
    host = pair.a if act == "take" else pair.b
    host.faults.failing = Failing(frozenset({"sync_directories"}), 1, 1, 5)
    acts = {
        "take": lambda: (pair.a.drop("x.json", payload()), pair.a.tick()),
        "admit": lambda: pair.cross(payload(), "y.json"),
        "observe": pair.b.tick,
        "janitor": lambda: pair.b.tick(63.0),
        "stop": pair.b.engine.stop,
    }
    with pytest.raises(FlushFailed):
        acts[act]()


@pytest.mark.parametrize("agents", [1, 2, 5])
def test_one_winner_whoever_competes(pair: Pair, agents: int) -> None:
    """Agents, an accept, the janitor and a revoke go for the same name: the kernel picks one."""
    tid, name = pair.cross()
    won = 0
    for number in range(agents):
        try:
            os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / f"{number}.json")
            won += 1
        except FileNotFoundError:
            continue
    answer = pair.b.engine.accept([Accept(AgentName("alice"), tid, Nonce("n"))])[0]
    pair.b.tick(63.0)
    assert (won, answer.status, pair.b.outcomes()) == (1, 409, [])
