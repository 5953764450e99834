"""Whole stories of one handoff over two engines."""

import json
import os

from tests.unit.custody.pair import Pair, payload


def test_a_handoff_crosses_is_claimed_and_its_artefact_comes_home(pair: Pair) -> None:
    data = payload()
    pair.a.drop("0011223344556677-0.json", data)
    pair.a.tick()
    assert pair.a.names("handoff") == []
    (answer,) = pair.push()
    assert answer.status == 201
    (name,) = pair.b.names("handoff")
    assert (pair.b.root / "handoff" / name).read_bytes() == data
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    assert pair.a.names("claimed") == ["0011223344556677-0.json"]
    final = json.dumps({**json.loads(data), "transcript": [{"role": "user", "text": "bye"}]}).encode()
    handoff_id = json.loads(data)["handoff_id"]
    archived = f"1795168801-bob-alice-{handoff_id}.json"
    (pair.b.root / "archive" / f".{archived}.tmp").write_bytes(final)
    os.replace(pair.b.root / "archive" / f".{archived}.tmp", pair.b.root / "archive" / archived)
    os.unlink(pair.b.root / "claimed" / name)
    pair.b.engine.look([{"archive": {archived}}])
    pair.follow()
    assert pair.a.names("claimed") == []
    assert (pair.a.root / "archive" / archived).read_bytes() == final
    assert (pair.a.root / "archive" / f"{archived}.original").read_bytes() == data
    (mine,), (theirs,) = pair.a.outcomes(), pair.b.outcomes()
    assert mine["reason"] == theirs["reason"] == "completed"
    assert set(mine["edges"]) == {"stored", "published", "claimed", "completed"}
    assert pair.b.names("relay/inbox/host-a") == []


def test_a_rejection_comes_home_with_its_reason(pair: Pair) -> None:
    pair.a.drop("0011223344556677-0.json", payload())
    pair.a.tick()
    pair.push()
    name = pair.b.claim()
    document = json.loads((pair.b.root / "claimed" / name).read_bytes())
    (pair.b.root / "claimed" / name).unlink()
    (pair.b.root / "rejected" / name).write_text(json.dumps({**document, "rejection_reason": "busy"}))
    pair.b.tick()
    pair.follow()
    (record,) = pair.a.outcomes()
    assert (record["state"], record["reason"], record["detail"]) == ("rejected", "rejected_by_agent", "busy")
    assert any(one.endswith(".reason") for one in pair.a.names("rejected"))


def test_an_unclaimed_handoff_expires_at_both_ends(pair: Pair) -> None:
    pair.a.drop("0011223344556677-0.json", payload())
    pair.a.tick()
    pair.push()
    pair.b.tick(63.0)
    assert pair.b.names("handoff") == []
    pair.a.tick(63.0)
    pair.follow()
    assert [one["reason"] for one in pair.a.outcomes()] == ["expired"]
    assert [one["delivered"] for one in pair.b.outcomes()] == ["not_delivered"]


def test_a_handoff_that_never_left_expires_alone(pair: Pair) -> None:
    pair.a.drop("0011223344556677-0.json", payload())
    pair.a.tick()
    pair.a.engine.drain_news()
    pair.a.crash()
    pair.a.drop("1111223344556677-0.json", payload())
    pair.a.start()
    pair.a.tick(61.0)
    assert [one["delivered"] for one in pair.a.outcomes()] == ["never_sent"]
    pair.follow()
    assert sorted(one["reason"] for one in pair.a.outcomes()) == ["expired", "expired"]
    assert [one["reason"] for one in pair.b.outcomes()] == ["revoked"]
