"""Canaries: from daemon to daemon, never where an agent looks, and soon forgotten."""

import errno
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.faulty import Crash, Failing
from tests.unit.custody.pair import START, Host, Pair, payload

from handoffd.custody.canary import REMEMBERED
from handoffd.custody.message import (
    Accept,
    Answer,
    Arrival,
    Attempt,
    Called,
    Launch,
    Lookup,
    Offer,
    Poll,
    Principal,
    Settlement,
)
from handoffd.protocol.name import CANARY_AGENT, AgentName, HostName, TransferId
from handoffd.protocol.reason import Problem, Reason, State
from handoffd.protocol.timing import CANARY_AHEAD_S, CANARY_KEEP_S, CANARY_PAUSE_S, CANARY_TTL_S, EXPIRY_GRACE_S

AGENTS = ("handoff", "claimed", "archive", "rejected")
CUSTODY = ("relay/outbox", "relay/sent", "relay/inbox", "relay/quarantine", "relay/tmp")


def canary(**more: object) -> bytes:
    return payload(CANARY_AGENT, CANARY_AGENT, **{"ttl_s": 20.0, **more})  # type: ignore[arg-type]


def launch(pair: Pair, data: bytes | None = None, peer: str = "host-b") -> Answer:
    (answer,) = pair.a.engine.launch([Launch(HostName(peer), canary() if data is None else data)])
    return answer


def answer_calls(host: Host) -> int:
    """Do what the daemon does with news of canaries."""
    called = [item.tid for item in host.engine.drain_news() if isinstance(item, Called)]
    host.engine.answer(called)
    return len(called)


def files(host: Host, *places: str) -> list[str]:
    return [str(path.relative_to(host.root)) for place in places for path in (host.root / place).rglob("*.json*")]


def fill(host: Host) -> None:
    """Let the disk take no new file."""
    host.faults.failing = Failing(frozenset({"create"}), 1, 1_000, errno.ENOSPC)


@pytest.fixture(autouse=True)
def nothing_is_seen_by_agents(pair: Pair) -> Iterator[None]:
    yield
    assert files(pair.a, *AGENTS) == files(pair.b, *AGENTS) == []


def test_a_canary_goes_there_is_answered_by_the_daemon_and_comes_home(pair: Pair) -> None:
    launched = launch(pair)
    assert (launched.status, launched.record and launched.record.state) == (201, State.QUEUED)
    (answer,) = pair.push()
    assert (answer.status, answer.record and answer.record.state) == (202, State.STORED)
    assert answer_calls(pair.b) == 1
    pair.follow()
    for host, by in ((pair.a, "host-b"), (pair.b, "host-b")):
        record = host.outcome()
        assert (record["state"], record["reason"], record["by"]) == ("completed", "completed", by)
        assert {"stored", "claimed", "completed"} <= record["edges"].keys()
        assert "published" not in record["edges"]
        assert files(host, *CUSTODY) == []


def test_it_is_told_of_in_both_journals(pair: Pair) -> None:
    launch(pair)
    pair.push()
    answer_calls(pair.b)
    pair.follow()
    for host, words in (
        (pair.a, ["started", "stored", "completed"]),
        (pair.b, ["stored", "claimed", "completed"]),
    ):
        lines = [line for line in host.journal.lines if line.get("to") == CANARY_AGENT]
        assert [line["event"] for line in lines] == words
        assert all(line["from"] == CANARY_AGENT for line in lines)


def test_a_journey_tells_when_it_was_posted_and_how_it_ended(pair: Pair) -> None:
    tid = launch(pair).tid
    assert tid is not None
    (journey,) = pair.a.engine.journey([tid])
    assert journey is not None
    assert (journey.record.state, journey.posted_s) == (State.QUEUED, None)
    pair.push()
    answer_calls(pair.b)
    pair.follow()
    (journey,) = pair.a.engine.journey([tid])
    assert journey is not None
    assert (journey.record.state, journey.record.final) == (State.COMPLETED, True)
    assert pair.a.engine.journey([TransferId("0" * 64)]) == [None]


def test_who_waits_for_the_end_of_one_may_ask_after_the_next_was_sent(pair: Pair) -> None:
    tids = []
    for _ in range(REMEMBERED + 1):
        tids.append(launch(pair).tid)
        pair.push()
        answer_calls(pair.b)
        pair.follow()
        for host in (pair.a, pair.b):
            host.tick(2.0)
    told = pair.a.engine.journey(tids)
    assert told[0] is None
    assert [one and one.record.state for one in told[1:]] == [State.COMPLETED] * REMEMBERED


def test_a_claim_that_is_told_before_the_end_shows_nothing_to_the_senders_agents(pair: Pair) -> None:
    tid = launch(pair).tid
    assert tid is not None
    pair.push()
    fill(pair.b)
    pair.b.engine.answer([tid])
    pair.b.faults.rest()
    pair.follow()
    (journey,) = pair.a.engine.journey([tid])
    assert journey is not None
    assert journey.record.state is State.CLAIMED


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (payload("bob", "alice"), "not a known agent"),
        (payload("bob", CANARY_AGENT), "not a known agent"),
        (canary(ttl_s=CANARY_TTL_S + 1), "expires_at"),
        (canary(at=START - 100.0), "expires within"),
        (canary(at=START + 100.0), "expires within"),
        (b"{}", "is missing"),
    ],
)
def test_nothing_but_a_canary_can_be_launched(pair: Pair, data: bytes, words: str) -> None:
    answer = launch(pair, data)
    assert (answer.status, answer.problem) == (400, Problem.BAD_REQUEST)
    assert words in answer.detail
    assert files(pair.a, *CUSTODY) == []


def test_there_is_one_at_a_time_to_a_peer_and_none_to_a_stranger(pair: Pair) -> None:
    data = canary()
    assert launch(pair, data).status == 201
    assert "sent before" in launch(pair, data).detail
    assert launch(pair).problem is Problem.RATE_LIMITED
    assert "reload" in launch(pair, peer="host-c").detail
    assert len(files(pair.a, *CUSTODY)) == 1


def test_a_full_disk_refuses_it_and_keeps_nothing(pair: Pair) -> None:
    fill(pair.a)
    answer = launch(pair)
    pair.a.faults.rest()
    assert (answer.status, answer.problem) == (503, Problem.UNAVAILABLE)
    assert files(pair.a, *CUSTODY) == []


# ------------------------------------------------------------------------------------------------- who may


@pytest.mark.parametrize(("sender", "to"), [("bob", CANARY_AGENT), (CANARY_AGENT, "alice")])
def test_the_reserved_name_hands_over_to_itself_alone(pair: Pair, sender: str, to: str) -> None:
    (answer,) = pair.b.engine.admit([Arrival(pair.principal(pair.a), payload(sender, to))])
    assert (answer.status, answer.reason) == (422, Reason.REFUSED_POLICY)
    assert "reserved" in answer.detail


def test_no_agents_token_sends_a_canary(pair: Pair) -> None:
    bob = Principal("@bob", AgentName("bob"), frozenset({AgentName("bob")}))
    (answer,) = pair.a.engine.admit([Arrival(bob, canary())])
    assert answer.status in (403, 422)
    assert pair.a.outcomes() == []


def test_no_agent_is_shown_it_and_none_can_claim_it(pair: Pair) -> None:
    tid = launch(pair).tid
    assert tid is not None
    pair.push()
    for name in ("alice", CANARY_AGENT):
        agent = AgentName(name)
        assert pair.b.engine.poll([Poll(agent)])[0].status == 204
        assert pair.b.engine.accept([Accept(agent, tid, None)])[0].status in (404, 503)
        mine = Principal(f"@{name}", agent, frozenset({agent}))
        assert name == CANARY_AGENT or pair.b.engine.lookup([Lookup(mine, tid)])[0].status == 404


def test_a_file_that_names_it_is_no_canary(pair: Pair) -> None:
    for number, (sender, to) in enumerate(((CANARY_AGENT, CANARY_AGENT), ("bob", CANARY_AGENT))):
        pair.a.drop(f"001122334455667{number}-0.json", payload(sender, to))
    pair.a.tick()
    pair.a.tick(3.0)
    assert files(pair.a, *CUSTODY) == []
    assert sorted(pair.a.names("handoff")) == ["0011223344556670-0.json", "0011223344556671-0.json"]
    for name in pair.a.names("handoff"):
        (pair.a.root / "handoff" / name).unlink()


def arrive(pair: Pair, *canaries: bytes, source: str | None = None) -> list[Answer]:
    """Post as a peer does that keeps to no rule of its own."""
    who = Principal(source or pair.a.name, None, frozenset({CANARY_AGENT}))
    return pair.b.engine.admit([Arrival(who, data) for data in canaries])


def test_the_receiver_refuses_one_that_lives_too_long(pair: Pair) -> None:
    longest = CANARY_TTL_S + CANARY_AHEAD_S
    (answer,) = arrive(pair, canary(ttl_s=longest + 1.0))
    assert (answer.status, answer.problem, answer.final) == (400, Problem.BAD_REQUEST, False)
    assert "30 s" in answer.detail
    assert pair.b.outcomes() == []
    assert arrive(pair, canary(ttl_s=longest))[0].status == 202


def test_the_receiver_takes_one_at_a_time_from_a_peer_and_one_a_second(pair: Pair) -> None:
    first, second = canary(), canary()
    assert [answer.status for answer in arrive(pair, first, second, first)] == [202, 429, 202]
    pair.b.clock.advance(CANARY_PAUSE_S + 1.0)
    (answer,) = arrive(pair, second)  # the first is open
    assert (answer.status, answer.problem) == (429, Problem.RATE_LIMITED)
    assert answer_calls(pair.b) == 1
    assert arrive(pair, second)[0].status == 202
    assert answer_calls(pair.b) == 1
    pair.b.clock.wall_s += CANARY_PAUSE_S  # a clock that is set is no pause
    assert arrive(pair, canary())[0].status == 429
    assert arrive(pair, canary(), source="host-c")[0].status == 202
    assert len(pair.b.outcomes()) == 2


def test_a_peer_that_floods_leaves_one_outcome_a_second(pair: Pair) -> None:
    for _ in range(5):
        arrive(pair, *(canary(at=pair.b.clock.wall()) for _ in range(20)))
        answer_calls(pair.b)
        pair.b.tick(CANARY_PAUSE_S)
    assert len(pair.b.outcomes()) == 5


# ------------------------------------------------------------------------------------------------- ends


def test_a_canary_that_never_left_expires(pair: Pair) -> None:
    tid = launch(pair).tid
    assert tid is not None
    (offer,) = [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)]
    pair.a.engine.settle([Settlement(offer.peer, offer.tid, Attempt.NOT_SENT, detail="link down")])
    pair.a.tick(21.0)
    assert (pair.a.outcome()["state"], pair.a.outcome()["delivered"]) == ("expired", "never_sent")
    assert files(pair.a, *CUSTODY) == []


def test_one_whose_peer_falls_silent_is_given_up_at_once_and_never_asked_for(pair: Pair) -> None:
    launch(pair)
    pair.push()
    pair.a.tick(20.0 + EXPIRY_GRACE_S + 1.0)
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("outcome_unknown", "unknown")
    (debts,) = pair.a.engine.debts([pair.b.name])
    assert debts.revoke == debts.forget == ()
    assert files(pair.a, *CUSTODY) == []


def test_one_that_comes_too_late_is_refused_and_that_is_forgotten_too(pair: Pair) -> None:
    launch(pair)
    pair.b.clock.advance(30.0)
    (answer,) = pair.push()
    assert (answer.status, answer.reason) == (410, Reason.EXPIRED)
    assert pair.a.outcome()["state"] == "expired"
    pair.advance(CANARY_KEEP_S + 2 * 3600.0)
    assert pair.a.outcomes() == pair.b.outcomes() == []


def test_one_that_nobody_answered_in_time_is_the_janitors(pair: Pair) -> None:
    launch(pair)
    pair.push()
    pair.b.engine.drain_news()
    pair.b.clock.advance(25.0)
    pair.b.tick()
    assert (pair.b.outcome()["state"], files(pair.b, *CUSTODY)) == ("expired", [])


def test_within_two_hours_both_hosts_have_forgotten_it(pair: Pair) -> None:
    launch(pair)
    pair.push()
    answer_calls(pair.b)
    pair.follow()
    assert len(pair.a.outcomes()) == len(pair.b.outcomes()) == 1
    for host in (pair.a, pair.b):
        host.restart()
    pair.advance(CANARY_KEEP_S + 2 * 3600.0)
    assert pair.a.outcomes() == pair.b.outcomes() == []


# ------------------------------------------------------------------------------------------------- crashes


def test_a_restart_of_the_receiver_before_the_claim_loses_nothing(pair: Pair) -> None:
    launch(pair)
    pair.push()
    pair.b.restart()
    pair.b.tick()
    pair.follow()
    assert pair.a.outcome()["state"] == "completed"


def test_a_crash_between_claim_and_end_is_made_good(pair: Pair) -> None:
    tid = launch(pair).tid
    assert tid is not None
    pair.push()
    fill(pair.b)  # the claim is a rename, the outcome a new file
    pair.b.engine.answer([tid])
    assert len(list((pair.b.root / "relay/inbox/host-a").glob("*.accepted~*"))) == 1
    pair.b.faults.rest()
    pair.b.restart()
    pair.b.tick()
    pair.follow()
    assert pair.a.outcome()["state"] == "completed"
    assert files(pair.b, *CUSTODY) == []


def test_a_power_cut_makes_no_canary_uncertain(pair: Pair) -> None:
    launch(pair)
    pair.push()
    pair.b.power_cut()
    pair.b.start()
    pair.b.tick()
    pair.follow()
    assert pair.a.outcome()["state"] == "completed"


def test_a_restart_of_the_sender_sends_it_again_and_it_is_answered_once(pair: Pair) -> None:
    launch(pair)
    offers = pair.offers(pair.a, pair.b)
    pair.post(pair.a, pair.b, offers)
    answer_calls(pair.b)
    pair.a.restart()
    pair.greet(pair.a, pair.b)
    (answer,) = pair.push()
    assert (answer.status, answer.record and answer.record.state) == (200, State.COMPLETED)
    assert pair.a.outcome()["state"] == "completed"
    assert len(pair.b.outcomes()) == 1


def test_a_withdrawn_canary_ends_like_any_other(pair: Pair) -> None:
    tid = launch(pair).tid
    assert tid is not None
    pair.push()
    pair.a.engine.withdraw([tid])
    pair.a.tick(25.0)
    assert pair.a.outcome()["reason"] == "outcome_unknown"


@pytest.mark.parametrize("side", ["sender", "receiver"])
@pytest.mark.parametrize("power", [False, True])
def test_a_crash_at_any_step_leaves_nothing_behind(tmp_path: Path, side: str, power: bool) -> None:
    step, crashes = 0, True
    while crashes:
        step += 1
        (tmp_path / str(step)).mkdir()
        life = Pair(tmp_path / str(step))
        host = life.a if side == "sender" else life.b
        host.faults.rest()
        host.faults.crash_after = {step}
        crashes = live_on(life, host, power=power)
        for each in (life.a, life.b):
            assert files(each, *AGENTS, *CUSTODY) == []
            assert {one["state"] for one in each.outcomes()} <= {"completed", "unknown", "expired"}
        life.close()
    assert step > 5


def live_on(pair: Pair, host: Host, *, power: bool) -> bool:
    """Send a canary and go on, whatever crashes, until its time is long over; tell whether anything did crash."""
    crashed = False

    def act(what: Callable[[], object]) -> None:
        nonlocal crashed
        try:
            what()
        except Crash:
            crashed = True
            host.power_cut() if power else host.crash()
            host.start()
            pair.greet(pair.a, pair.b)

    act(lambda: launch(pair))
    for seconds in (0.0, 1.0, 30.0, 60.0):
        for what in (pair.push, lambda: answer_calls(pair.b), pair.follow, partial(pair.advance, seconds)):
            act(what)
    return crashed
