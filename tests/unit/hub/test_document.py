"""Strict reading of request bodies."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from handoffd.hub.document import list_field, number_field, object_field, read_object, text_field
from handoffd.hub.refusal import Refused


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "line 1 column 1"),
        (b'{"a": }', "line 1 column 7"),
        (b'{"a": 1}\n}', "line 2 column 1"),
        (b"\xff", "UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "line 1 column 1"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'{"b": {"a": 1, "a": 2}}', "'a' occurs twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b"[]", "not a JSON object"),
        (b'{"a":' * 100_000, "nested"),
        (b'{"a":' + b"1" * 5000 + b"}", "number"),
    ],
)
def test_each_complaint_names_the_place(data: bytes, place: str) -> None:
    with pytest.raises(Refused) as refused:
        read_object(data)
    assert refused.value.status == 400
    assert place in refused.value.detail


@given(some.binary(max_size=200) | some.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_body_raises_anything_but_a_refusal(data: bytes) -> None:
    with suppress(Refused):
        assert isinstance(read_object(data), dict)


@pytest.mark.parametrize("value", [None, "absent"])
def test_absent_and_null_are_the_same(value: object) -> None:
    fields = {} if value == "absent" else {"a": value}
    assert text_field(fields, "a") is None
    assert list_field(fields, "a", 1) == []
    assert object_field(fields, "a", 1) == {}
    assert number_field(fields, "a") == 0.0


@pytest.mark.parametrize("value", [1, "text", True, 1.5])
def test_a_list_is_a_list(value: object) -> None:
    with pytest.raises(Refused, match="a: not a list"):
        list_field({"a": value}, "a", 1)


def test_too_many_are_counted() -> None:
    with pytest.raises(Refused, match="a: 3 elements; at most 2"):
        list_field({"a": [1, 2, 3]}, "a", 2)
    with pytest.raises(Refused, match="a: 2 keys; at most 1"):
        object_field({"a": {"b": 1, "c": 2}}, "a", 1)
