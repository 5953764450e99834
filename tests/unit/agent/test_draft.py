import json

import pytest

from handoffd.agent import Draft, Inadmissible
from handoffd.agent.draft import compose
from handoffd.protocol.signature import verify

TEN = 1_795_168_800.0


def test_a_draft_becomes_a_signed_payload_of_version_1() -> None:
    turns = [{"role": "user", "text": "får jag prata med Alice? 🎧"}]
    data, envelope = compose(Draft(to="alice", reason="asked", transcript=turns, summary="s"), "bob", b"k", TEN)
    fields = json.loads(data)
    assert verify(data, b"k")
    assert fields["handoff_id"] == f"1795168800-bob-alice-{fields['caller_hash']}" == envelope.handoff_id
    assert (fields["initiated_at"], fields["expires_at"]) == ("2026-11-20T10:00:00.000Z", "2026-11-20T10:01:00.000Z")
    assert (fields["transcript"], fields["context_summary"]) == (turns, "s")


def test_without_a_caller_two_drafts_never_share_a_name() -> None:
    hashes = {compose(Draft(to="alice", reason=""), "bob", b"k", TEN)[1].caller_hash for _ in range(20)}
    assert len(hashes) == 20


def test_without_a_summary_the_field_is_absent() -> None:
    data, _ = compose(Draft(to="alice", reason=""), "bob", b"k", TEN)
    assert "context_summary" not in json.loads(data)


def test_extra_fields_are_signed() -> None:
    data, _ = compose(Draft(to="alice", reason="", extra={"cost": 1.0}), "bob", b"k", TEN)
    assert b'"cost":1.0' in data
    assert not verify(data.replace(b'"cost":1.0', b'"cost":1'), b"k")


@pytest.mark.parametrize("name", ["hmac", "to_agent", "context_summary"])
def test_an_extra_field_cannot_replace_one_of_the_contract(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        compose(Draft(to="alice", reason="", extra={name: "x"}), "bob", b"k", TEN)


@pytest.mark.parametrize(
    ("draft", "place"),
    [
        (Draft(to="Alice", reason=""), "to_agent"),
        (Draft(to="bob", reason=""), "the same"),
        (Draft(to="alice", reason="", caller_hash="short"), "caller_hash"),
        (Draft(to="alice", reason="", ttl_s=0), "expires_at"),
        (Draft(to="alice", reason="", ttl_s=8 * 86_400), "expires_at"),
        (Draft(to="alice", reason="", transcript=[{"role": "user"}]), "transcript[0]"),
        (Draft(to="alice", reason="\ud800"), "surrogate"),
        (Draft(to="alice", reason="x" * (1 << 20)), "bytes"),
        (Draft(to="alice", reason="", extra={"x": float("nan")}), "NaN"),
    ],
)
def test_what_no_daemon_would_carry_is_told_to_its_author(draft: Draft, place: str) -> None:
    with pytest.raises(Inadmissible) as caught:
        compose(draft, "bob", b"k", TEN)
    assert place in caught.value.detail
