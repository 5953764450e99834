"""docs/custody.md section 5: the sender, a1 to a15."""

import json
import os
from collections.abc import Callable, Sequence

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import START, Host, Pair, X, payload

from handoffd.custody.message import Attempt, Hello, Landing, Mirror, Offer, Settlement, Want
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Artefact, Record

B = HostName("host-b")


def news(host: Host) -> list[Offer]:
    return [item for item in host.engine.drain_news() if isinstance(item, Offer)]


def settle(host: Host, tid: str, attempt: Attempt, status: int = 0, **more: object) -> None:
    host.engine.settle([Settlement(B, TransferId(tid), attempt, status, **more)])  # type: ignore[arg-type]


def offers(host: Host) -> tuple[Offer, ...]:
    (found,) = host.engine.offers([Want(B, 100, 1 << 23)])
    return found


def taken(pair: Pair, data: bytes | None = None) -> Offer:
    """One handoff in custody at A, its first attempt open."""
    pair.a.drop(X, data or payload())
    pair.a.tick()
    (offer,) = news(pair.a)
    return offer


# ---------------------------------------------------------------- take


def test_a_file_for_another_host_leaves_handoff_and_is_offered_at_once(pair: Pair) -> None:
    data = payload()
    offer = taken(pair, data)
    assert (offer.peer, offer.tid, offer.data) == (B, transfer_id(data), data)
    assert pair.a.names("handoff") == []
    assert pair.a.names("relay/outbox/host-b") == [f"{transfer_id(data)}~{X}"]


def test_a_file_for_an_agent_of_this_host_stays(pair: Pair) -> None:
    pair.a.drop(X, payload(to="carol"))
    pair.a.tick()
    assert pair.a.names("handoff") == [X]
    assert pair.a.journal.words().count("local_started") == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"\xff\xfe", b'{"to_agent": "alice"}', b'{"to_agent": 1, "from_agent": "bob"}', payload(sender="eve")],
    ids=["empty", "list", "no utf-8", "no sender", "number", "foreign sender"],
)
def test_what_is_not_ours_to_carry_is_left_alone_with_one_event(pair: Pair, data: bytes) -> None:
    pair.a.drop(X, data)
    for _ in range(4):
        pair.a.tick(1.0)
    assert pair.a.names("handoff") == [X]
    assert pair.a.journal.words().count("left_alone") == 1


@pytest.mark.parametrize("name", ["note.txt", "-x.json", "a b.json", "x" * 130 + ".json", "\udcff.json"])
def test_a_name_that_no_agent_writes_stays_with_one_event(pair: Pair, name: str) -> None:
    pair.a.drop(name, payload())
    for _ in range(3):
        pair.a.tick(1.0)
    assert name in pair.a.names("handoff")
    assert pair.a.journal.words().count("left_alone") == 1


def test_an_agents_temporary_file_is_not_even_looked_at(pair: Pair) -> None:
    (pair.a.root / "handoff" / f".{X}.tmp").write_bytes(payload())
    pair.a.tick(5.0)
    assert pair.a.names("handoff") == [f".{X}.tmp"]
    assert "left_alone" not in pair.a.journal.words()


def test_an_unknown_target_stays_until_it_expires_and_is_then_unroutable(pair: Pair) -> None:
    pair.a.drop(X, payload(to="nobody"))
    pair.a.tick()
    pair.a.tick(61.9)
    assert pair.a.names("handoff") == [X]
    pair.a.tick(0.2)
    assert X in pair.a.names("rejected")
    told = json.loads(pair.a.read(f"rejected/{X}.reason"))
    assert (told["reason"], told["peer"]) == ("unroutable", None)


@pytest.mark.parametrize(
    "change",
    [{"protocol_version": 2}, {"transcript": 1}, {"expires_at": "soon"}, {"hmac": "x"}, {"handoff_id": "../x"}],
    ids=lambda change: next(iter(change)),
)
def test_an_inadmissible_payload_is_rejected_as_malformed_after_two_seconds(
    pair: Pair, change: dict[str, object]
) -> None:
    pair.a.drop(X, json.dumps({**json.loads(payload()), **change}).encode())
    pair.a.tick()
    pair.a.tick(1.9)
    assert pair.a.names("handoff") == [X]
    pair.a.tick(0.2)
    assert pair.a.names("handoff") == []
    assert pair.a.outcome()["reason"] == "malformed"
    assert len(pair.a.names("rejected")) == 2


def test_a_file_still_being_written_is_taken_when_it_is_whole(pair: Pair) -> None:
    data = payload()
    (pair.a.root / "handoff" / X).write_bytes(json.dumps({**json.loads(data), "hmac": "not yet"}).encode())
    pair.a.tick(1.0)
    assert pair.a.names("handoff") == [X]
    (pair.a.root / "handoff" / X).write_bytes(data)
    pair.a.tick(1.0)
    assert [offer.data for offer in news(pair.a)] == [data]


def test_a_payload_over_the_limit_is_too_large(pair: Pair) -> None:
    pair.a.drop(X, payload(context_summary="x" * (1 << 20)))
    pair.a.tick()
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("too_large", "never_sent")


def test_a_payload_past_its_time_ends_without_leaving(pair: Pair) -> None:
    pair.a.drop(X, payload(at=START - 100, ttl_s=60))
    pair.a.tick()
    assert news(pair.a) == []
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("expired", "never_sent")


def test_the_same_bytes_again_are_a_duplicate_without_a_record_of_their_own(pair: Pair) -> None:
    data = payload()
    taken(pair, data)
    pair.a.drop("0011223344556677-1.json", data)
    pair.a.tick()
    assert pair.a.outcomes() == []
    (reason,) = [name for name in pair.a.names("rejected") if name.endswith(".reason")]
    assert json.loads(pair.a.read(f"rejected/{reason}"))["reason"] == "duplicate"


def test_the_same_bytes_after_the_end_are_a_duplicate_too(pair: Pair) -> None:
    data = payload()
    pair.cross(data)
    name = pair.b.claim()
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    first = pair.a.outcome()
    pair.a.drop(X, data)
    pair.a.tick()
    assert news(pair.a) == []
    assert pair.a.outcome() == first
    (reason,) = [name for name in pair.a.names("rejected") if name.endswith(".reason")]
    assert json.loads(pair.a.read(f"rejected/{reason}"))["reason"] == "duplicate"


def test_other_bytes_with_the_same_signature_are_a_variant(pair: Pair) -> None:
    data = payload()
    taken(pair, data)
    pair.a.drop("0011223344556677-1.json", data + b"\n")
    pair.a.tick()
    assert pair.a.outcome()["reason"] == "variant"


def test_the_same_id_with_another_hmac_is_another_handoff(pair: Pair) -> None:
    fields = json.loads(payload())
    pair.a.drop(X, json.dumps(fields).encode())
    pair.a.drop("b.json", json.dumps({**fields, "hmac": "A" * 43 + "="}).encode())
    pair.a.tick()
    assert len(news(pair.a)) == 2


def test_two_files_of_one_name_one_after_the_other_are_both_carried(pair: Pair) -> None:
    first, second = taken(pair), taken(pair)
    assert first.tid != second.tid
    assert len(pair.a.names("relay/outbox/host-b")) == 2


def test_a_file_with_a_second_link_is_left_alone_until_it_has_one(pair: Pair) -> None:
    pair.a.drop(X, payload())
    os.link(pair.a.root / "handoff" / X, pair.a.root / "claimed" / "second.json")
    pair.a.tick()
    assert pair.a.names("handoff") == [X]
    os.unlink(pair.a.root / "claimed" / "second.json")
    pair.a.tick()
    assert len(news(pair.a)) == 1


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_regular_file_is_left_alone(pair: Pair, kind: str) -> None:
    path = pair.a.root / "handoff" / X
    {"link": lambda: os.symlink("/etc/passwd", path), "fifo": lambda: os.mkfifo(path), "directory": path.mkdir}[kind]()
    pair.a.tick()
    pair.a.tick(5.0)
    assert pair.a.names("handoff") == [X]
    assert pair.a.journal.words().count("left_alone") == 1


def test_a_published_name_that_came_from_nowhere_is_quarantined_not_taken(pair: Pair) -> None:
    name = f"0011223344556677-r{'0' * 64}.json"
    pair.a.drop(name, payload())
    pair.a.tick()
    assert news(pair.a) == []
    assert [one.endswith(name) for one in pair.a.names("relay/quarantine")] == [True]


def test_a_take_that_lost_the_race_takes_nothing(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.engine._taker.hint([X])  # seen by the watch; an agent is faster
    (pair.a.root / "handoff" / X).unlink()
    pair.a.engine.look([{"handoff": {X}}])
    assert news(pair.a) == []


@pytest.fixture
def overwrite(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Let a writer replace X between the look at it (a2) and the rename (a4)."""

    def before_the_rename(data: bytes) -> None:
        flush = pair.a.fs.sync_files

        def sync_files(names: Sequence[tuple[str, str]]) -> list[OSError | None]:
            monkeypatch.setattr(pair.a.fs, "sync_files", flush)
            pair.a.drop(X, data)
            return flush(names)

        monkeypatch.setattr(pair.a.fs, "sync_files", sync_files)

    return before_the_rename


def test_what_is_sent_is_what_was_taken_not_what_was_looked_at(pair: Pair, overwrite: Callable[[bytes], None]) -> None:
    second = payload()
    pair.a.drop(X, payload())
    overwrite(second)
    pair.a.tick()
    assert [(offer.tid, offer.data) for offer in news(pair.a)] == [(transfer_id(second), second)]


def test_what_turns_out_to_be_local_goes_back(pair: Pair, overwrite: Callable[[bytes], None]) -> None:
    local = payload("bob", "carol")
    pair.a.drop(X, payload())
    overwrite(local)
    pair.a.tick()
    assert news(pair.a) == []
    assert pair.a.read(f"handoff/{X}") == local
    assert pair.a.names("relay/outbox/host-b") == []


# ---------------------------------------------------------------- push


def test_nothing_goes_out_before_the_peers_epoch_is_noted(pair: Pair) -> None:
    (pair.a.root / "relay/peers/host-b.json").unlink()
    pair.a.restart()
    pair.a.drop(X, payload())
    pair.a.tick()
    (offer,) = news(pair.a)
    settle(pair.a, offer.tid, Attempt.NOT_SENT)
    pair.a.clock.advance(10.0)
    assert offers(pair.a) == ()
    assert pair.greet(pair.a, pair.b)
    assert json.loads(pair.a.read("relay/peers/host-b.json"))["epoch"] == pair.b.engine.epoch
    assert len(offers(pair.a)) == 1


def test_an_attempt_that_never_left_is_made_again_after_growing_pauses(pair: Pair) -> None:
    tid, waited = taken(pair).tid, []
    for _ in range(8):
        settle(pair.a, tid, Attempt.NOT_SENT)
        pause = 0.0
        while not offers(pair.a):
            pause += 0.25
            pair.a.clock.advance(0.25)
        waited.append(pause)
    assert waited == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_while_an_attempt_is_open_there_is_no_second_one(pair: Pair) -> None:
    taken(pair)
    pair.a.clock.advance(20.0)
    assert offers(pair.a) == ()


def test_a_later_attempt_is_open_too(pair: Pair) -> None:
    tid = taken(pair).tid
    settle(pair.a, tid, Attempt.NOT_SENT)
    pair.a.clock.advance(1.0)
    assert len(offers(pair.a)) == 1
    assert offers(pair.a) == ()
    pair.a.tick(120.0)
    assert pair.a.outcomes() == []


def test_nothing_is_offered_past_expires_at(pair: Pair) -> None:
    offer = taken(pair)
    settle(pair.a, offer.tid, Attempt.NOT_SENT)
    pair.a.clock.advance(60.5)
    assert offers(pair.a) == ()


def test_the_oldest_deadline_goes_first_and_the_size_is_kept(pair: Pair) -> None:
    for number, ttl_s in enumerate((50, 20, 40)):
        pair.a.drop(f"{number}.json", payload(ttl_s=ttl_s, context_summary="x" * 1000))
    pair.a.tick()
    for offer in news(pair.a):
        settle(pair.a, offer.tid, Attempt.NOT_SENT)
    pair.a.clock.advance(1.0)
    (found,) = pair.a.engine.offers([Want(B, 100, 3000)])
    assert [round(one.expires_at - START) for one in found] == [20, 40]


@pytest.mark.parametrize(("status", "reason"), [(403, "refused_policy"), (413, "too_large"), (421, "unroutable")])
def test_a_permanent_refusal_ends_it_at_once(pair: Pair, status: int, reason: str) -> None:
    settle(pair.a, taken(pair).tid, Attempt.NOT_ADMITTED, status, detail="no")
    assert (pair.a.outcome()["reason"], pair.a.outcome()["detail"]) == (reason, "no")


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_any_other_refusal_is_tried_again_and_told_when_it_expires(pair: Pair, status: int) -> None:
    settle(pair.a, taken(pair).tid, Attempt.NOT_ADMITTED, status, detail="not now")
    assert pair.a.outcomes() == []
    pair.a.tick(61.0)
    assert pair.a.outcome()["detail"] == f"{status}: not now"
    assert pair.a.outcome()["delivered"] == "never_sent"


def test_a_permanent_refusal_does_not_end_what_may_have_come_before(pair: Pair) -> None:
    tid = taken(pair).tid
    settle(pair.a, tid, Attempt.UNKNOWN)
    pair.a.clock.advance(1.0)
    assert len(offers(pair.a)) == 1
    settle(pair.a, tid, Attempt.NOT_ADMITTED, 403)
    assert pair.a.outcomes() == []


def test_an_answer_that_never_came_leaves_the_attempt_open_for_ever(pair: Pair) -> None:
    settle(pair.a, taken(pair).tid, Attempt.UNKNOWN)
    pair.a.tick(61.0)
    assert pair.a.outcomes() == []
    assert pair.a.engine.debts([B])[0].revoke != ()


def test_an_admitted_one_moves_to_sent_with_the_peers_state(pair: Pair) -> None:
    tid, _ = pair.cross()
    assert pair.a.names("relay/outbox/host-b") == []
    assert pair.a.names("relay/sent/host-b") == [f"{tid}~{X}"]
    assert pair.a.engine.record([tid])[0].state is State.PUBLISHED  # type: ignore[union-attr]


def test_an_admitted_one_moves_to_sent_though_the_answer_tells_no_more(pair: Pair) -> None:
    tid = taken(pair).tid
    settle(pair.a, tid, Attempt.ADMITTED, 201)
    assert pair.a.names("relay/outbox/host-b") == []
    assert pair.a.names("relay/sent/host-b") == [f"{tid}~{X}"]


def test_a_final_answer_is_recorded_with_the_peers_reason(pair: Pair) -> None:
    offer = taken(pair)
    settle(pair.a, offer.tid, Attempt.ENDED, 422, reason=Reason.REFUSED_POLICY, detail="rule 7")
    outcome = pair.a.outcome()
    assert (outcome["state"], outcome["reason"], outcome["detail"]) == ("refused", "refused_policy", "rule 7")


def test_bytes_changed_on_disk_are_quarantined_and_never_sent(pair: Pair) -> None:
    offer = taken(pair)
    settle(pair.a, offer.tid, Attempt.NOT_SENT)
    path = pair.a.root / "relay/outbox/host-b" / f"{offer.tid}~{X}"
    path.write_bytes(b"{}")
    pair.a.clock.advance(1.0)
    assert offers(pair.a) == ()
    assert pair.a.outcome()["reason"] == "content_changed"
    assert len(pair.a.names("relay/quarantine")) == 1


def test_a_retry_after_a_lost_answer_meets_the_receipt(pair: Pair) -> None:
    offer = taken(pair)
    pair.post(pair.a, pair.b, [offer])
    settle(pair.a, offer.tid, Attempt.UNKNOWN)
    pair.a.clock.advance(1.0)
    (answer,) = pair.push()
    assert answer.status == 200
    assert len(pair.b.names("handoff")) == 1


# ---------------------------------------------------------------- follow


def test_what_the_peer_tells_a_state_of_is_followed_though_its_answer_was_lost(pair: Pair) -> None:
    offer = taken(pair)
    pair.post(pair.a, pair.b, [offer])
    settle(pair.a, offer.tid, Attempt.UNKNOWN)
    pair.b.claim()
    pair.a.tick(61.0)
    pair.follow()  # the revoke meets the claim
    assert pair.a.names("relay/sent/host-b") == [f"{offer.tid}~{X}"]
    (name,) = pair.b.names("claimed")
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    assert pair.a.outcome()["reason"] == "completed"


def test_only_rises_count_and_late_answers_are_harmless(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    pair.b.tick()
    (late,) = pair.b.engine.record([tid])
    assert late is not None
    pair.follow()
    old = Record(tid, State.STORED, "host-b", late.at)
    pair.a.engine.mirror([Mirror(B, old), Mirror(B, late), Mirror(B, old)])
    assert pair.a.engine.record([tid])[0].state is State.CLAIMED  # type: ignore[union-attr]


def test_a_claim_shows_a_copy_in_claimed_and_the_record_stays_in_sent(pair: Pair) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    assert pair.a.read(f"claimed/{X}") == data
    assert pair.a.names("relay/sent/host-b") == [f"{tid}~{X}"]


def test_a_view_never_replaces_a_file_of_that_name(pair: Pair) -> None:
    (pair.a.root / "claimed" / X).write_bytes(b"older")
    tid, _ = pair.cross()
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    assert pair.a.names("claimed") == [X, f"0011223344556677-0.r{tid[:12]}.json"]


def test_a_view_that_was_changed_is_not_removed(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    (pair.a.root / "claimed" / X).write_bytes(b"somebody's notes")
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    assert pair.a.outcome()["reason"] == "completed"
    assert pair.a.read(f"claimed/{X}") == b"somebody's notes"


def finish(pair: Pair, artefact: Artefact | None) -> TransferId:
    """A transfer that B calls completed, perhaps with an artefact to fetch."""
    tid, _ = pair.cross()
    at = "2026-11-20T10:00:00.000Z"
    record = Record(tid, State.COMPLETED, "host-b", at, reason=Reason.COMPLETED, artefact=artefact)
    pair.a.engine.mirror([Mirror(B, record)])
    return tid


def test_the_artefact_comes_home_beside_the_payload(pair: Pair) -> None:
    tid = finish(pair, Artefact("end.json", transfer_id(b"the end"), 7))
    assert pair.a.engine.debts([B])[0].fetch == (tid,)
    pair.a.engine.land([Landing(tid, b"the end")])
    assert pair.a.names("archive") == ["end.json", "end.json.original"]
    assert pair.a.engine.debts([B])[0].forget == (tid,)


@pytest.mark.parametrize("data", [None, b"other bytes"])
def test_an_artefact_that_does_not_come_or_fit_leaves_the_payload_alone(pair: Pair, data: bytes | None) -> None:
    tid = finish(pair, Artefact("end.json", transfer_id(b"the end"), 7))
    pair.a.engine.land([Landing(tid, data)])
    pair.a.engine.land([Landing(tid, b"the end")])  # too late
    assert pair.a.names("archive") == [X]
    assert pair.a.journal.words().count("artefact_missing") == 1


def test_an_artefact_over_the_limit_is_not_asked_for(pair: Pair) -> None:
    finish(pair, Artefact("end.json", transfer_id(b"x"), (1 << 20) + 1))
    assert pair.a.engine.debts([B])[0].fetch == ()
    assert pair.a.names("archive") == [X]


@pytest.mark.parametrize("name", ["end.json", "not a file name", "x.json.reason"])
def test_an_artefacts_name_is_made_legal_and_free(pair: Pair, name: str) -> None:
    (pair.a.root / "archive" / "end.json").write_bytes(b"older")
    tid = finish(pair, Artefact(name, transfer_id(b"the end"), 7))
    pair.a.engine.land([Landing(tid, b"the end")])
    assert pair.a.read("archive/end.json") == b"older"
    assert len([one for one in pair.a.names("archive") if f".r{tid[:12]}.json" in one]) == 2


def test_an_artefact_for_which_no_name_is_free_is_missing(pair: Pair) -> None:
    tid = finish(pair, Artefact("end.json", transfer_id(b"the end"), 7))
    for name in ("end.json", f"end.r{tid[:12]}.json"):
        (pair.a.root / "archive" / name).write_bytes(b"older")
    pair.a.engine.land([Landing(tid, b"the end")])
    (line,) = (line for line in pair.a.journal.lines if line["event"] == "artefact_missing")
    assert (line["tid"], line["detail"]) == (tid, "no free name for it")
    assert X in pair.a.names("archive")
    assert pair.a.names("relay/sent/host-b") == []


def test_a_second_fetch_after_a_restart_finds_what_the_first_one_brought(pair: Pair) -> None:
    tid = finish(pair, Artefact("end.json", transfer_id(b"the end"), 7))
    (pair.a.root / "archive" / "end.json").write_bytes(b"the end")  # and then A went down
    pair.a.restart()
    assert pair.a.engine.debts([B])[0].fetch == (tid,)
    pair.a.engine.land([Landing(tid, b"the end")])
    assert pair.a.names("archive") == ["end.json", "end.json.original"]


def test_a_rejected_payload_has_its_reason_beside_it(pair: Pair) -> None:
    tid, _ = pair.cross()
    record = Record(tid, State.REJECTED, "host-b", "", reason=Reason.REJECTED_BY_AGENT, detail="busy")
    pair.a.engine.mirror([Mirror(B, record)])
    name = f"0011223344556677-0.r{tid[:12]}.json"
    assert pair.a.names("rejected") == [name, f"{name}.reason"]
    assert json.loads(pair.a.read(f"rejected/{name}.reason"))["detail"] == "busy"


def test_a_hello_of_the_same_epoch_changes_nothing(pair: Pair) -> None:
    tid, _ = pair.cross()
    assert pair.a.engine.hello([Hello(B, pair.b.engine.epoch)]) == [True]
    assert pair.a.engine.record([tid])[0].state is State.PUBLISHED  # type: ignore[union-attr]


# ---------------------------------------------------------------- what the disk does


@pytest.mark.parametrize("verb", ["read", "names"])
def test_a_file_that_cannot_be_read_for_a_moment_is_not_called_changed(pair: Pair, verb: str) -> None:
    offer = taken(pair)
    settle(pair.a, offer.tid, Attempt.NOT_SENT)
    pair.a.clock.advance(1.0)
    pair.a.faults.failing = Failing(frozenset({verb}), 1, 1, 24)
    first, second = offers(pair.a), offers(pair.a)
    assert len((*first, *second)) == 1
    assert pair.a.outcomes() == []


def test_a_taken_file_that_cannot_be_read_is_carried_when_it_can(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.faults.failing = Failing(frozenset({"read"}), 2, 2, 24)  # the second one is a5
    pair.a.tick()
    assert news(pair.a) == []
    pair.a.tick(1.0)
    assert len(news(pair.a)) == 1


def test_a_file_that_the_disk_would_not_move_is_taken_later(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.faults.failing = Failing(frozenset({"move"}), 1, 1, 28)
    pair.a.tick()
    assert pair.a.names("handoff") == [X]
    pair.a.tick(1.0)
    assert len(news(pair.a)) == 1
