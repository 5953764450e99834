"""The outcome comes home as a file: archived with the final transcript, moved as it was, or rejected with a reason."""

import json

from harness.engine import eventually
from harness.host import ROOT
from harness.pair import Pair


def test_the_final_transcript_comes_home_beside_the_original(pair: Pair) -> None:
    pair.alice.listen("--ending", "append")
    written = pair.bob.hand_over_one("alice")
    assert pair.bob.final(written.tid)["reason"] == "completed"
    (end,) = eventually("alice has noted it", lambda: pair.alice.ledger(what="archived"))
    eventually("both files are home", lambda: pair.bob.ls("archive") == [end["file"], f"{end['file']}.original"])
    assert pair.bob.digest("archive", end["file"]) == end["sha256"]
    assert pair.bob.digest("archive", f"{end['file']}.original") == written.tid
    final = json.loads(pair.bob.read("archive", end["file"]))
    assert final["transcript"][-1]["text"] == "Thank you, goodbye."
    assert pair.bob.ls("claimed") == pair.bob.ls("handoff") == []


def test_a_file_that_was_only_moved_comes_home_under_the_name_it_was_written_with(pair: Pair) -> None:
    pair.alice.listen("--ending", "move")
    written = pair.bob.hand_over_one("alice")
    outcome = pair.bob.final(written.tid)
    assert (outcome["reason"], outcome["artefact"]) == ("completed", None)
    eventually("it is in bob's archive", lambda: pair.bob.ls("archive") == [written.file])
    assert pair.bob.digest("archive", written.file) == written.tid


def test_a_rejection_comes_home_with_the_agents_own_words(pair: Pair) -> None:
    pair.alice.listen()
    written = pair.bob.hand_over_one("alice", "--reason", "unwanted")
    outcome = pair.bob.final(written.tid)
    assert (outcome["state"], outcome["reason"]) == ("rejected", "rejected_by_agent")
    assert outcome["detail"] == "not_my_department"
    assert outcome["delivered"] == "claimed"
    (end,) = eventually("alice has noted it", lambda: pair.alice.ledger(what="rejected"))
    name = end["file"]
    home = [name, f"{name}.original", f"{name}.reason"]
    eventually("the agent's file, bob's own and the reason are home", lambda: pair.bob.ls("rejected") == home)
    assert json.loads(pair.bob.read("rejected", name))["rejection_reason"] == "not_my_department"
    assert pair.bob.digest("rejected", f"{name}.original") == written.tid
    assert json.loads(pair.bob.read("rejected", f"{name}.reason"))["reason"] == "rejected_by_agent"


def test_a_rejection_by_a_plain_move_comes_home_too(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice")
    (name,) = eventually("it waits on alice's host", lambda: pair.alice.ls("handoff"))
    for place, target in (("handoff", "claimed"), ("claimed", "rejected")):
        pair.alice.execute("mv", f"{ROOT}/{place}/{name}", f"{ROOT}/{target}/{name}")
    outcome = pair.bob.final(written.tid)
    assert (outcome["reason"], outcome["artefact"]) == ("rejected_by_agent", None)
    own = f"{written.file.removesuffix('.json')}.r{written.tid[:12]}.json"
    eventually("bob's own and the reason are home", lambda: pair.bob.ls("rejected") == [own, f"{own}.reason"])


def test_both_hosts_hold_the_same_outcome(pair: Pair) -> None:
    pair.alice.listen()
    written = pair.bob.hand_over_one("alice")
    ours, theirs = pair.bob.final(written.tid), pair.alice.final(written.tid)
    for key in ("tid", "handoff_id", "identity", "state", "reason", "delivered", "by", "artefact"):
        assert ours[key] == theirs[key]


def test_an_outcome_reached_while_the_senders_daemon_was_down_comes_home_later(pair: Pair) -> None:
    written = pair.bob.hand_over_one("alice")
    eventually("it waits on alice's host", lambda: len(pair.alice.ls("handoff")) == 1)
    pair.bob.stop_daemon()
    pair.alice.listen()
    pair.alice.final(written.tid)
    assert pair.bob.outcome(written.tid) is None
    pair.bob.start_daemon()
    assert pair.bob.final(written.tid)["reason"] == "completed"
