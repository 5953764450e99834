"""docs/custody.md section 5, a1 to a4: what one look at handoff/ takes, whatever else lies there."""

from pathlib import Path

import pytest
from tests.fakes.order import recorded
from tests.fakes.star import Spoke
from tests.unit.custody.pair import START, Host, Pair, payload

from handoffd.custody import take
from handoffd.custody.message import Coming

OUTBOX = "relay/outbox/host-b"
FLUSH = f"sync_directories {OUTBOX}"


def announced(host: Host) -> int:
    return sum(isinstance(item, Coming) for item in host.engine.drain_news())


def test_what_stays_keeps_nothing_else_from_leaving(pair: Pair) -> None:
    for number in range(8):
        pair.a.drop(f"local-{number}.json", payload(to="carol"))
        pair.a.drop(f"remote-{number}.json", payload())
    pair.a.tick()
    assert len(pair.a.names(OUTBOX)) == len(pair.a.names("handoff")) == 8


def test_of_large_payloads_no_more_are_held_than_the_limit_and_one(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(payload())
    monkeypatch.setattr(take, "GROUP_LIMIT_BYTES", 2 * size)
    for number in range(5):
        pair.a.drop(f"{number}.json", payload())
    order = recorded(pair.a)
    pair.a.tick()
    assert [step for step in order if step == FLUSH] == [FLUSH, FLUSH], "three at once, then two"
    assert len(pair.a.names(OUTBOX)) == 5


def test_what_was_left_alone_is_read_again_only_when_it_has_changed(pair: Pair) -> None:
    pair.a.drop("local.json", payload(to="carol"))
    pair.a.tick()
    order = recorded(pair.a)
    pair.a.tick()
    assert not [step for step in order if step.startswith("read")]
    pair.a.drop("local.json", payload())
    pair.a.tick()
    assert len(pair.a.names(OUTBOX)) == 1


def test_what_ends_at_once_is_not_announced(pair: Pair) -> None:
    pair.a.drop("late.json", payload(at=START - 100))
    pair.a.tick()
    assert announced(pair.a) == 0


def test_what_is_leased_is_not_announced(in_memory: Path) -> None:
    spoke = Spoke(in_memory)
    spoke.a.drop("0.json", payload())
    spoke.a.tick()
    assert announced(spoke.a) == 0
    assert len(spoke.a.names(OUTBOX)) == 1
    spoke.close()
