"""The main job: a file written on one host is claimed on the other, unaltered, in both directions at once."""

import hashlib
import json

from harness.books import all_ended, audit
from harness.engine import eventually
from harness.host import ROOT, Host
from harness.pair import Pair


def test_a_handoff_is_claimed_on_the_other_host_with_its_exact_bytes(pair: Pair) -> None:
    pair.alice.listen("--ending", "none")
    written = pair.bob.hand_over_one("alice")
    (claim,) = eventually("alice claims it", lambda: pair.alice.ledger(what="claimed"))
    assert claim["sha256"] == written.tid
    assert claim["handoff_id"] == written.handoff_id


def test_the_sender_sees_it_leave_and_then_sees_it_claimed(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice")
    eventually("it has left bob's handoff/", lambda: pair.bob.ls("handoff") == [])
    eventually("it waits on alice's host", lambda: len(pair.alice.ls("handoff")) == 1)
    assert pair.bob.ls("claimed") == []
    pair.alice.listen("--ending", "none")
    eventually("bob sees the claim", lambda: pair.bob.ls("claimed") == [written.file])
    assert pair.bob.digest("claimed", written.file) == written.tid


def test_both_hosts_hand_over_to_each_other_at_the_same_time(pair: Pair) -> None:
    pair.alice.listen()
    pair.bob.listen()
    pair.alice.begin(*pair.alice.initiator("bob", "--count", "50", "--callers", "50"))
    pair.bob.hand_over("alice", "--count", "50", "--callers", "50")
    eventually("both have written fifty", lambda: len(written_by(pair)) == 100)
    eventually("all have ended", lambda: all_ended(pair))
    books = audit(pair)
    assert books.faults == []
    assert books.ends == {"completed": 100}
    assert books.artefacts_missing == 0


def test_a_handoff_between_two_agents_of_one_host_is_left_to_them(pair: Pair) -> None:
    written = pair.bob.hand_over_one("bob", "--from", "gordon")
    # One that travels shows that the daemon has looked at the directory since.
    pair.bob.hand_over_one("alice", caller="Somebody else")
    eventually("the other one has arrived", lambda: len(pair.alice.ls("handoff")) == 1)
    assert pair.bob.ls("handoff") == [written.file]
    pair.bob.listen()
    (claim,) = eventually("bob claims it himself", lambda: pair.bob.ledger(what="claimed"))
    assert (claim["file"], claim["sha256"]) == (written.file, written.tid)


def test_an_agent_that_posts_to_its_hub_reaches_an_agent_of_that_host(pair: Pair) -> None:
    payload = pair.bob.compose_payload("gordon")
    answer = pair.bob.post(payload)
    assert answer["status"] in (200, 201, 202)
    assert answer["body"]["handoff_id"] == json.loads(payload)["handoff_id"]
    assert answer["body"]["status"] == "pending"
    pair.bob.listen("--agent", "gordon", name="gordon")
    (claim,) = eventually("gordon claims it by file", lambda: pair.bob.ledger("gordon", "claimed"))
    assert claim["sha256"] == hashlib.sha256(payload).hexdigest()


def test_an_agent_that_posts_to_its_own_hub_reaches_an_agent_of_another_host(pair: Pair) -> None:
    pair.alice.listen()
    payload = pair.bob.compose_payload("alice")
    answer = pair.bob.post(payload)
    assert (answer["status"], answer["body"]["status"]) == (201, "pending")
    tid = hashlib.sha256(payload).hexdigest()
    eventually("alice claims it by file", lambda: tid in [c["sha256"] for c in pair.alice.ledger("alice", "claimed")])
    assert pair.bob.final(tid)["state"] == "completed"


def test_an_agent_that_nobody_knows_is_told_to_be_not_here(pair: Pair) -> None:
    answer = pair.bob.post(pair.bob.compose_payload("zoe"))
    assert (answer["status"], answer["body"]["reason"]) == (421, "not_here")


def test_the_journal_of_both_hosts_tells_the_story_in_plain_words(pair: Pair) -> None:
    pair.alice.listen("--ending", "none")
    written = pair.bob.hand_over_one("alice")
    for host in pair.hosts:
        eventually(f"{host.name} tells of the claim", lambda host=host: "claimed" in words(host, written.tid))
    (name,) = pair.alice.ls("claimed")
    pair.alice.execute("mv", f"{ROOT}/claimed/{name}", f"{ROOT}/archive/{name}")
    assert told(pair.bob, written.tid) == ["started", "stored", "published", "claimed", "completed"]
    assert told(pair.alice, written.tid) == ["stored", "published", "claimed", "completed"]


def told(host: Host, tid: str) -> list[str]:
    """Return what a journal says of one handoff, once it has told its end."""

    eventually(f"the journal of {host.name} tells the end", lambda: "completed" in words(host, tid))
    return words(host, tid)


def words(host: Host, tid: str) -> list[str]:
    return [line["event"] for line in host.journal() if line.get("tid") == tid]


def written_by(pair: Pair) -> list[object]:
    return [line for host in pair.hosts for line in host.ledger(what="written")]
