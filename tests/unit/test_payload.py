import json
from pathlib import Path
from typing import Any

import pytest

from handoffd.protocol.payload import glance, identity_of, label, rejection_words, route, transfer_id

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "handoff_v1.json").read_text(encoding="utf-8")
)["vectors"]

HOSTILE = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"to_agent": 1, "from_agent": []}',
    b'{"to_agent": "\\ud800", "from_agent": "bob", "error": "\\udfff", "hmac": "\\ud800", "handoff_id": {}}',
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_both_identities_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    fields = json.loads(vector["text"])
    named = (fields[key] for key in ("from_agent", "to_agent", "handoff_id", "hmac"))
    assert transfer_id(vector["text"].encode()) == vector["tid"]
    assert identity_of(*named) == vector["identity"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_route_names_sender_target_label_and_expiry(vector: dict[str, Any]) -> None:
    fields = json.loads(vector["text"])
    found = route(vector["text"].encode())
    assert found is not None
    assert (found.sender, found.to, found.handoff_id) == (
        fields["from_agent"],
        fields["to_agent"],
        fields["handoff_id"],
    )
    assert found.expires_at in (1_795_168_860.0, 1_795_168_860.123456, 1_795_172_400.0)


def test_a_route_needs_only_the_two_names() -> None:
    found = route(b'{"from_agent": "bob", "to_agent": "no such agent", "expires_at": "soon", "handoff_id": 7}')
    assert found is not None
    assert (found.to, found.expires_at, found.handoff_id) == ("no such agent", None, None)


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes_have_no_route_no_label_and_no_words(data: bytes) -> None:
    assert route(data) is None
    assert label(data) == (None, None)
    assert rejection_words(data) == ""


def test_a_rewritten_file_is_known_by_its_label() -> None:
    assert label(b'{"hmac": "H", "handoff_id": "I", "transcript": ["more"]}') == ("I", "H")


@pytest.mark.parametrize("field", ["rejection_reason", "reject_reason", "rejected_reason", "error"])
def test_each_field_agents_use_for_a_refusal_is_read(field: str) -> None:
    assert rejection_words(json.dumps({"reason": "why sent", field: "line busy"}).encode()) == "line busy"


def test_the_first_field_with_words_wins() -> None:
    data = json.dumps({"error": "d", "rejected_reason": "c", "reject_reason": "", "rejection_reason": 1})
    assert rejection_words(data.encode()) == "c"


def test_words_are_cut_to_500_characters() -> None:
    assert rejection_words(json.dumps({"error": "å" * 2_000}).encode()) == "å" * 500


@pytest.mark.parametrize("data", [VECTORS[0]["text"].encode(), *HOSTILE], ids=lambda data: repr(data[:20]))
def test_a_glance_sees_what_route_and_label_see(data: bytes) -> None:
    way, handoff_id, hmac = glance(data)
    assert (way, (handoff_id, hmac)) == (route(data), label(data))
