"""Every rule of custody.md section 6.1, each with the text that breaks it and nothing else."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from handoffd.protocol.admission import DEPTH_LIMIT, REQUIRED, Inadmissible, admit
from handoffd.protocol.payload import Envelope

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "handoff_v1.json").read_text(encoding="utf-8")
)["vectors"]
AGENTS = frozenset({"alice", "bob", "gordon"})
DAY_S = 86_400.0
LIMIT_BYTES = 1 << 20
SECRET_TEXT = "the words between two people"


def fields(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = json.loads(VECTORS[0]["text"])
    return good | {"transcript": [{"role": "user", "text": SECRET_TEXT}]} | changes


def dump(**changes: Any) -> bytes:
    return json.dumps(fields(**changes)).encode()


def with_extra(value: str) -> bytes:
    """A good payload with one more field, its value written as given."""
    return dump()[:-1] + f', "extra": {value}}}'.encode()


def admitted(
    data: bytes, *, max_ttl_s: float = DAY_S, limit_bytes: int = LIMIT_BYTES, agents: frozenset[str] = AGENTS
) -> Envelope:
    return admit(data, agents=agents, max_ttl_s=max_ttl_s, limit_bytes=limit_bytes)


def is_carried(data: bytes, **limits: Any) -> bool:
    """Whether it is admitted, as exactly these bytes."""
    return admitted(data, **limits).tid == hashlib.sha256(data).hexdigest()


def refusal(data: bytes, **limits: Any) -> str:
    with pytest.raises(Inadmissible) as caught:
        admitted(data, **limits)
    assert SECRET_TEXT not in caught.value.detail
    return caught.value.detail


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_vector_is_admitted_under_its_names(vector: dict[str, Any]) -> None:
    envelope = admitted(vector["text"].encode())
    assert envelope.tid == vector["tid"]
    assert envelope.identity == vector["identity"]
    assert envelope.published_name == vector["published_name"]
    assert envelope.hmac == vector["hmac"]


def test_the_envelope_holds_what_a_daemon_decides_by() -> None:
    envelope = admitted(VECTORS[0]["text"].encode())
    assert (envelope.sender, envelope.to) == ("bob", "alice")
    assert (envelope.handoff_id, envelope.caller_hash) == (
        "1795168800-bob-alice-b275013166a65f69",
        "b275013166a65f69",
    )
    assert (envelope.initiated_at, envelope.expires_at) == (1_795_168_800.0, 1_795_168_860.0)
    assert envelope.expires_text == "2026-11-20T10:01:00Z"


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_required_field_is_named(name: str) -> None:
    kept = {key: value for key, value in fields().items() if key != name}
    assert refusal(json.dumps(kept).encode()) == f"{name} is missing"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol_version", True),
        ("protocol_version", 1.0),
        ("protocol_version", "1"),
        ("protocol_version", 2),
        ("protocol_version", None),
        ("protocol_version", [1]),
        ("reason", None),
        ("reason", 7),
        ("reason", {}),
        ("caller_hash", None),
        ("caller_hash", 1234567890123456),
        ("caller_hash", "B275013166A65F69"),
        ("caller_hash", "b275013166a65f6"),
        ("caller_hash", "b275013166a65f69\n"),
        ("caller_hash", "../../etc/passwd"),
        ("handoff_id", None),
        ("handoff_id", ""),
        ("handoff_id", "."),
        ("handoff_id", "-starts-with-a-dash"),
        ("handoff_id", "a/b"),
        ("handoff_id", "a\x00b"),
        ("handoff_id", "å"),
        ("handoff_id", "a" * 129),
        ("handoff_id", "a\n"),
        ("handoff_id", ["a"]),
        ("hmac", None),
        ("hmac", ""),
        ("hmac", "A" * 44),
        ("hmac", "A" * 42 + "=="),
        ("hmac", "-" * 43 + "="),
        ("hmac", "A" * 43 + "=\n"),
        ("hmac", {"A": 1}),
        ("from_agent", None),
        ("from_agent", "mallory"),
        ("from_agent", "Bob"),
        ("from_agent", ["bob"]),
        ("to_agent", ""),
        ("to_agent", "../alice"),
        ("to_agent", {"alice": 1}),
        ("to_agent", 5),
        ("initiated_at", None),
        ("initiated_at", 1795168800),
        ("initiated_at", "2026-11-20T10:00:00"),
        ("expires_at", "soon"),
        ("expires_at", "2026-11-20 10:01:00Z"),
        ("expires_at", "9999-12-31T23:59:59-23:59"),
        ("transcript", None),
        ("transcript", {}),
        ("transcript", "text"),
    ],
)
def test_a_field_of_the_wrong_form_is_named(name: str, value: object) -> None:
    assert refusal(dump(**{name: value})).startswith(name)


@pytest.mark.parametrize(
    ("turn", "place"),
    [
        ("text", "transcript[1] is not an object"),
        (None, "transcript[1] is not an object"),
        ({"text": "x"}, "transcript[1].role"),
        ({"role": "root", "text": "x"}, "transcript[1].role"),
        ({"role": ["user"], "text": "x"}, "transcript[1].role"),
        ({"role": {}, "text": "x"}, "transcript[1].role"),
        ({"role": "user"}, "transcript[1].text"),
        ({"role": "user", "text": None}, "transcript[1].text"),
        ({"role": "user", "text": ["x"]}, "transcript[1].text"),
    ],
)
def test_a_turn_of_the_wrong_form_is_named_by_its_place(turn: object, place: str) -> None:
    good = {"role": "user", "text": SECRET_TEXT}
    assert refusal(dump(transcript=[good, turn])).startswith(place)


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_the_three_roles_are_admitted(role: str) -> None:
    assert is_carried(dump(transcript=[{"role": role, "text": "", "ts": "whenever"}]))


def test_a_handoff_to_its_own_sender_is_refused() -> None:
    assert "the same" in refusal(dump(to_agent="bob"))


@pytest.mark.parametrize(
    "expires", ["2026-11-20T10:00:00Z", "2026-11-20T09:00:00Z", "2026-11-21T10:00:01Z", "2026-11-20T10:00:30+01:00"]
)
def test_a_lifetime_outside_its_bounds_is_refused(expires: str) -> None:
    assert "expires_at" in refusal(dump(expires_at=expires))


def test_a_lifetime_of_exactly_the_maximum_is_admitted() -> None:
    assert admitted(dump(expires_at="2026-11-21T10:00:00Z")).expires_at - 1_795_168_800.0 == DAY_S


def test_a_longer_lifetime_is_admitted_where_it_is_configured() -> None:
    assert is_carried(dump(expires_at="2026-11-27T10:00:00Z"), max_ttl_s=7 * DAY_S)


@pytest.mark.parametrize("data", [b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"{}x", b"{'a': 1}", b"{,}", b"{} {}"])
def test_what_is_not_one_json_object_is_refused(data: bytes) -> None:
    assert "JSON" in refusal(data) or "missing" in refusal(data)


def test_a_byte_order_mark_is_refused() -> None:
    assert "byte order mark" in refusal(b"\xef\xbb\xbf" + dump())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_another_encoding_is_refused(encoding: str) -> None:
    text = json.dumps(fields(reason="på"), ensure_ascii=False)
    assert refusal(text.encode(encoding))


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"])
def test_bytes_that_are_not_utf_8_are_refused(raw: bytes) -> None:
    data = dump(reason="HERE").replace(b"HERE", raw)
    assert refusal(data) == f"not UTF-8 at byte {data.index(raw)}"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 64, "0." + "1" * 63])
def test_a_number_that_some_reader_cannot_hold_is_refused(value: str) -> None:
    assert refusal(with_extra(value))


@pytest.mark.parametrize("value", ["1" * 64, "0." + "1" * 62, "1e308", "-0", "-0.0", "1E+2", "1e-999"])
def test_a_number_within_bounds_is_admitted(value: str) -> None:
    assert is_carried(with_extra(value))


@pytest.mark.parametrize("value", ["01", "+1", ".5", "1.", "0x10", "1_000", "--1", "١"])
def test_a_number_json_has_no_form_for_is_refused(value: str) -> None:
    assert "not JSON" in refusal(with_extra(value))


@pytest.mark.parametrize("value", [r'"\ud800"', r'"\udc00\ud800"', r'{"\uDBFF": 1}', r'[["x\udfffy"]]'])
def test_a_lone_surrogate_anywhere_is_refused(value: str) -> None:
    assert "surrogate" in refusal(with_extra(value))


@pytest.mark.parametrize("value", [r'"\ud83c\udfa7"', r'"\\ud800"', '"🎧"', r'"\u0000"'])
def test_a_whole_pair_or_its_look_alike_is_admitted(value: str) -> None:
    assert is_carried(with_extra(value))


@pytest.mark.parametrize("value", ['"a\nb"', '"a\x00b"', r'"\x41"', r'"\u12"', '"open', r'"\"'])
def test_a_string_json_has_no_form_for_is_refused(value: str) -> None:
    assert "not JSON" in refusal(with_extra(value))


@pytest.mark.parametrize("value", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "\\u0061": 2}}]'])
def test_a_key_twice_is_refused_at_any_level(value: str) -> None:
    assert "same key twice" in refusal(with_extra(value))


def test_a_required_field_twice_is_refused() -> None:
    assert "same key twice" in refusal(dump()[:-1] + b', "to_agent": "gordon"}')


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_admitted_to_the_limit_and_no_deeper(opening: str, closing: str) -> None:
    inner = DEPTH_LIMIT - 1  # the document is a level itself
    assert is_carried(with_extra(opening * inner + "1" + closing * inner))
    assert "deeper" in refusal(with_extra(opening * (inner + 1) + "1" + closing * (inner + 1)))


@pytest.mark.parametrize("text", ["[" * 500, "{" * 500, '\\"[[' * 100, "\\\\", '\\\\\\"' + "[" * 500])
def test_brackets_inside_strings_are_not_nesting(text: str) -> None:
    assert is_carried(with_extra(f'["{text}", "{text}"]'))


@pytest.mark.parametrize("closing", ['"]]]]"', '"\\"]]]]"', '"\\\\", "]]]]"'])
def test_closing_brackets_inside_strings_hide_no_nesting(closing: str) -> None:
    deep = f"[{closing}, " * 64 + "1" + "]" * 64
    assert "deeper" in refusal(with_extra(deep))


@pytest.mark.parametrize("data", [b"[" * LIMIT_BYTES, b'{"a":' * 200_000, b"[{" * 500_000])
def test_an_abyss_is_refused_before_it_is_parsed(data: bytes) -> None:
    assert "deeper" in refusal(data)


def test_the_size_limit_counts_bytes_and_includes_its_own_value() -> None:
    data = dump()
    assert is_carried(data, limit_bytes=len(data))
    assert str(len(data)) in refusal(data, limit_bytes=len(data) - 1)


def test_spacing_and_order_do_not_matter() -> None:
    text = json.dumps(dict(reversed(fields().items())), indent=4).replace("\n", "\r\n\t")
    assert is_carried(f"\n {text} \r\n".encode())


def test_a_refusal_can_pass_through_a_context_manager() -> None:
    # Frozen exceptions cannot: contextlib assigns their __traceback__.
    error = Inadmissible("why")
    error.__traceback__ = None
    assert (str(error), error.detail) == ("why", "why")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dump(to_agent="bob"), "from_agent and to_agent are the same"),
        (b"\xef\xbb\xbf" + dump(), "starts with a byte order mark; write UTF-8 without one"),
        (b"[]", "the document is not one JSON object"),
        (b'"' + b"[" * 100 + b'"', "the document is not one JSON object"),
        (with_extra('"\\ud800"'), "a string holds half of a surrogate pair, which is no character"),
        (with_extra("1e999"), "a number is too large for a double"),
        (with_extra('{"a": 1, "a": 2}'), "an object has the same key twice; readers would disagree on its value"),
        (dump(transcript=[{"role": "nurse", "text": ""}]), "transcript[0].role is not one of user, assistant, system"),
        (
            dump(to_agent="handoffd-canary"),
            "handoffd-canary is reserved: daemons alone hand over to it, and only from it",
        ),
    ],
)
def test_a_refusal_says_what_to_mend(data: bytes, words: str) -> None:
    assert refusal(data, agents=AGENTS | {"handoffd-canary"}) == words


def test_a_canary_hands_over_to_itself_alone() -> None:
    agents = AGENTS | {"handoffd-canary"}
    assert is_carried(dump(from_agent="handoffd-canary", to_agent="handoffd-canary"), agents=agents)
    assert "reserved" in refusal(dump(from_agent="handoffd-canary"), agents=agents)


@pytest.mark.parametrize(("lifetime", "carried"), [(0, False), (1, True)])
def test_a_lifetime_begins_with_its_first_microsecond(lifetime: int, carried: bool) -> None:
    data = dump(initiated_at="2026-11-20T10:00:00Z", expires_at=f"2026-11-20T10:00:00.{lifetime:06}Z")
    assert is_carried(data) if carried else "expires_at" in refusal(data)
