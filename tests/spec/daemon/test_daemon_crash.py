"""kill -9, a power cut and a lost tree: exactly one outcome, the same on both hosts (docs/custody.md section 13)."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.spec.daemon.rig import OURS, Host, Pair, until

BURST = 30

pytestmark = pytest.mark.slow


def boot_of_another_day(host: Host) -> None:
    """What a power cut leaves: the note of a boot that is not this one."""
    (host.root / "relay" / "boot").write_text("00000000-0000-0000-0000-000000000000\n")


def assert_one_end(pair: Pair, tid: str, reason: str = "completed") -> None:
    for host in pair.hosts:
        assert host.ended(tid)["reason"] == reason
    assert not [name for host in pair.hosts for name in host.names("handoff") if tid in name]
    until("custody is empty", lambda: not [n for host in pair.hosts for n in host.in_custody() if tid in n])


def test_a_sender_killed_after_the_take_sends_it_when_it_is_back(stopped_pair: Pair) -> None:
    bob, alice = stopped_pair.hosts
    bob.start().ready()
    tid = bob.hand_over("alice")
    until("it is in custody", lambda: [name for name in bob.in_custody() if tid in name])
    bob.kill()
    bob.start()
    alice.start()
    alice.archive(alice.claim(tid))
    assert_one_end(stopped_pair, tid)


def test_a_sender_killed_before_it_hears_the_answer_asks_again(pair: Pair) -> None:
    pair.alice.signal(signal.SIGSTOP)
    tid = pair.bob.hand_over("alice")
    until("it is on its way", lambda: pair.bob.journal("started", tid=tid))
    pair.bob.kill()
    pair.alice.signal(signal.SIGCONT)
    pair.bob.start()
    pair.alice.archive(pair.alice.claim(tid))
    assert_one_end(pair, tid)


def test_a_receiver_killed_after_it_admitted_has_it_when_it_is_back(pair: Pair) -> None:
    tid = pair.bob.hand_over("alice")
    name = pair.alice.published(tid)
    pair.alice.kill()
    assert name in pair.alice.names("handoff")
    pair.alice.start()
    pair.alice.archive(pair.alice.claim(tid))
    assert_one_end(pair, tid)


@pytest.mark.parametrize("killed", ["bob-vm", "alice-vm", "both"])
def test_a_claim_survives_the_death_of_either_daemon(pair: Pair, killed: str) -> None:
    tid = pair.bob.hand_over("alice")
    name = pair.alice.claim(tid)
    pair.bob.told("claimed", tid=tid)
    victims = [host for host in pair.hosts if killed in (host.name, "both")]
    for host in victims:
        host.kill()
    pair.alice.archive(name)
    for host in victims:
        host.start()
    assert_one_end(pair, tid)


def test_a_claim_over_http_survives_the_death_of_its_daemon(pair: Pair) -> None:
    tid = pair.bob.hand_over("alice")
    pair.alice.published(tid)
    first = pair.alice.post(f"{tid}/accept", b'{"nonce": "mine"}')
    pair.alice.kill()
    pair.alice.start().ready()
    again = pair.alice.post(f"{tid}/accept", b'{"nonce": "mine"}')
    assert (again.status, again.data) == (200, first.data)
    assert pair.alice.post(f"{tid}/accept", b'{"nonce": "other"}').status == 409
    assert pair.alice.post(f"{tid}/complete").status == 200
    assert_one_end(pair, tid)


def test_what_ended_while_both_daemons_were_dead_is_told_when_they_are_back(pair: Pair) -> None:
    tid = pair.bob.hand_over("alice")
    name = pair.alice.published(tid)
    for host in pair.hosts:
        host.kill()
    (pair.alice.root / "handoff" / name).rename(pair.alice.root / "claimed" / name)
    pair.alice.archive(name, f"1790000000-bob-alice-{name}", appended="done meanwhile")
    for host in pair.hosts:
        host.start()
    assert_one_end(pair, tid)


def test_daemons_killed_again_and_again_under_load_bring_each_handoff_to_one_end(pair: Pair) -> None:
    tids = []
    for number in range(BURST):
        tids.append(pair.bob.hand_over("alice"))
        victim = pair.hosts[number % 2]
        if number % 5 == 4:
            victim.kill()
            victim.start()
    for tid in tids:
        pair.alice.archive(pair.alice.claim(tid))
    for tid in tids:
        assert_one_end(pair, tid)
    assert Counter(host.ended(tid)["state"] for tid in tids for host in pair.hosts) == {"completed": 2 * BURST}


def test_a_power_cut_takes_back_what_was_open_to_agents_and_says_so_at_both_ends(pair: Pair) -> None:
    tid = pair.bob.hand_over("alice")
    name = pair.alice.published(tid)
    pair.bob.told("published", tid=tid)
    pair.alice.kill()
    boot_of_another_day(pair.alice)
    pair.alice.start()
    for host in pair.hosts:
        record = host.ended(tid)
        assert (record["state"], record["reason"]) == ("uncertain", "uncertain_power_loss")
        assert record["delivered"] == "unknown"
    assert name not in pair.alice.names("handoff")
    reason = json.loads(pair.alice.read("rejected", f"{name}.reason"))
    assert reason["reason"] == "uncertain_power_loss"


def test_a_power_cut_leaves_a_claim_what_it_is(pair: Pair) -> None:
    tid = pair.bob.hand_over("alice")
    name = pair.alice.claim(tid)
    pair.bob.told("claimed", tid=tid)
    for host in pair.hosts:
        host.kill()
        boot_of_another_day(host)
        host.start()
    pair.alice.archive(name)
    assert_one_end(pair, tid)


def test_an_orderly_stop_before_a_power_cut_makes_nothing_uncertain(pair: Pair) -> None:
    tid = pair.bob.hand_over("alice")
    pair.alice.published(tid)
    assert pair.alice.stop() == 0
    assert pair.alice.read("relay", "boot") == b"clean\n"
    pair.alice.start()
    pair.alice.archive(pair.alice.claim(tid))
    assert_one_end(pair, tid)


WIPES: dict[str, Callable[[Path], None]] = {
    "all of relay/": lambda root: shutil.rmtree(root / "relay"),
    "the epoch alone": lambda root: (root / "relay" / "epoch").unlink(),
}


@pytest.mark.parametrize("wiped", WIPES)
def test_a_peer_that_lost_its_tree_is_found_out_and_the_sender_is_told(pair: Pair, wiped: str) -> None:
    tid = pair.bob.hand_over("alice")
    pair.alice.published(tid)
    pair.bob.told("published", tid=tid)
    pair.alice.kill()
    WIPES[wiped](pair.alice.root)
    pair.alice.start()
    record = pair.bob.ended(tid)
    assert (record["state"], record["reason"], record["delivered"]) == ("unknown", "peer_lost_state", "unknown")
    until("the stray is out of reach", lambda: not [n for n in pair.alice.names("handoff") if OURS.match(n)])
    assert [name for name in pair.alice.names("relay/quarantine") if tid in name] or pair.alice.outcome(tid)
    pair.deliver()


def test_a_tree_that_is_lost_while_its_daemon_runs_ends_the_daemon(pair: Pair) -> None:
    shutil.rmtree(pair.alice.root / "relay")
    assert pair.alice.exit_code() == 1
    assert "was replaced or removed while in use" in pair.alice.log()
