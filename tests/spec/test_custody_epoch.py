"""docs/custody.md section 8: the peer's epoch, and what a lost tree means."""

import json
import shutil

import pytest
from tests.fakes.faulty import Crash, Failing
from tests.unit.custody.pair import Pair, X, payload

from handoffd.custody.message import Attempt, Batch, Hello, Mirror, Offer, Settlement, Want
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Record

B = HostName("host-b")


def hello(pair: Pair, epoch: str) -> bool:
    return pair.a.engine.hello([Hello(B, epoch)])[0]


def noted(pair: Pair) -> str:
    return str(json.loads(pair.a.read("relay/peers/host-b.json"))["epoch"])


def test_first_contact_notes_the_epoch_durably(pair: Pair) -> None:
    assert noted(pair) == pair.b.engine.epoch
    pair.a.restart()
    assert pair.a.engine.offers([Want(B, 1, 1)]) == [()]
    pair.cross()
    assert len(pair.b.names("handoff")) == 1


def test_a_changed_epoch_ends_what_may_have_been_sent_and_what_was_sent(pair: Pair) -> None:
    pair.cross()
    pair.a.drop("b.json", payload())
    pair.a.tick()
    (offer,) = [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)]
    pair.a.engine.settle([Settlement(B, offer.tid, Attempt.UNKNOWN)])
    assert hello(pair, "e" * 32)
    assert [one["reason"] for one in pair.a.outcomes()] == ["peer_lost_state", "peer_lost_state"]
    assert noted(pair) == "e" * 32


def test_what_never_left_goes_out_under_the_new_epoch(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    (offer,) = [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)]
    pair.a.engine.settle([Settlement(B, offer.tid, Attempt.NOT_SENT)])
    hello(pair, "e" * 32)
    pair.a.clock.advance(1.0)
    assert [one.tid for one in pair.a.engine.offers([Want(B, 9, 1 << 20)])[0]] == [offer.tid]


@pytest.mark.parametrize("change", range(1, 9))
def test_a_crash_while_the_epoch_changes_never_sends_a_maybe_sent_one_again(pair: Pair, change: int) -> None:
    pair.cross()
    pair.a.faults.rest()
    pair.a.faults.crash_after = {change}
    try:
        hello(pair, "e" * 32)
    except Crash:
        pair.a.restart()
    hello(pair, "e" * 32)
    assert pair.a.outcome()["reason"] == "peer_lost_state"
    assert (pair.a.names("relay/sent/host-b"), noted(pair)) == ([], "e" * 32)


def test_a_disk_that_refuses_the_outcomes_leaves_the_old_epoch(pair: Pair) -> None:
    pair.cross()
    old = noted(pair)
    pair.a.faults.failing = Failing(frozenset({"create"}), 1, 1, 28)
    assert hello(pair, "e" * 32) is False
    assert (noted(pair), pair.a.outcomes()) == (old, [])
    assert hello(pair, "e" * 32) is True


def test_what_a_peer_of_the_same_epoch_does_not_know_is_lost(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.lost([Batch(B, (tid,))])
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("peer_lost_state", "unknown")


def test_a_tombstone_for_what_was_sent_means_that_it_was_lost(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.mirror([Mirror(B, Record(tid, State.REVOKED, B, "", reason=Reason.REVOKED))])
    assert pair.a.outcome()["reason"] == "peer_lost_state"
    assert pair.a.outcome()["detail"] == "the peer no longer knows what it had stored"


def test_a_tombstone_for_what_was_only_maybe_sent_is_a_verdict(pair: Pair) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    (offer,) = [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)]
    pair.a.engine.settle([Settlement(B, offer.tid, Attempt.UNKNOWN)])
    pair.a.engine.mirror([Mirror(B, Record(offer.tid, State.REVOKED, B, "", reason=Reason.REVOKED))])
    assert pair.a.outcome()["reason"] == "revoked"


def test_an_unknown_one_of_another_peer_is_not_lost(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.lost([Batch(HostName("host-c"), (tid,)), Batch(B, (TransferId("0" * 64),))])
    assert pair.a.outcomes() == []


# ---------------------------------------------------------------- B loses its tree


def test_a_fresh_tree_has_another_epoch_and_quarantines_what_an_earlier_one_published(pair: Pair) -> None:
    _, name = pair.cross()
    old = pair.b.engine.epoch
    shutil.rmtree(pair.b.root / "relay")
    pair.b.restart()
    assert pair.b.engine.epoch != old
    assert pair.b.names("handoff") == []
    assert [one.endswith(name) for one in pair.b.names("relay/quarantine")] == [True]


def test_the_whole_pair_agrees_after_b_lost_its_tree(pair: Pair) -> None:
    pair.cross()
    shutil.rmtree(pair.b.root / "relay")
    pair.b.restart()
    pair.greet(pair.a, pair.b)
    pair.follow()
    assert pair.a.outcome()["reason"] == "peer_lost_state"
    pair.cross(name="b.json")
    assert len(pair.b.names("handoff")) == 1


def test_an_epoch_deleted_by_hand_makes_everything_offered_uncertain(pair: Pair) -> None:
    """As is done for a root that came back from a backup (section 17)."""
    _, name = pair.cross()
    (pair.b.root / "relay/epoch").unlink()
    pair.b.restart()
    assert pair.b.names("handoff") == []
    assert pair.b.outcome()["reason"] == "uncertain_power_loss"
    assert name in pair.b.names("rejected")


@pytest.mark.parametrize("change", range(16, 26))
def test_an_epoch_deleted_by_hand_is_not_forgotten_by_a_start_cut_short(pair: Pair, change: int) -> None:
    pair.cross()
    pair.b.engine.stop()  # with the mark `clean`, and back in inbox/
    (pair.b.root / "relay/epoch").unlink()
    pair.b.faults.rest()
    pair.b.faults.crash_after = {change}
    try:
        pair.b.restart()
    except Crash:
        pair.b.restart()
    assert pair.b.names("handoff") == []
    assert pair.b.outcome()["reason"] == "uncertain_power_loss"
