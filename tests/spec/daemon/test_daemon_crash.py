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


def test_a_sender_killed_after_the_take_sends_it_when_it_is_back(hardy_pair: Pair) -> None:
    bob, alice = hardy_pair.hosts
    alice.kill()
    tid = bob.hand_over("alice")
    until("it is in custody", lambda: [name for name in bob.in_custody() if tid in name])
    bob.kill()
    bob.start()
    alice.start()
    alice.archive(alice.claim(tid))
    assert_one_end(hardy_pair, tid)


def test_a_sender_killed_before_it_hears_the_answer_asks_again(hardy_pair: Pair) -> None:
    hardy_pair.alice.freeze()
    tid = hardy_pair.bob.hand_over("alice")
    until("it is on its way", lambda: hardy_pair.bob.journal("started", tid=tid))
    hardy_pair.bob.kill()
    hardy_pair.alice.signal(signal.SIGCONT)
    hardy_pair.bob.start()
    hardy_pair.alice.archive(hardy_pair.alice.claim(tid))
    assert_one_end(hardy_pair, tid)


def test_a_receiver_killed_after_it_admitted_has_it_when_it_is_back(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.published(tid)
    hardy_pair.alice.kill()
    assert name in hardy_pair.alice.names("handoff")
    hardy_pair.alice.start()
    hardy_pair.alice.archive(hardy_pair.alice.claim(tid))
    assert_one_end(hardy_pair, tid)


@pytest.mark.parametrize("killed", ["bob-vm", "alice-vm", "both"])
def test_a_claim_survives_the_death_of_either_daemon(hardy_pair: Pair, killed: str) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.claim(tid)
    hardy_pair.bob.told("claimed", tid=tid)
    victims = [host for host in hardy_pair.hosts if killed in (host.name, "both")]
    for host in victims:
        host.kill()
    hardy_pair.alice.archive(name)
    for host in victims:
        host.start()
    assert_one_end(hardy_pair, tid)


def test_a_claim_over_http_survives_the_death_of_its_daemon(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    hardy_pair.alice.published(tid)
    first = hardy_pair.alice.post(f"{tid}/accept", b'{"nonce": "mine"}')
    hardy_pair.alice.kill()
    hardy_pair.alice.start().ready()
    again = hardy_pair.alice.post(f"{tid}/accept", b'{"nonce": "mine"}')
    assert (again.status, again.data) == (200, first.data)
    assert hardy_pair.alice.post(f"{tid}/accept", b'{"nonce": "other"}').status == 409
    assert hardy_pair.alice.post(f"{tid}/complete").status == 200
    assert_one_end(hardy_pair, tid)


def test_what_ended_while_both_daemons_were_dead_is_told_when_they_are_back(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.published(tid)
    for host in hardy_pair.hosts:
        host.kill()
    (hardy_pair.alice.root / "handoff" / name).rename(hardy_pair.alice.root / "claimed" / name)
    hardy_pair.alice.archive(name, f"1790000000-bob-alice-{name}", appended="done meanwhile")
    for host in hardy_pair.hosts:
        host.start()
    assert_one_end(hardy_pair, tid)


def test_daemons_killed_again_and_again_under_load_bring_each_handoff_to_one_end(hardy_pair: Pair) -> None:
    tids = []
    for number in range(BURST):
        tids.append(hardy_pair.bob.hand_over("alice"))
        victim = hardy_pair.hosts[number % 2]
        if number % 5 == 4:
            victim.kill()
            victim.start()
    for tid in tids:
        hardy_pair.alice.archive(hardy_pair.alice.claim(tid))
    for tid in tids:
        assert_one_end(hardy_pair, tid)
    assert Counter(host.ended(tid)["state"] for tid in tids for host in hardy_pair.hosts) == {"completed": 2 * BURST}


def test_a_power_cut_takes_back_what_was_open_to_agents_and_says_so_at_both_ends(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.published(tid)
    hardy_pair.bob.told("published", tid=tid)
    hardy_pair.alice.kill()
    boot_of_another_day(hardy_pair.alice)
    hardy_pair.alice.start()
    for host in hardy_pair.hosts:
        record = host.ended(tid)
        assert (record["state"], record["reason"]) == ("uncertain", "uncertain_power_loss")
        assert record["delivered"] == "unknown"
    assert name not in hardy_pair.alice.names("handoff")
    reason = json.loads(hardy_pair.alice.read("rejected", f"{name}.reason"))
    assert reason["reason"] == "uncertain_power_loss"


def test_a_power_cut_leaves_a_claim_what_it_is(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    name = hardy_pair.alice.claim(tid)
    hardy_pair.bob.told("claimed", tid=tid)
    for host in hardy_pair.hosts:
        host.kill()
        boot_of_another_day(host)
        host.start()
    hardy_pair.alice.archive(name)
    assert_one_end(hardy_pair, tid)


def test_an_orderly_stop_before_a_power_cut_makes_nothing_uncertain(hardy_pair: Pair) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    hardy_pair.alice.published(tid)
    assert hardy_pair.alice.stop() == 0
    assert hardy_pair.alice.read("relay", "boot") == b"clean\n"
    hardy_pair.alice.start()
    hardy_pair.alice.archive(hardy_pair.alice.claim(tid))
    assert_one_end(hardy_pair, tid)


WIPES: dict[str, Callable[[Path], None]] = {
    "all of relay/": lambda root: shutil.rmtree(root / "relay"),
    "the epoch alone": lambda root: (root / "relay" / "epoch").unlink(),
}


@pytest.mark.parametrize("wiped", WIPES)
def test_a_peer_that_lost_its_tree_is_found_out_and_the_sender_is_told(hardy_pair: Pair, wiped: str) -> None:
    tid = hardy_pair.bob.hand_over("alice")
    hardy_pair.alice.published(tid)
    hardy_pair.bob.told("published", tid=tid)
    hardy_pair.alice.kill()
    WIPES[wiped](hardy_pair.alice.root)
    hardy_pair.alice.start()
    record = hardy_pair.bob.ended(tid)
    assert (record["state"], record["reason"], record["delivered"]) == ("unknown", "peer_lost_state", "unknown")
    until("the stray is out of reach", lambda: not [n for n in hardy_pair.alice.names("handoff") if OURS.match(n)])
    assert [name for name in hardy_pair.alice.names("relay/quarantine") if tid in name] or hardy_pair.alice.outcome(tid)
    hardy_pair.deliver()


def test_a_tree_that_is_lost_while_its_daemon_runs_ends_the_daemon(hardy_pair: Pair) -> None:
    relay = hardy_pair.alice.root / "relay"
    # Again while the daemon writes into it.
    until("its tree is lost", lambda: shutil.rmtree(relay, ignore_errors=True) or not relay.exists())
    assert hardy_pair.alice.exit_code() == 1
    assert "was replaced or removed while in use" in hardy_pair.alice.log()
