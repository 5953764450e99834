"""protocol/record.py: what is written into outcome/ and sent to peers is read back whole or refused."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import STATE_OF, Delivered, Reason, State
from handoffd.protocol.record import (
    CLOCKS_LIMIT,
    DETAIL_LIMIT,
    WHOLE_LIMIT,
    Artefact,
    BadRecord,
    Record,
    as_heard,
    decode,
    encode,
    fitting,
    from_fields,
    to_fields,
    with_course,
)
from handoffd.protocol.timing import ANSWER_LIMIT_BYTES, RECORDS_LIMIT_BYTES, STATES_ITEMS

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
        {"clock_offset_ms": 10**4_000},
        {"artefact": "end.json"},
        {"artefact": {"name": "../x", "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "", "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "..", "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "x" * 256, "sha256": "ef" * 32, "size": 1}},
        {"artefact": {"name": "x", "sha256": "ef", "size": 1}},
        {"artefact": {"name": "x", "sha256": "ef" * 32, "size": -1}},
        {"artefact": {"name": "x", "sha256": "ef" * 32, "size": None}},
        {"artefact": {"name": "x", "sha256": "ef" * 32, "size": 10**4_000}},
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


HEARD = Record(
    T,
    State.COMPLETED,
    "alice-vm",
    AT,
    reason=Reason.COMPLETED,
    clock_offset_ms=90_000,
    edges={"stored": AT, "leased": AT, "claimed": AT, "completed": AT},
    edges_by={"stored": "hub", "leased": "hub"},
)


def test_a_record_that_came_through_a_relay_says_whose_clock_each_time_is() -> None:
    record = decode(encode(as_heard(HEARD, "hub", 5)))
    assert [record.timed_by(state) for state in record.edges] == ["hub", "hub", "alice-vm", "alice-vm"]
    assert (record.ahead_ms("hub"), record.ahead_ms("alice-vm")) == (5, 90_005)


def test_what_one_of_both_hosts_did_not_measure_is_not_known() -> None:
    unmeasured = as_heard(HEARD, "hub", None)
    assert (unmeasured.ahead_ms("hub"), unmeasured.ahead_ms("alice-vm")) == (None, None)
    half = as_heard(replace(HEARD, clock_offset_ms=None), "hub", 5)
    assert (half.ahead_ms("hub"), half.ahead_ms("alice-vm")) == (5, None)


def test_a_peers_own_record_is_by_its_clock() -> None:
    record = as_heard(Record(T, State.CLAIMED, "alice-vm", AT, edges={"claimed": AT}), "alice-vm", -7)
    assert (record.timed_by("claimed"), record.clock_offset_ms, record.clocks) == ("alice-vm", -7, {})


def test_what_was_noted_of_the_way_stays_with_the_clocks_it_was_noted_by() -> None:
    ended = Record(T, State.EXPIRED, "bob-vm", AT, reason=Reason.EXPIRED, edges={"expired": AT})
    record = with_course(ended, "bob-vm", {"stored": AT, "leased": AT}, {"stored": "hub"}, {"hub": 5, "gone": 1})
    assert {state: record.timed_by(state) for state in record.edges} == {
        "stored": "hub",
        "leased": "bob-vm",
        "expired": "bob-vm",
    }
    assert (record.clocks, record.clock_offset_ms) == ({"hub": 5}, None)


def test_of_a_state_that_two_hosts_timed_the_keeper_tells_its_own_note() -> None:
    told = replace(HEARD, edges={"stored": "there", "completed": AT}, edges_by={})
    record = with_course(told, "hub", {"stored": "here"}, {}, {})
    assert record.edges == {"stored": "here", "completed": AT}
    assert [record.timed_by(state) for state in record.edges] == ["hub", "alice-vm"]


@pytest.mark.parametrize(
    "odd",
    [
        {"edges_by": {"stored": "../x", "flown": "hub", "claimed": 7}},
        {"edges_by": ["hub"]},
        {"clocks": {"../x": 1, "hub": True, "alice-vm": "1"}},
        {"clocks": {f"h{number}": 1 for number in range(1000)}},
    ],
    ids=str,
)
def test_odd_words_of_clocks_are_left_out(odd: dict[str, Any]) -> None:
    record = from_fields(changed(**odd))
    assert (record.edges_by, record.clocks) == ({}, {})


def test_as_many_clocks_and_as_far_off_as_a_record_may_have_are_read() -> None:
    clocks = {f"h{number}": WHOLE_LIMIT for number in range(CLOCKS_LIMIT)}
    record = from_fields(changed(clocks=clocks, clock_offset_ms=-WHOLE_LIMIT))
    assert (record.clocks, record.clock_offset_ms) == (clocks, -WHOLE_LIMIT)


@given(
    st.dictionaries(st.sampled_from(list(to_fields(FULL))), st.none() | st.integers() | st.text() | st.lists(st.none()))
)
def test_no_fields_crash_the_reader(fields: dict[str, Any]) -> None:
    try:
        record = from_fields(changed(**fields))
    except BadRecord:
        return
    assert decode(encode(record)) == record


def fields(**changes: Any) -> dict[str, Any]:
    return {**json.loads(encode(FULL)), **changes}


@pytest.mark.parametrize("in_doubt", [True, False])
@pytest.mark.parametrize("onward", [None, "relay-vm"])
def test_what_a_relay_keeps_is_read_back(in_doubt: bool, onward: str | None) -> None:
    record = replace(FULL, in_doubt=in_doubt, onward=onward)
    assert decode(encode(record)) == record


def test_what_a_record_need_not_say_is_empty() -> None:
    bare = decode(json.dumps({"tid": T, "state": "queued"}).encode())
    assert (bare.by, bare.at, bare.reason, bare.in_doubt, bare.onward) == ("", "", None, False, None)
    assert to_fields(bare)["reason"] is None


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ([], "a record must be a JSON object"),
        (fields(detail=7), "detail must be a string"),
        (fields(clock_offset_ms="7"), "clock_offset_ms must be an integer"),
        (fields(clock_offset_ms=WHOLE_LIMIT + 1), "clock_offset_ms is out of range"),
        (fields(state="flown"), "unknown word in a record: 'flown' is not a valid State"),
        (fields(state="expired"), "state expired does not go with reason completed"),
        (fields(artefact=7), "artefact must be an object with a plain file name, sha256 and size"),
        (fields(artefact={"name": "a", "sha256": T, "size": -1}), "artefact size must be a whole number of bytes"),
    ],
)
def test_a_record_that_is_refused_says_why(odd: Any, words: str) -> None:
    with pytest.raises(BadRecord, match=f"^{re.escape(words)}$"):
        from_fields(odd)


def test_a_record_whose_transfer_id_is_none_says_so() -> None:
    with pytest.raises(BadRecord, match="transfer id"):
        from_fields(fields(tid="x"))


def test_bytes_that_are_no_record_say_where_they_break() -> None:
    with pytest.raises(BadRecord, match=r"^not JSON: "):
        decode(b"{")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        *((name, False) for name in (".", "..", "", "a/b", "a\0b", 7, "x" * 256, "\ud800")),
        *((name, True) for name in ("a.json", "x" * 255)),
    ],
)
def test_an_artefact_has_a_name_that_a_directory_can_hold(name: object, plain: bool) -> None:
    odd = fields(artefact={"name": name, "sha256": T, "size": 0})
    if plain:
        assert from_fields(odd).artefact == Artefact(str(name), T, 0)
    else:
        with pytest.raises(BadRecord):
            from_fields(odd)


def test_a_time_is_cut_to_forty_characters() -> None:
    assert from_fields(fields(edges={"claimed": "9" * 50})).edges == {"claimed": "9" * 40}


@pytest.mark.parametrize(
    ("noted", "measured", "kept"), [(None, {"alice-vm": 3}, 3), (9, {"alice-vm": 3}, 9), (None, {}, None)]
)
def test_a_clock_that_the_record_does_not_know_is_the_keepers_measure(
    noted: int | None, measured: dict[str, int], kept: int | None
) -> None:
    told = replace(FULL, clock_offset_ms=noted)
    assert with_course(told, "hub", {}, {}, measured).clock_offset_ms == kept


def test_a_state_that_only_the_record_timed_stays_by_its_clock() -> None:
    told = replace(FULL, edges={"claimed": AT, "completed": AT}, edges_by={"claimed": "relay-vm"})
    assert with_course(told, "hub", {"stored": AT}, {}, {}).edges_by == {"claimed": "relay-vm", "stored": "hub"}


@pytest.mark.parametrize(("limit", "count"), [(0, 1), (1, 1), (2, 2), (2.9, 2), (3, 3), (9, 3)])
def test_as_many_records_fit_as_their_bytes_allow_and_one_always(limit: float, count: int) -> None:
    size = len(encode(FULL))
    assert fitting([FULL] * 3, int(limit * size)) == count
    assert fitting([], size) == 0


def test_the_longest_words_of_a_thousand_records_still_make_an_answer_that_is_read() -> None:
    records = [replace(FULL, detail="\N{GRINNING FACE}" * DETAIL_LIMIT)] * STATES_ITEMS
    told = records[: fitting(records, RECORDS_LIMIT_BYTES)]
    assert len(told) < STATES_ITEMS
    answer = {"states": {f"{number:064x}": to_fields(one) for number, one in enumerate(told)}, "lost": [T] * 1_000}
    assert len(json.dumps(answer, separators=(",", ":"))) + 1_000 < ANSWER_LIMIT_BYTES
