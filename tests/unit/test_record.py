"""protocol/record.py: what is written into outcome/ and sent to peers is read back whole or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import STATE_OF, Delivered, Reason, State
from handoffd.protocol.record import (
    DETAIL_LIMIT,
    Artefact,
    BadRecord,
    Record,
    decode,
    encode,
    from_fields,
    raised,
    to_fields,
)

T = TransferId("ab" * 32)
AT = "2026-11-20T10:00:00.000Z"
FULL = Record(
    tid=T,
    state=State.COMPLETED,
    by="alice-vm",
    at=AT,
    handoff_id="1790000000-bob-alice-0011223344556677",
    identity="cd" * 32,
    sender="bob",
    to="alice",
    peer="alice-vm",
    file="0011223344556677-0.json",
    reason=Reason.COMPLETED,
    delivered=Delivered.CLAIMED,
    expires_at=AT,
    clock_offset_ms=-12,
    detail="well",
    artefact=Artefact("end.json", "ef" * 32, 7),
    edges={"stored": AT, "completed": AT},
)


def changed(**fields: object) -> dict[str, Any]:
    return {**to_fields(FULL), **fields}


def test_a_full_record_comes_back_as_it_was() -> None:
    assert decode(encode(FULL)) == FULL


def test_it_is_one_line_with_the_keys_of_the_specification() -> None:
    line = encode(FULL)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == [
        "tid",
        "handoff_id",
        "identity",
        "from",
        "to",
        "peer",
        "file",
        "state",
        "reason",
        "delivered",
        "by",
        "expires_at",
        "at",
        "clock_offset_ms",
        "detail",
        "artefact",
        "edges",
    ]


def test_a_tombstone_has_no_identity_and_no_names() -> None:
    tombstone = Record(T, State.REVOKED, "alice-vm", AT, reason=Reason.REVOKED)
    fields = to_fields(decode(encode(tombstone)))
    assert [fields[key] for key in ("handoff_id", "identity", "from", "to", "file")] == [None] * 5


@pytest.mark.parametrize("reason", list(Reason))
def test_every_end_can_be_recorded(reason: Reason) -> None:
    record = Record(T, STATE_OF[reason], "a", AT, reason=reason)
    assert decode(encode(record)) == record


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b'"x"', b"\xff", b"{}", b"[" * 100_000])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(BadRecord):
        decode(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"tid": None},
        {"tid": "../x"},
        {"state": "done"},
        {"state": None},
        {"state": "expired"},
        {"reason": None},
        {"reason": "because"},
        {"delivered": "perhaps"},
        {"handoff_id": "../x"},
        {"identity": "x"},
        {"from": "Bob"},
        {"to": 1},
        {"file": "/etc/passwd"},
        {"peer": 7},
        {"detail": []},
        {"expires_at": 1.5},
        {"clock_offset_ms": True},
        {"clock_offset_ms": "1"},
        {"artefact": "end.json"},
        {"artefact": {"name": "../x", "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "", "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "..", "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "x" * 256, "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "x", "sha256": "ef", "size": 1}},
        {"artefact": {"name": "x", "sha256": "ef" * 32, "size": -1}},
        {"artefact": {"name": "x", "sha256": "ef" * 32, "size": None}},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRecord):
        from_fields(changed(**fields))


def test_unknown_keys_and_odd_edges_are_ignored() -> None:
    record = from_fields(changed(new="field", edges={"stored": AT, "flown": AT, "claimed": 1}))
    assert record.edges == {"stored": AT}


def test_long_words_are_cut() -> None:
    assert len(from_fields(changed(detail="x" * 10_000)).detail) == DETAIL_LIMIT


def test_a_record_rises_with_its_edge() -> None:
    record = raised(Record(T, State.STORED, "a", AT), State.CLAIMED, "later")
    assert (record.state, record.at, record.edges) == (State.CLAIMED, "later", {"claimed": "later"})


@given(
    st.dictionaries(st.sampled_from(list(to_fields(FULL))), st.none() | st.integers() | st.text() | st.lists(st.none()))
)
def test_no_fields_crash_the_reader(fields: dict[str, Any]) -> None:
    try:
        record = from_fields(changed(**fields))
    except BadRecord:
        return
    assert decode(encode(record)) == record
