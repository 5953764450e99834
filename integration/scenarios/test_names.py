"""Names that meet: two handoffs with one handoff_id, and one file name on both hosts."""

import json

from harness.books import all_ended, audit
from harness.engine import eventually
from harness.pair import Pair


def test_two_handoffs_with_the_same_handoff_id_are_both_delivered(pair: Pair) -> None:
    # The agent talks for longer than a second: its own archive names hold the second and the handoff_id, no more.
    pair.alice.listen("--talk", "1.1")
    written = pair.bob.hand_over("alice", "--count", "2", "--handoff-id", "1790000000-bob-alice-b275013166a65f69")
    assert len({one.handoff_id for one in written}) == 1
    eventually("both have ended", lambda: all_ended(pair))
    books = audit(pair)
    assert books.faults == []
    assert books.ends == {"completed": 2}
    assert books.artefacts_missing == 0


def test_of_two_with_the_same_handoff_id_one_can_be_rejected_and_the_other_completed(pair: Pair) -> None:
    pair.alice.listen("--talk", "1.1")
    label = "1790000000-bob-alice-b275013166a65f69"
    wanted, unwanted = pair.bob.hand_over("alice", "--count", "2", "--handoff-id", label, "--refused-every", "2")
    assert pair.bob.final(wanted.tid)["reason"] == "completed"
    assert pair.bob.final(unwanted.tid)["reason"] == "rejected_by_agent"


def test_the_same_file_name_from_both_hosts_means_two_handoffs(pair: Pair) -> None:
    there = pair.bob.hand_over_one("alice", caller="The same caller")
    back = pair.alice.hand_over_one("bob", caller="The same caller")
    assert there.file == back.file
    pair.bob.listen()
    pair.alice.listen()
    eventually("both have ended", lambda: all_ended(pair))
    books = audit(pair)
    assert books.faults == []
    assert books.ends == {"completed": 2}
    assert books.artefacts_missing == 0


def test_a_file_name_used_again_after_the_first_was_claimed_means_another_handoff(pair: Pair) -> None:
    pair.alice.listen("--ending", "none")
    first = pair.bob.hand_over_one("alice")
    eventually("bob sees the first claim", lambda: len(pair.bob.ls("claimed")) == 1)
    second = pair.bob.hand_over_one("alice")
    assert second.file == first.file
    eventually("bob sees both", lambda: len(pair.bob.ls("claimed")) == 2)
    names = pair.bob.ls("claimed")
    assert first.file in names
    assert {pair.bob.digest("claimed", name) for name in names} == {first.tid, second.tid}


def test_the_bytes_of_a_writer_with_other_habits_arrive_as_they_were(pair: Pair) -> None:
    payload = json.loads(pair.bob.compose_payload("alice"))
    pretty = json.dumps(payload, indent=3, ensure_ascii=False).encode()
    tid = pair.bob.drop("pretty-1.json", pretty)
    pair.alice.listen("--ending", "none")
    (claim,) = eventually("alice claims it", lambda: pair.alice.ledger(what="claimed"))
    assert claim["sha256"] == tid
