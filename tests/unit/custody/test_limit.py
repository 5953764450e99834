"""What one peer may fill a host with."""

import pytest
from tests.unit.custody.pair import Pair, payload

from handoffd.custody import admit, tree
from handoffd.custody.message import Batch
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import Problem


def test_more_open_handoffs_than_the_limit_are_turned_away(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admit, "PENDING_LIMIT", 2)
    for number in range(3):
        pair.a.drop(f"001122334455667{number}-0.json", payload())
        pair.a.tick()
        (answer,) = pair.push()
    assert answer.problem is Problem.RATE_LIMITED
    pair.b.engine.look([{}])
    assert len(pair.b.names("handoff")) == 2
    assert len(pair.a.names("relay/outbox/host-b")) == 1


def test_an_ended_handoff_makes_room(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admit, "PENDING_LIMIT", 1)
    pair.a.drop("0011223344556677-0.json", payload())
    pair.a.tick()
    pair.push()
    name = pair.b.claim()
    (pair.b.root / "claimed" / name).rename(pair.b.root / "archive" / name)
    pair.b.tick()
    pair.a.drop("0011223344556678-0.json", payload())
    pair.a.tick()
    (answer,) = pair.push()
    assert answer.status == 201


def test_revokes_of_invented_transfers_write_so_many_tombstones_and_no_more(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "TOMBSTONES_PER_HOUR", 5)
    tids = tuple(TransferId(f"{number:064x}") for number in range(9))
    (records,) = pair.b.engine.revoke([Batch(pair.a.name, tids)])
    assert sum(record is not None for record in records) == 5
    pair.b.clock.advance(3600.0)
    (records,) = pair.b.engine.revoke([Batch(pair.a.name, tids[5:])])
    assert all(record is not None for record in records)
