"""Who may talk to whom: a wrong token, certificate or sender gets nowhere, and does not stop the right ones."""

from harness.engine import eventually
from harness.pair import Pair

SHORT_S = 4.0
WRONG_TOKEN = "a-token-that-alice-vm-was-never-told-of-0123456789"


def test_with_a_wrong_token_nothing_is_delivered(strangers: Pair) -> None:
    strangers.write(strangers.bob, "peers/alice-vm.out", WRONG_TOKEN)
    strangers.start_unlinked()
    strangers.alice.listen()
    assert_never_sent(strangers)


def test_with_the_right_token_again_the_next_handoff_travels(strangers: Pair) -> None:
    strangers.write(strangers.bob, "peers/alice-vm.out", WRONG_TOKEN)
    strangers.start_unlinked()
    strangers.alice.listen()
    assert_never_sent(strangers)
    strangers.restore_configuration(strangers.bob)
    strangers.bob.restart_daemon()
    assert_travels(strangers)


def test_a_peer_with_another_certificate_than_the_pinned_one_gets_nothing(strangers: Pair) -> None:
    strangers.expect_another_certificate(strangers.bob)
    strangers.start_unlinked()
    strangers.alice.listen()
    assert_never_sent(strangers)


def test_a_wrong_certificate_one_way_does_not_stop_the_other_way(strangers: Pair) -> None:
    strangers.expect_another_certificate(strangers.bob)
    strangers.start_unlinked()
    strangers.bob.listen()
    written = strangers.alice.hand_over_one("bob")
    assert strangers.alice.final(written.tid)["reason"] == "completed"


def test_a_peer_may_not_send_for_an_agent_that_is_not_its_own(strangers: Pair) -> None:
    strangers.edit(strangers.alice, "peers.d/bob-vm.yaml", "agents: [bob, gordon]", "agents: [bob]")
    strangers.start()
    strangers.alice.listen()
    written = strangers.bob.hand_over_one("alice", "--from", "gordon")
    outcome = strangers.bob.final(written.tid)
    assert outcome["reason"] == "refused_policy"
    assert outcome["delivered"] in ("never_sent", "not_delivered")
    assert strangers.alice.ledger(what="claimed") == []
    assert_travels(strangers)


def test_an_agent_without_the_right_token_is_turned_away_by_its_own_hub(pair: Pair) -> None:
    payload = pair.bob.compose_payload("alice")
    (pair.bob.suite / "bob.token").write_text("guessed")
    assert pair.bob.post(payload)["status"] == 401
    eventually("the link is up", lambda: pair.bob.ls("relay/peers"))
    assert pair.alice.ls("handoff") == []


def assert_never_sent(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice", lifetime_s=SHORT_S)
    outcome = pair.bob.final(written.tid)
    assert (outcome["reason"], outcome["delivered"]) == ("expired", "never_sent")
    assert pair.alice.outcome(written.tid) is None
    assert pair.alice.ledger(what="claimed") == []


def assert_travels(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice")
    assert pair.bob.final(written.tid)["reason"] == "completed"
