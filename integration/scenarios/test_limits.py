"""What is too large or could harm an agent is refused, with a reason, and never reaches the other host."""

import json

from harness.engine import eventually
from harness.pair import Pair

MIB = 1 << 20
LIMIT_BYTES = MIB
TOO_MUCH_BYTES = LIMIT_BYTES + 8 * MIB


def test_a_file_eight_mib_over_the_limit_is_refused_where_it_was_written(pair: Pair) -> None:
    pair.alice.listen()
    written = pair.bob.hand_over_one("alice", "--filler-bytes", str(TOO_MUCH_BYTES))
    refusal = eventually("bob finds the reason", lambda: refusals(pair))
    assert refusal[0]["reason"] == "too_large"
    assert pair.bob.ls("handoff") == []
    eventually(
        "bob has it back", lambda: written.tid in [pair.bob.digest("rejected", n) for n in pair.bob.ls("rejected")]
    )
    assert_alice_hears_only_of_the_next(pair)


def test_a_request_eight_mib_over_the_limit_is_refused_at_once(pair: Pair) -> None:
    pair.alice.listen()
    answer = pair.bob.post(pair.bob.compose_payload("alice", "--filler-bytes", str(TOO_MUCH_BYTES)))
    assert answer["status"] == 413
    assert answer["body"]["reason"] == "too_large"
    assert_alice_hears_only_of_the_next(pair)


def test_a_payload_just_below_the_limit_travels_whole(pair: Pair) -> None:
    pair.alice.listen()
    written = pair.bob.hand_over_one("alice", "--filler-bytes", str(LIMIT_BYTES - 4_096))
    assert pair.bob.final(written.tid)["reason"] == "completed"
    assert [claim["sha256"] for claim in pair.alice.ledger(what="claimed")] == [written.tid]


HOSTILE = {
    "a transcript that is no list": {"transcript": "hello"},
    "a turn without text": {"transcript": [{"role": "user"}]},
    "a turn whose text is a number": {"transcript": [{"role": "user", "text": 7}]},
    "a true protocol version": {"protocol_version": True},
    "no expiry": {"expires_at": None},
    "an expiry without a zone": {"expires_at": "2026-11-20T10:00:00"},
    "a handoff_id that is a path": {"handoff_id": "../../etc/passwd"},
}


def test_what_would_take_a_listener_down_is_never_shown_to_it(pair: Pair) -> None:
    pair.alice.listen()
    payload = json.loads(pair.bob.compose_payload("alice"))
    texts = [json.dumps(payload | change).encode() for change in HOSTILE.values()]
    dropped = {pair.bob.drop(f"hostile-{number}.json", text) for number, text in enumerate(texts)}
    eventually("bob finds a reason for each", lambda: len(refusals(pair)) == len(HOSTILE))
    assert {refusal["reason"] for refusal in refusals(pair)} == {"malformed"}
    assert {refusal["tid"] for refusal in refusals(pair)} == dropped
    assert_alice_hears_only_of_the_next(pair)


def refusals(pair: Pair) -> list[dict[str, str]]:
    names = [name for name in pair.bob.ls("rejected") if name.endswith(".reason")]
    return [json.loads(pair.bob.read("rejected", name)) for name in names]


def assert_alice_hears_only_of_the_next(pair: Pair) -> None:
    """A good one arrives, so the link works and the listener lives; and nothing came before it."""
    written = pair.bob.hand_over_one("alice", caller="A good one")
    assert pair.bob.final(written.tid)["reason"] == "completed"
    assert [claim["sha256"] for claim in pair.alice.ledger(what="claimed")] == [written.tid]
    assert pair.alice.agents_log() == []
