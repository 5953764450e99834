"""The agents of this suite among themselves, in one directory, with no daemon: what everything else rests on."""

import json

from harness.engine import eventually
from harness.host import Host
from harness.pair import Pair


def test_an_agent_hands_a_caller_to_its_neighbour_without_any_daemon(strangers: Pair) -> None:
    alice = strangers.alice
    alice.listen()
    written = alice.hand_over_one("alice", "--from", "gordon")
    (claim,) = eventually("alice claims it", lambda: alice.ledger(what="claimed"))
    assert claim["sha256"] == written.tid
    (end,) = eventually("alice archives it", lambda: alice.ledger(what="archived"))
    final = json.loads(alice.read("archive", end["file"]))
    assert end["file"].endswith(f"-gordon-alice-{written.handoff_id}.json")
    assert final["transcript"][-1]["text"] == "Thank you, goodbye."
    assert alice.ls("handoff") == alice.ls("claimed") == []


def test_two_listeners_of_one_agent_never_both_have_a_handoff(strangers: Pair) -> None:
    alice = strangers.alice
    alice.listen("--greedy", name="first")
    alice.listen("--greedy", name="second")
    written = alice.hand_over("alice", "--from", "gordon", "--count", "200", "--callers", "200")
    eventually("all are archived", lambda: archived(alice) == len(written))
    assert sorted(claimed(alice)) == sorted(one.tid for one in written)


def test_a_name_is_counted_from_the_files_that_are_there(strangers: Pair) -> None:
    alice = strangers.alice
    first, second = alice.hand_over("alice", "--from", "gordon", "--count", "2")
    assert (first.file[-7:], second.file[-7:]) == ("-0.json", "-1.json")
    (alice.root / "handoff" / first.file).unlink()
    (third,) = alice.hand_over("alice", "--from", "gordon")
    assert third.file == first.file
    assert third.tid != first.tid


def test_a_handoff_signed_with_another_secret_is_rejected_by_the_agent(strangers: Pair) -> None:
    alice = strangers.alice
    (alice.suite / "pair.key").write_text("another secret")
    alice.hand_over_one("alice", "--from", "gordon")
    (alice.suite / "pair.key").write_text(strangers.pair_secret)
    alice.listen()
    (end,) = eventually("alice rejects it", lambda: alice.ledger(what="rejected"))
    assert end["reason"] == "bad_hmac"
    assert json.loads(alice.read("rejected", end["file"]))["rejection_reason"] == "bad_hmac"


def archived(host: Host) -> int:
    return len(host.ledger("first", "archived")) + len(host.ledger("second", "archived"))


def claimed(host: Host) -> list[str]:
    return [line["sha256"] for name in ("first", "second") for line in host.ledger(name, "claimed")]
