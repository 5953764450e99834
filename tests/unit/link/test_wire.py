"""Bodies of the calls between daemons, read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffd.link.trouble import RETRY_AFTER_LIMIT_S, Trouble, read_hello, read_retry_after
from handoffd.link.wire import BadAnswer, groups, pages, read_greeting, read_records, read_states, read_time
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import State

T = TransferId("a" * 64)
HELLO = {"epoch": "e", "version": "0.1.0", "homes": ["alice"], "link": "push"}
RECORD = {"tid": T, "state": "stored", "by": "alice-vm", "at": "2026-11-20T10:00:00.000Z"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_a_greeting_is_read():
    greeting = read_greeting(HELLO)
    assert (greeting.epoch, greeting.version, greeting.homes, greeting.pulls) == ("e", "0.1.0", {"alice"}, False)
    assert read_greeting({**HELLO, "link": "pull"}).pulls


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": None},
        {"epoch": "a\r\nX: b"},
        {"epoch": "e" * 65},
        {"epoch": 7},
        {"version": None},
        {"version": ""},
        {"homes": None},
        {"homes": {"alice": 1}},
        {"homes": ["../x"]},
        {"homes": [["alice"]]},
        {"homes": ["alice"] * 10_001},
    ],
)
def test_a_greeting_with_a_wrong_field_is_refused(change):
    with pytest.raises(BadAnswer):
        read_greeting({**HELLO, **change})


@given(st.none() | st.dictionaries(st.sampled_from([*HELLO, "time"]), json_values))
def test_no_greeting_raises_anything_else(body):
    assert read_hello(200, body, None, frozenset(), "0.1.0") is not None


@pytest.mark.parametrize("challenge", [None, 7, "", "c" * 65, "a\r\nX: b", "a b", "\u00e9"])
def test_a_challenge_that_no_header_can_hold_is_none(challenge):
    assert read_greeting({**HELLO, "challenge": challenge}).challenge == ""


def test_a_challenge_is_read():
    assert read_greeting({**HELLO, "challenge": "c" * 64}).challenge == "c" * 64


def test_states_are_read():
    page = read_states({"states": {T: RECORD}, "cursor": "7", "reset": True})
    assert (page.records.good[0].state, page.cursor, page.reset) == (State.STORED, "7", True)


@pytest.mark.parametrize("body", [None, {}, {"states": [], "cursor": "1"}, {"states": {}}, {"states": {}, "cursor": 1}])
def test_states_of_another_shape_are_refused(body):
    with pytest.raises(BadAnswer):
        read_states(body)


@pytest.mark.parametrize(
    "record", [None, {}, [], {**RECORD, "tid": "b" * 64}, {**RECORD, "state": "x"}, {**RECORD, "at": 1}]
)
def test_a_record_that_cannot_be_used_is_named_and_left_out(record):
    records = read_records({"states": {T: record, "b" * 64: {**RECORD, "tid": "b" * 64}}})
    assert [one.tid for one in records.good] == ["b" * 64]
    assert records.refused[0].startswith("aaaaaaaaaaaa: ")


@given(
    st.dictionaries(st.sampled_from([T, "x"]), json_values | st.dictionaries(st.sampled_from([*RECORD]), json_values))
)
def test_no_record_raises_anything_else(states):
    read_records({"states": states})


@given(json_values)
def test_no_time_raises(value):
    assert read_time({"time": value}) is None or isinstance(value, str)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        (None, 0.0),
        ("", 0.0),
        ("3", 3.0),
        ("-3", 0.0),
        ("1.5", 0.0),
        ("9" * 400, RETRY_AFTER_LIMIT_S),
        ("²", 0.0),
        ("Fri, 20 Nov 2026 10:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_whole_seconds_and_bounded(text, wait_s):
    assert read_retry_after(text) == wait_s


def test_a_newer_minor_version_is_welcome():
    assert not isinstance(read_hello(200, {**HELLO, "version": "0.99.1"}, None, frozenset(), "0.1.0"), Trouble)


def test_pages_and_groups_hold_a_thousand():
    known = {TransferId(f"{n:064x}"): State.STORED for n in range(2_001)}
    assert [len(page) for page in pages(known)] == [1_000, 1_000, 1]
    assert [len(group) for group in groups(list(known))] == [1_000, 1_000, 1]
    assert list(pages({})) == []
