"""handoffd.demo.voice: what is told is what is said."""

import pytest

from handoffd.demo.check import digest, equal
from handoffd.demo.voice import agent_words, daemon_words

SHA = "0123456789ab" + "f" * 52
CLAIMED = {"what": "take", "file": "x.json", "sha256": SHA, "signature": "good"}


def test_a_claim_is_told_with_its_digest_and_signature():
    assert agent_words(CLAIMED)[1] == "claims it by rename: sha256 0123456789ab, signature good"


def test_a_bad_signature_is_not_told_as_a_good_one():
    assert "signature bad" in agent_words(CLAIMED | {"signature": "bad"})[1]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"what": "claim", "lost": "ENOENT"}, "is too late: rename fails, ENOENT"),
        ({"what": "accept", "lost": "409", "reason": "already_claimed"}, "is too late: HTTP 409 already_claimed"),
    ],
)
def test_a_lost_race_is_told_with_its_error(told, words):
    assert agent_words(told)[1] == words


def test_a_published_name_is_cut_to_fit_a_line():
    words = agent_words({"what": "see", "file": f"00112233445566ff-r{SHA}.json", "sha256": SHA})[1]

    assert words == "sees handoff/00112233445566ff-r0123456789ab...json"


def test_the_same_event_is_told_differently_at_both_ends():
    line = {"event": "claimed", "from": "bob", "to": "alice"}

    assert daemon_words(line | {"role": "receiver"})[1] == "sees that alice has it"
    assert daemon_words(line | {"role": "sender"})[1] == "knows that alice has it"


def test_what_a_spectator_need_not_know_is_left_out():
    assert daemon_words({"event": "config_reloaded"}) is None


def test_equal_digests_keep_a_promise_and_others_do_not():
    assert equal("bytes", SHA, SHA).kept
    assert not equal("bytes", SHA, SHA[::-1]).kept
    assert "is not" in equal("bytes", SHA, SHA[::-1]).seen


def test_a_digest_is_that_of_the_file(tmp_path):
    (tmp_path / "empty").touch()

    assert digest(tmp_path / "empty").startswith("e3b0c44298fc1c14")
