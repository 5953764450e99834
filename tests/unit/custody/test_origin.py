"""What agents of this host post over HTTP for agents of other hosts: custody begins in outbox/."""

import json

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import START, Pair, payload

from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.message import Answer, Arrival, Lookup, Offer, Principal
from handoffd.protocol.name import AgentName
from handoffd.protocol.reason import Problem, State

BOB = Principal("@bob", AgentName("bob"), frozenset({AgentName("bob")}))


def post(pair: Pair, data: bytes, principal: Principal = BOB) -> Answer:
    (answer,) = pair.a.engine.admit([Arrival(principal, data)])
    return answer


def test_a_posted_handoff_is_ours_and_goes_out_at_once(pair: Pair) -> None:
    data = payload()
    answer = post(pair, data)
    assert (answer.status, answer.record and answer.record.state) == (201, State.QUEUED)
    assert len(pair.a.names("relay/outbox/host-b")) == 1
    assert pair.a.names("relay/inbox/host-b") == []
    pair.push()
    (name,) = pair.b.names("handoff")
    assert (pair.b.root / "handoff" / name).read_bytes() == data


def test_it_is_answered_and_goes_out_after_outbox_is_flushed(pair: Pair) -> None:
    pair.a.faults.failing = Failing(frozenset({"sync_directories"}), 1, 1, 5)
    with pytest.raises(FlushFailed):
        post(pair, payload())
    assert [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)] == []


def test_its_outcome_comes_home_and_can_be_read(pair: Pair) -> None:
    data = payload()
    tid = post(pair, data).tid
    assert tid is not None
    pair.push()
    name = pair.b.claim()
    (pair.b.root / "claimed" / name).rename(pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    (found,) = pair.a.engine.lookup([Lookup(BOB, tid)])
    assert found.record is not None
    assert found.record.state is State.COMPLETED
    assert pair.a.names("archive") == [name]
    assert pair.a.names("relay/outbox/host-b") == pair.a.names("relay/sent/host-b") == []


def test_the_same_bytes_again_are_the_same_handoff(pair: Pair) -> None:
    data = payload()
    first, again = post(pair, data), post(pair, data)
    assert (again.status, again.tid) == (200, first.tid)
    assert len(pair.a.names("relay/outbox/host-b")) == 1


def test_the_same_bytes_after_the_end_are_told_the_end(pair: Pair) -> None:
    data = payload(ttl_s=5.0)
    post(pair, data)
    pair.a.engine.drain_news()
    pair.a.crash()
    pair.a.start()
    pair.advance(10.0)
    pair.follow()
    again = post(pair, data)
    assert (again.status, again.final) == (410, True)


def test_two_of_a_group_both_get_answers(pair: Pair) -> None:
    one, other = payload(), payload()
    answers = pair.a.engine.admit([Arrival(BOB, one), Arrival(BOB, other), Arrival(BOB, one)])
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert len(pair.a.names("relay/outbox/host-b")) == 2


def test_what_was_posted_survives_a_crash(pair: Pair) -> None:
    post(pair, payload())
    pair.a.engine.drain_news()
    pair.a.crash()
    pair.a.start()
    pair.greet(pair.a, pair.b)
    pair.push()
    assert len(pair.b.names("handoff")) == 1


def test_a_target_nobody_knows_leaves_nothing_behind(pair: Pair) -> None:
    answer = post(pair, payload(to="zoe"))
    assert answer.problem is Problem.NOT_HERE or answer.status == 422
    assert pair.a.outcomes() == []


def test_an_agent_posts_for_itself_alone(pair: Pair) -> None:
    assert post(pair, payload(sender="carol")).problem is Problem.FORBIDDEN


def test_other_bytes_of_the_same_signature_are_a_variant(pair: Pair) -> None:
    data = payload()
    post(pair, data)
    other = json.dumps(json.loads(data), indent=1).encode()
    assert post(pair, other).status == 409


def test_a_lifetime_far_ahead_is_turned_away_and_nothing_is_kept(pair: Pair) -> None:
    answer = post(pair, payload(at=START + 365 * 86_400.0))
    assert (answer.status, answer.final) == (400, False)
    assert pair.a.outcomes() == []


def test_a_file_with_a_lifetime_far_ahead_stays_until_the_clock_is_right(pair: Pair) -> None:
    pair.a.drop("0011223344556677-0.json", payload(at=START + 365 * 86_400.0))
    pair.a.tick()
    pair.a.tick(3.0)
    assert pair.a.names("handoff") == ["0011223344556677-0.json"]
    assert "left_alone" in pair.a.journal.words()
    pair.a.clock.wall_s += 365 * 86_400.0
    pair.a.tick(1.0)
    assert pair.a.names("handoff") == []
