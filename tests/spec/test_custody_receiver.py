"""docs/custody.md section 6: the receiver, b1 to b7, and claims over HTTP (section 10)."""

import json
import os
from collections.abc import Iterable
from dataclasses import replace

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import START, Pair, X, payload

from handoffd.custody.message import Accept, Answer, Arrival, Finish, Lookup, Poll, Principal
from handoffd.protocol.name import AgentName, HostName, Nonce
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Problem, Reason, State

ALICE, BOB = AgentName("alice"), AgentName("bob")


def post(pair: Pair, *bodies: bytes, **more: object) -> list[Answer]:
    principal = pair.principal(pair.a)
    return pair.b.engine.admit([Arrival(principal, body, **more) for body in bodies])  # type: ignore[arg-type]


def accept(pair: Pair, ident: str, nonce: str | None = "n1", agent: AgentName = ALICE) -> Answer:
    (answer,) = pair.b.engine.accept([Accept(agent, ident, nonce and Nonce(nonce))])  # type: ignore[arg-type]
    return answer


def finish(pair: Pair, ident: str, *, reject: bool = False, artefact: bytes | None = None, words: str = "") -> Answer:
    (answer,) = pair.b.engine.finish([Finish(ALICE, ident, reject, artefact, words)])
    return answer


# ---------------------------------------------------------------- b1: the request


def test_a_body_that_is_not_what_its_key_says_is_a_bad_request(pair: Pair) -> None:
    (answer,) = post(pair, payload(), claimed_tid="0" * 64)
    assert (answer.status, answer.problem) == (400, Problem.BAD_REQUEST)


def test_a_request_for_another_epoch_is_refused_and_nothing_is_done(pair: Pair) -> None:
    (answer,) = post(pair, payload(), epoch="f" * 32)
    assert (answer.status, answer.problem, answer.final) == (412, Problem.EPOCH_CHANGED, False)
    assert pair.b.names("relay/inbox/host-a") == []


def test_a_peer_may_send_only_from_its_own_agents(pair: Pair) -> None:
    (answer,) = post(pair, payload(sender="mallory"))
    assert (answer.status, answer.problem) in [(403, Problem.FORBIDDEN), (422, None)]
    assert pair.b.names("handoff") == []


def test_a_peer_may_not_send_from_another_peers_agents(pair: Pair) -> None:
    peers = {**pair.b.settings.peers, HostName("host-c"): frozenset({AgentName("erin")})}
    pair.b.engine.configure([replace(pair.b.settings, peers=peers)])
    (answer,) = post(pair, payload(sender="erin"))
    assert (answer.status, answer.problem, answer.final) == (403, Problem.FORBIDDEN, False)
    assert pair.b.names("handoff") == []


def test_an_agent_of_elsewhere_is_not_here_and_leaves_no_tombstone(pair: Pair) -> None:
    (answer,) = post(pair, payload(sender="bob", to="carol"))
    assert (answer.status, answer.problem, answer.final) == (421, Problem.NOT_HERE, False)
    assert pair.b.outcomes() == []


def test_what_we_are_sending_ourselves_came_round_in_a_circle(pair: Pair) -> None:
    data = payload()
    pair.a.drop(X, data)
    pair.a.tick()
    principal = Principal(HostName("host-b"), None, frozenset({BOB}))
    (answer,) = pair.a.engine.admit([Arrival(principal, data, path=("host-a", "host-b"))])
    assert (answer.status, answer.problem) == (421, Problem.LOOP)
    assert "host-a > host-b > host-a" in answer.detail


def test_a_plain_client_without_our_headers_is_served(pair: Pair) -> None:
    principal = Principal("@bob", BOB, frozenset({BOB}))
    data = payload()
    (answer,) = pair.b.engine.admit([Arrival(principal, data)])
    assert (answer.status, answer.tid) == (201, transfer_id(data))
    assert len(pair.b.names("relay/inbox/@bob")) == 1


# ---------------------------------------------------------------- b2, b3


def test_a_known_one_is_answered_with_its_state_and_nothing_changes(pair: Pair) -> None:
    data = payload()
    post(pair, data)
    pair.b.claim()
    pair.b.tick()
    (answer,) = post(pair, data)
    assert (answer.status, answer.record.state) == (200, State.CLAIMED)  # type: ignore[union-attr]
    assert pair.b.names("handoff") == []


def test_a_known_one_twice_in_one_group_is_one_handoff(pair: Pair) -> None:
    data = payload()
    answers = post(pair, data, data)
    assert [answer.status for answer in answers] == [201, 201]
    assert len(pair.b.names("handoff")) == 1


def test_what_is_inadmissible_is_final_and_needs_no_tombstone(pair: Pair) -> None:
    (answer,) = post(pair, payload(protocol_version=2))
    assert (answer.status, answer.reason, answer.final) == (422, Reason.REFUSED_POLICY, True)
    assert pair.b.outcomes() == []


def test_stricter_settings_do_not_refuse_what_was_stored_before(pair: Pair) -> None:
    data = payload(ttl_s=600.0)
    post(pair, data)
    pair.b.engine.configure([replace(pair.b.settings, max_ttl_s=60.0)])
    (known,) = post(pair, data)
    (new,) = post(pair, payload(ttl_s=600.0))
    assert (known.status, new.status) == (200, 422)


def test_other_bytes_of_one_signature_are_refused_durably(pair: Pair) -> None:
    data = payload()
    post(pair, data)
    (answer,) = post(pair, data + b" ")
    assert (answer.status, answer.reason, answer.final) == (409, Reason.VARIANT, True)
    assert pair.b.outcome()["reason"] == "variant"


def test_two_variants_in_one_group_let_the_first_in(pair: Pair) -> None:
    data = payload()
    answers = post(pair, data, data + b" ")
    assert [answer.status for answer in answers] == [201, 409]


def test_a_variant_is_still_one_after_a_restart(pair: Pair) -> None:
    data = payload()
    post(pair, data)
    pair.b.restart()
    (answer,) = post(pair, data + b" ")
    assert answer.reason is Reason.VARIANT


def test_what_arrives_late_gets_a_tombstone_before_the_answer(pair: Pair) -> None:
    data = payload(at=START - 100, ttl_s=60)
    (answer,) = post(pair, data)
    assert (answer.status, answer.reason, answer.final) == (410, Reason.EXPIRED, True)
    assert pair.b.outcome()["delivered"] == "not_delivered"


def test_an_ended_one_is_answered_with_its_outcome_for_ever(pair: Pair) -> None:
    data = payload()
    post(pair, data)
    pair.b.tick(63.0)
    pair.b.restart()
    (answer,) = post(pair, data)
    assert (answer.status, answer.reason) == (410, Reason.EXPIRED)
    assert pair.b.names("handoff") == []


# ---------------------------------------------------------------- b4 to b7


def test_what_is_late_once_it_is_flushed_waits_for_the_janitor(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = pair.b.fs.sync_directories

    def slow(directories: Iterable[str]) -> None:
        flush(directories)
        pair.b.clock.advance(100.0)

    with monkeypatch.context() as disk:
        disk.setattr(pair.b.fs, "sync_directories", slow)
        (answer,) = post(pair, payload(ttl_s=60.0))
    assert (answer.status, pair.b.names("handoff")) == (202, [])
    pair.b.tick()
    assert pair.b.outcome()["reason"] == "expired"


def test_the_receipt_is_a_hard_link_of_the_published_file(pair: Pair) -> None:
    _, name = pair.cross()
    receipt = os.stat(pair.b.root / "relay/inbox/host-a" / name)
    published = os.stat(pair.b.root / "handoff" / name)
    assert (receipt.st_ino, receipt.st_nlink) == (published.st_ino, 2)


def test_b_flushes_file_then_inbox_before_it_publishes(pair: Pair) -> None:
    pair.b.faults.rest()
    order: list[str] = []
    fs = pair.b.fs
    inner = fs._do
    fs._do = lambda verb, act, *names: (order.append(f"{verb} {names[0]}"), inner(verb, act, *names))[1]  # type: ignore[method-assign]
    post(pair, payload())
    steps = [one for one in order if not one.startswith(("stat", "read"))]
    assert steps == [
        "create relay/tmp",
        "move relay/tmp",
        "link relay/inbox/host-a",
        "sync_directories relay/inbox/host-a",
        "move relay/inbox/host-a",
    ]


def test_b_fills_the_file_that_was_made_when_nobody_waited(pair: Pair) -> None:
    pair.b.engine.prepare()
    pair.b.engine.prepare()
    (made,) = pair.b.names("relay/tmp")
    inode = (pair.b.root / "relay/tmp" / made).stat().st_ino
    (first, second) = [post(pair, payload())[0] for _ in range(2)]
    assert (first.status, second.status) == (201, 201)
    assert pair.b.names("relay/tmp") == []
    assert inode in {(pair.b.root / "handoff" / name).stat().st_ino for name in pair.b.names("handoff")}


def test_a_file_made_ahead_that_somebody_removed_costs_one_more_try(pair: Pair) -> None:
    pair.b.engine.prepare()
    for name in pair.b.names("relay/tmp"):
        (pair.b.root / "relay/tmp" / name).unlink()
    data = payload()
    assert [post(pair, data)[0].status for _ in range(2)] == [503, 201]


def test_no_file_is_made_ahead_on_a_full_disk_and_payloads_come_in_when_there_is_room(pair: Pair) -> None:
    pair.b.faults.failing = Failing(frozenset({"prepare"}), 1, 1, 28)
    pair.b.engine.prepare()
    assert pair.b.names("relay/tmp") == []
    assert post(pair, payload())[0].status == 201


@pytest.mark.parametrize("power", [False, True])
def test_a_file_made_ahead_goes_at_the_next_start(pair: Pair, power: bool) -> None:
    pair.b.engine.prepare()
    (pair.b.power_cut if power else pair.b.crash)()
    pair.b.start()
    assert pair.b.names("relay/tmp") == []


def test_a_squatter_on_the_published_name_is_quarantined(pair: Pair) -> None:
    data = payload()
    name = f"{json.loads(data)['caller_hash']}-r{transfer_id(data)}.json"
    (pair.b.root / "handoff" / name).write_bytes(b"squat")
    (answer,) = post(pair, data)
    assert answer.status == 201
    assert pair.b.read(f"handoff/{name}") == data
    assert len(pair.b.names("relay/quarantine")) == 1


def test_a_disk_that_is_full_for_publishing_answers_202_and_publishes_later(pair: Pair) -> None:
    pair.b.faults.failing = Failing(frozenset({"move"}), 2, 2, 28)
    (answer,) = post(pair, payload())
    assert (answer.status, answer.record.state) == (202, State.STORED)  # type: ignore[union-attr]
    pair.b.tick()
    assert len(pair.b.names("handoff")) == 1


@pytest.mark.parametrize("verb", ["create", "move", "link"])
def test_what_cannot_be_stored_is_answered_503_and_can_come_again(pair: Pair, verb: str) -> None:
    data = payload()
    pair.b.faults.failing = Failing(frozenset({verb}), 1, 1, 28)
    (refused,) = post(pair, data)
    (again,) = post(pair, data)
    assert (refused.status, again.status) == (503, 201)
    assert pair.b.names("relay/tmp") == []


def test_leftovers_of_a_failed_store_do_not_shut_it_out_for_ever(pair: Pair) -> None:
    data = payload()
    pair.b.faults.failing = Failing(frozenset({"link", "unlink"}), 1, 4, 5)  # and nothing can be cleaned up
    statuses = [post(pair, data)[0].status for _ in range(3)]
    assert statuses[-1] == 201
    assert len(pair.b.names("handoff")) == 1


def test_one_bad_item_does_not_fail_its_group(pair: Pair) -> None:
    pair.b.faults.failing = Failing(frozenset({"link"}), 2, 2, 28)
    answers = post(pair, payload(), payload(), payload())
    assert [answer.status for answer in answers] == [201, 503, 201]


def test_what_waits_unpublished_past_its_time_is_never_published(pair: Pair) -> None:
    pair.cross()
    pair.b.engine.stop()
    pair.b.clock.advance(61.0)  # past expires_at, and within the janitor's grace
    pair.b.restart()
    pair.b.tick()
    assert pair.b.names("handoff") == []
    pair.b.tick(3.0)
    assert pair.b.outcome()["reason"] == "expired"


# ---------------------------------------------------------------- claims over HTTP


def test_seeing_is_not_claiming(pair: Pair) -> None:
    data = payload()
    post(pair, data)
    first, second = pair.b.engine.poll([Poll(ALICE), Poll(ALICE)])
    assert (first.status, first.data, second.data) == (200, data, data)
    assert len(pair.b.names("handoff")) == 1


def test_nothing_for_another_agent(pair: Pair) -> None:
    post(pair, payload())
    assert pair.b.engine.poll([Poll(AgentName("dora"))])[0].status == 204


def test_the_winner_of_an_accept_gets_the_exact_bytes_and_a_view(pair: Pair) -> None:
    data = payload()
    tid, name = pair.cross(data)
    answer = accept(pair, tid)
    assert (answer.status, answer.data, answer.safe_to_retry) == (200, data, True)
    assert f"{name}.accepted~alice~n1" in pair.b.names("relay/inbox/host-a")
    assert pair.b.read(f"claimed/{name}") == data


def test_the_same_nonce_again_gets_the_same_bytes_another_one_409(pair: Pair) -> None:
    tid, _ = pair.cross()
    first, again, other = accept(pair, tid), accept(pair, tid), accept(pair, tid, "n2")
    assert (again.status, again.data) == (200, first.data)
    assert (other.status, other.problem) == (409, Problem.ALREADY_CLAIMED)


def test_an_accept_without_nonce_says_that_a_retry_is_not_safe(pair: Pair) -> None:
    tid, _ = pair.cross()
    assert accept(pair, tid, None).safe_to_retry is False
    assert accept(pair, tid, None).status == 409


def test_a_file_based_claim_beats_a_later_accept(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    assert accept(pair, tid).status == 409
    assert pair.b.engine.record([tid])[0].state is State.CLAIMED  # type: ignore[union-attr]


def test_unknown_and_foreign_look_the_same(pair: Pair) -> None:
    tid, _ = pair.cross()
    assert accept(pair, tid, agent=AgentName("dora")).status == 404
    assert accept(pair, "0" * 64).status == 404


def test_past_expires_at_an_accept_is_410_before_the_janitor_comes(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.clock.advance(60.5)
    assert (accept(pair, tid).status, pair.b.engine.poll([Poll(ALICE)])[0].status) == (410, 204)


def test_by_handoff_id_the_oldest_pending_one_is_accepted(pair: Pair) -> None:
    fields = json.loads(payload())
    first = json.dumps(fields).encode()
    second = json.dumps({**fields, "hmac": "A" * 43 + "="}).encode()
    post(pair, first, second)
    got = [accept(pair, fields["handoff_id"], nonce).data for nonce in ("n1", "n1", "n2")]
    assert got == [first, first, second]


def test_an_accept_that_the_disk_refused_is_no_claim(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.faults.failing = Failing(frozenset({"move"}), 1, 1, 28)
    assert accept(pair, tid).status == 503
    refused = finish(pair, tid)
    assert (refused.status, refused.problem) == (409, Problem.NOT_CLAIMED_BY_YOU)
    assert len(pair.b.names("handoff")) == 1
    assert accept(pair, tid).status == 200


def test_a_view_that_cannot_be_shown_does_not_cost_the_winner_its_bytes(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.faults.failing = Failing(frozenset({"move"}), 2, 2, 28)
    assert accept(pair, tid, None).status == 200


def test_complete_without_artefact_archives_the_payload(pair: Pair) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    accept(pair, tid)
    assert finish(pair, tid).status == 200
    (name,) = pair.b.names("archive")
    assert name.endswith(f"-bob-alice-{json.loads(data)['handoff_id']}.json")
    assert (pair.b.read(f"archive/{name}"), pair.b.names("claimed")) == (data, [])


def test_complete_with_an_artefact_keeps_the_payload_beside_it(pair: Pair) -> None:
    tid, _ = pair.cross()
    accept(pair, tid)
    finish(pair, tid, artefact=b'{"end": 1}')
    name, original = pair.b.names("archive")
    assert (original, pair.b.read(f"archive/{name}")) == (f"{name}.original", b'{"end": 1}')
    assert pair.b.outcome()["artefact"]["sha256"] == transfer_id(b'{"end": 1}')


@pytest.mark.parametrize("reject", [False, True])
@pytest.mark.parametrize("key", ["handoff_id", "hmac"])
def test_final_bytes_of_another_handoff_end_nothing(pair: Pair, reject: bool, key: str) -> None:
    tid, _ = pair.cross()
    data = accept(pair, tid).data
    assert data is not None
    other = json.dumps(json.loads(data) | {key: "another"}).encode()
    answer = finish(pair, tid, reject=reject, artefact=other)
    assert (answer.status, answer.problem, answer.final) == (400, Problem.BAD_REQUEST, False)
    final = json.dumps(json.loads(data) | {"context_summary": "busy"}).encode()
    assert finish(pair, tid, reject=reject, artefact=final).status == 200
    assert pair.b.outcome()["artefact"]["sha256"] == transfer_id(final)


def test_reject_keeps_the_words_and_a_reason_file(pair: Pair) -> None:
    tid, name = pair.cross()
    accept(pair, tid)
    finish(pair, tid, reject=True, words="busy")
    assert pair.b.names("rejected") == [name, f"{name}.reason"]
    assert (pair.b.outcome()["reason"], pair.b.outcome()["detail"]) == ("rejected_by_agent", "busy")


@pytest.mark.parametrize("restart", [False, True])
def test_complete_again_is_200_also_by_handoff_id_and_after_a_restart(pair: Pair, restart: bool) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    accept(pair, tid)
    finish(pair, tid)
    if restart:
        pair.b.restart()
    label = json.loads(data)["handoff_id"]
    assert [finish(pair, one).status for one in (tid, label)] == [200, 200]
    assert finish(pair, tid, reject=True).status == 409


def test_only_the_winner_ends_an_accepted_one(pair: Pair) -> None:
    tid, name = pair.cross()
    accept(pair, tid)
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)  # the view is no evidence
    pair.b.tick(40.0)
    assert pair.b.outcomes() == []
    assert pair.b.engine.finish([Finish(AgentName("dora"), tid, reject=False)])[0].status == 404


def test_what_nobody_accepted_is_ended_by_nobody(pair: Pair) -> None:
    tid, name = pair.cross()
    assert (finish(pair, tid).status, finish(pair, tid).problem) == (409, Problem.NOT_CLAIMED_BY_YOU)
    assert (pair.b.names("handoff"), pair.b.outcomes()) == ([name], [])


def test_what_was_claimed_as_a_file_ends_as_one(pair: Pair) -> None:
    tid, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    pair.b.tick(1.0)
    refused = finish(pair, tid)
    assert (refused.status, refused.detail) == (409, "it was claimed as a file, and ends as one")


def test_an_artefact_stored_before_a_crash_is_found_by_the_retry(pair: Pair) -> None:
    tid, _ = pair.cross()
    accept(pair, tid)
    pair.b.faults.failing = Failing(frozenset({"create"}), 2, 9, 28)  # the outcome is not written
    assert finish(pair, tid, artefact=b"{}").status == 503
    pair.b.faults.rest()
    pair.b.clock.advance(5.0)
    pair.b.restart()
    assert finish(pair, tid, artefact=b"{}").status == 200
    assert len(pair.b.names("archive")) == 2


def test_a_party_may_read_its_record_and_nobody_else(pair: Pair) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    asks = [
        Lookup(Principal("@alice", ALICE, frozenset({ALICE})), tid),
        Lookup(Principal("@alice", ALICE, frozenset({ALICE})), json.loads(data)["handoff_id"]),
        Lookup(Principal("host-c", None, frozenset({BOB})), tid),
        Lookup(Principal("@dora", AgentName("dora"), frozenset()), tid),
    ]
    assert [answer.status for answer in pair.b.engine.lookup(asks)] == [200, 200, 404, 404]


def test_bytes_that_are_no_longer_the_payload_are_handed_to_nobody(pair: Pair) -> None:
    """Somebody rewrote the published file in place (section 17): what was signed is not what is there."""
    tid, name = pair.cross()
    (pair.b.root / "handoff" / name).write_bytes(b"{}")
    assert pair.b.engine.poll([Poll(ALICE)])[0].status == 204
    answer = accept(pair, tid)
    assert (answer.status, answer.data, answer.tid) == (503, None, tid)
