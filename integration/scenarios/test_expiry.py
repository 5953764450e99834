"""Past its end nobody can claim a handoff, and both sides say the same about it."""

import json
import signal

from harness.engine import eventually
from harness.host import ROOT, Written
from harness.pair import Pair

SHORT_S = 4.0
TRIES = 4


def test_a_handoff_expires_at_its_sender_while_the_peer_is_down(pair: Pair) -> None:
    pair.alice.stop_daemon()
    eventually("bob's daemon has noticed", lambda: pair.has_lost(pair.bob))
    written = pair.bob.hand_over_one("alice", lifetime_s=SHORT_S)
    outcome = pair.bob.final(written.tid)
    assert (outcome["reason"], outcome["delivered"], outcome["by"]) == ("expired", "never_sent", "bob-vm")
    reason = eventually("its reason is in rejected/", lambda: [n for n in pair.bob.ls("rejected") if ".reason" in n])
    assert json.loads(pair.bob.read("rejected", reason[0]))["tid"] == written.tid


def test_what_expired_while_the_peer_was_down_never_reaches_it(pair: Pair) -> None:
    pair.alice.stop_daemon()
    late = pair.bob.hand_over_one("alice", lifetime_s=SHORT_S)
    pair.bob.final(late.tid)
    pair.alice.listen()
    pair.alice.start_daemon()
    fresh = pair.bob.hand_over_one("alice")
    assert pair.bob.final(fresh.tid)["reason"] == "completed"
    assert [claim["sha256"] for claim in pair.alice.ledger(what="claimed")] == [fresh.tid]


def test_a_handoff_nobody_claims_is_withdrawn_and_both_hosts_say_expired(pair: Pair) -> None:
    written = pair.hand_over_in_time(pair.bob, SHORT_S, lambda one: pair.offers(pair.alice, one))
    for host in pair.hosts:
        outcome = host.final(written.tid)
        assert (outcome["reason"], outcome["delivered"], outcome["by"]) == ("expired", "not_delivered", "alice-vm")
    assert pair.alice.ls("handoff") == []
    eventually("it is in alice's rejected/", lambda: [n for n in pair.alice.ls("rejected") if written.tid in n])


def test_a_handoff_claimed_in_time_is_completed_after_its_end(pair: Pair) -> None:
    pair.alice.listen("--ending", "none")
    written = pair.hand_over_in_time(
        pair.bob, SHORT_S, lambda one: one.tid in [claim["sha256"] for claim in pair.alice.ledger(what="claimed")]
    )
    (name,) = [name for name in pair.alice.ls("claimed") if written.tid in name]
    eventually("its end has passed", lambda: pair.is_past(written.expires_at))
    pair.alice.execute("mv", f"{ROOT}/claimed/{name}", f"{ROOT}/archive/{name}")
    assert pair.bob.final(written.tid)["reason"] == "completed"


def test_the_sender_says_in_doubt_while_it_cannot_know(pair: Pair) -> None:
    pair.warm_up()
    pair.alice.listen()
    written = in_doubt(pair)
    outcome = pair.bob.final(written.tid, within_s=240)
    assert outcome["reason"] in ("expired", "revoked")
    assert pair.alice.final(written.tid)["reason"] == outcome["reason"]
    assert pair.alice.ledger(what="claimed") == []


def in_doubt(pair: Pair) -> Written:
    """Hand one over to a host that stands still, and return it once the sender says that it cannot know.

    It may be over before it is sent, or the link notice the silence first: then nothing left, and one more is tried.
    """
    for _ in range(TRIES):
        with pair.alice.paused():
            written = pair.bob.hand_over_one("alice", lifetime_s=SHORT_S)
            eventually("bob's host says what it knows", lambda one=written: knows(pair, one))
            if said(pair, written.tid, "in_doubt"):
                assert pair.bob.outcome(written.tid) is None
                return written
            assert pair.bob.final(written.tid)["delivered"] == "never_sent"
        eventually("the link is up", lambda: not pair.has_lost(pair.bob))
    raise AssertionError(f"of {TRIES} handoffs none was sent before it was over")


def knows(pair: Pair, written: Written) -> bool:
    return said(pair, written.tid, "in_doubt") or pair.bob.outcome(written.tid) is not None


def test_a_local_handoff_expires_too(pair: Pair) -> None:
    written = pair.bob.hand_over_one("bob", "--from", "gordon", lifetime_s=SHORT_S)
    eventually("it is withdrawn", lambda: pair.bob.ls("handoff") == [])
    eventually("it is in rejected/ with its reason", lambda: f"{written.file}.reason" in pair.bob.ls("rejected"))
    assert pair.bob.digest("rejected", written.file) == written.tid


def test_a_daemon_that_was_down_at_the_end_still_withdraws_it(pair: Pair) -> None:
    written = pair.hand_over_in_time(pair.bob, SHORT_S, lambda one: pair.offers(pair.alice, one))
    pair.alice.stop_daemon(signal.SIGKILL)
    eventually("its end has passed", lambda: pair.is_past(written.expires_at))
    pair.alice.start_daemon()
    outcome = pair.bob.final(written.tid, within_s=240)
    assert outcome["reason"] in ("expired", "revoked")
    assert pair.alice.ls("handoff") == []


def said(pair: Pair, tid: str, word: str) -> bool:
    return any(line["event"] == word and line.get("tid") == tid for line in pair.bob.journal())
