"""Scars: one test for each way the engine was once brought to do wrong by a review (docs/guarantees.md)."""

import errno
import json
import os
from pathlib import Path

import pytest
from tests.unit.custody.pair import Host, Pair, payload

from handoffd.custody import layout
from handoffd.custody.memory import Forgettable
from handoffd.custody.message import Arrival, Attempt, Hello, Settlement, Want
from handoffd.protocol.name import TransferId
from handoffd.protocol.timing import DAY_S, DOUBT_MAX_S

X = "0011223344556677-0.json"


def cross(pair: Pair, data: bytes | None = None) -> str:
    """Bring a handoff to B; return its name there."""
    pair.a.drop(X, data or payload())
    pair.a.tick()
    pair.push()
    return pair.b.names("handoff")[-1]


def test_a_local_file_with_a_similar_name_ends_nobody_elses_handoff(pair: Pair) -> None:
    caller = "b275013166a65f69"
    name = cross(pair, payload(handoff_id=caller, caller_hash=caller))
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    pair.b.tick()
    stranger = json.loads(payload(sender="dora", to="alice", transcript=[{"role": "user", "text": "secret"}]))
    (pair.b.root / "archive" / f"1795168801-dora-alice-{caller}.json").write_text(json.dumps(stranger))
    pair.b.engine.look([{"archive": {f"1795168801-dora-alice-{caller}.json"}}])
    assert pair.b.outcomes() == []


def test_an_artefact_that_does_not_say_what_it_is_ends_the_handoff_its_name_says(pair: Pair) -> None:
    data = payload()
    name = cross(pair, data)
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    pair.b.tick()
    final = f"1795168801-bob-alice-{json.loads(data)['handoff_id']}.json"
    (pair.b.root / "archive" / final).write_text('{"summary": "done"}')
    os.unlink(pair.b.root / "claimed" / name)
    pair.b.engine.look([{"archive": {final}}])
    assert [one["reason"] for one in pair.b.outcomes()] == ["completed"]


def test_an_offer_that_was_never_told_of_opens_no_attempt(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        pair.a.drop(f"001122334455667{number}-0.json", payload())
    pair.a.tick()
    for offer in pair.offers(pair.a, pair.b):
        pair.a.engine.settle([Settlement(pair.b.name, offer.tid, Attempt.NOT_SENT)])
    pair.a.clock.advance(1.0)
    damaged = sorted((pair.a.root / "relay/outbox/host-b").iterdir())[0]
    damaged.write_bytes(b"other bytes")
    refuse(monkeypatch, pair.a, "create", errno.ENOSPC)
    assert len(pair.a.engine.offers([Want(pair.b.name, 100, 1 << 23)])[0]) == 2


def refuse(monkeypatch: pytest.MonkeyPatch, host: Host, verb: str, code: int) -> None:
    """Let one verb of a host's file system fail from now on."""

    def fail(files: list[object], **_: object) -> list[OSError | None]:
        return [OSError(code, os.strerror(code)) for _ in files]

    monkeypatch.setattr(host.fs, verb, fail)


def test_one_file_that_cannot_be_taken_back_does_not_keep_the_others_open(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        pair.a.drop(f"001122334455667{number}-0.json", payload())
    pair.a.tick()
    pair.push()
    stuck = pair.b.names("handoff")[0]
    move = pair.b.fs.move

    def refuse_one(source: str, name: str, target: str, new_name: str) -> None:
        if source == "handoff" and name == stuck:
            raise PermissionError(errno.EACCES, "refused", name)
        move(source, name, target, new_name)

    monkeypatch.setattr(pair.b.fs, "move", refuse_one)
    pair.b.tick(70.0)
    assert pair.b.names("handoff") == [stuck]
    assert [one["reason"] for one in pair.b.outcomes()] == ["expired", "expired"]


def test_a_copy_put_in_the_place_of_a_claimed_file_is_not_taken_for_it(pair: Pair) -> None:
    name = cross(pair)
    data = (pair.b.root / "handoff" / name).read_bytes()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    (pair.b.root / "handoff" / name).write_bytes(data)
    pair.b.tick(70.0)
    assert pair.b.outcomes() == []
    assert pair.b.names("handoff") == []
    assert len(pair.b.names("relay/quarantine")) == 1


def test_a_claim_that_an_agent_puts_back_ends(pair: Pair) -> None:
    name = cross(pair)
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    pair.b.tick()
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "handoff" / name)
    for _ in range(10):
        pair.b.tick(10.0)
    assert [(one["reason"], one["delivered"]) for one in pair.b.outcomes()] == [("vanished_at_target", "claimed")]
    assert pair.b.names("relay/inbox/host-a") == []


def test_a_claim_of_a_peer_that_answers_is_never_given_up(pair: Pair) -> None:
    name = cross(pair)
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    pair.b.tick()
    pair.follow()
    for _ in range(int(DOUBT_MAX_S / DAY_S) + 2):
        pair.advance(DAY_S)
        pair.greet(pair.a, pair.b)
        pair.a.tick()
    assert pair.a.outcomes() == []
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    assert [one["reason"] for one in pair.a.outcomes()] == ["completed"]


def test_a_full_disk_does_not_make_the_sender_spin(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.a.drop(X, payload(ttl_s=5.0))
    pair.a.tick()
    offers = pair.offers(pair.a, pair.b)
    pair.b.clock.advance(10.0)
    answers = pair.post(pair.a, pair.b, offers)
    refuse(monkeypatch, pair.a, "create", errno.ENOSPC)
    pair.settle(pair.a, pair.b, offers, answers)
    assert pair.a.engine.offers([Want(pair.b.name, 100, 1 << 23)])[0] == ()


def test_a_damaged_note_of_a_peer_is_not_first_contact(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    pair.offers(pair.a, pair.b)
    pair.a.crash()
    (pair.a.root / "relay/peers/host-b.json").write_text("{")
    pair.a.start()
    assert pair.a.engine.hello([Hello(pair.b.name, "another epoch")]) == [True]
    assert [one["reason"] for one in pair.a.outcomes()] == ["peer_lost_state"]


def test_bytes_are_a_variant_only_of_what_became_durable(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one = payload()
    other = json.dumps(json.loads(one), indent=1).encode()
    principal, create = pair.principal(pair.a), pair.b.fs.create

    def refuse_first(files: list[object], **more: object) -> list[OSError | None]:
        monkeypatch.setattr(pair.b.fs, "create", create)
        return [OSError(errno.ENOSPC, "full") for _ in files]

    monkeypatch.setattr(pair.b.fs, "create", refuse_first)
    answers = pair.b.engine.admit([Arrival(principal, one), Arrival(principal, other)])
    assert [answer.status for answer in answers] == [503, 503]
    assert pair.b.outcomes() == []


def test_a_transfer_is_noted_once_however_often_it_is_to_be_forgotten() -> None:
    kept = Forgettable("key")
    for _ in range(100):
        kept.add(TransferId("ab" * 32), 0.0)
    assert len(kept) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_a_start_on_a_full_disk_is_no_unsafe_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    host = Host(tmp_path / "a", "host-a", ["bob"], {})
    refuse(monkeypatch, host, "create", code)
    with pytest.raises(OSError, match=str(code)) as raised:
        host.start()
    assert not isinstance(raised.value, layout.UnsafeRoot)


def test_after_the_orderly_stop_nothing_moves(pair: Pair) -> None:
    cross(pair)
    pair.b.engine.stop()
    pair.b.engine.tick([0.0])
    pair.b.engine.look([{"handoff": set()}])
    assert pair.b.names("handoff") == []


def test_after_the_orderly_stop_nothing_is_let_in_or_out(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    offers = pair.offers(pair.a, pair.b)
    pair.b.engine.stop()
    assert [answer.status for answer in pair.post(pair.a, pair.b, offers)] == [503]
    assert pair.b.names("handoff") == pair.b.names("relay/inbox/host-a") == []


def test_an_old_outcome_stays_until_its_own_time_is_over(pair: Pair) -> None:
    cross(pair, payload(ttl_s=20 * 3600.0))
    (tid,) = pair.b.engine._tree.ledger.receipts
    pair.b.tick(21 * 3600.0)
    path = pair.b.root / layout.OUTCOME / f"{tid}.json"
    long_ago = pair.b.clock.wall_s - 31 * DAY_S
    os.utime(path, (long_ago, long_ago))
    pair.b.tick(2 * 3600.0)
    assert path.exists()
