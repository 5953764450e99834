"""protocol/name.py: from untrusted text to a name, or BadName."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffd.protocol import name as names
from handoffd.protocol.name import BadName, FileName, Nonce, TransferId

T = TransferId("ab" * 32)
N = names.published_name("0123456789abcdef", T)
X = FileName("0011223344556677-0.json")
PARSERS = {
    "agent": names.agent_name,
    "host": names.host_name,
    "file": names.file_name,
    "transfer": names.transfer_id,
    "handoff": names.handoff_id,
    "nonce": names.nonce,
    "peer": names.peer_name,
}
GOOD = [
    ("agent", "bob"),
    ("agent", "0-a_b" + "x" * 58),
    ("host", "bob-vm.local"),
    ("file", "0011223344556677-0.json"),
    ("file", "a" * 123 + ".json"),
    ("transfer", "0" * 64),
    ("handoff", "1790000000-bob-alice-0011223344556677"),
    ("nonce", "A-z_9"),
    ("peer", "@bob"),
    ("peer", "alice-vm"),
]
BAD = [
    *[(kind, "") for kind in PARSERS],
    *[(kind, "../x") for kind in PARSERS],
    *[(kind, "a/b") for kind in PARSERS],
    *[(kind, "a\n") for kind in PARSERS],
    *[(kind, "a\0") for kind in PARSERS],
    *[(kind, "ä") for kind in PARSERS],
    ("agent", "Bob"),
    ("agent", "-bob"),
    ("agent", "x" * 64),
    ("host", ".hidden"),
    ("host", "@bob"),
    ("file", ".hidden.json"),
    ("file", "a.txt"),
    ("file", "a" * 124 + ".json"),
    ("transfer", "A" * 64),
    ("transfer", "0" * 63),
    ("handoff", "x" * 129),
    ("nonce", "x" * 65),
    ("peer", "@"),
    ("peer", "@Bob"),
]


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_a_legal_name_passes_unchanged(kind: str, text: str) -> None:
    assert PARSERS[kind](text) == text


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_any_other_text_is_refused(kind: str, text: str) -> None:
    with pytest.raises(BadName):
        PARSERS[kind](text)


@pytest.mark.parametrize("thing", [None, 1, b"bob", ["bob"]])
def test_what_is_no_text_is_refused(thing: object) -> None:
    with pytest.raises(BadName, match="is not a legal agent name"):
        names.agent_name(thing)


@given(st.text(max_size=80))
def test_no_name_leaves_its_directory(text: str) -> None:
    for parse in PARSERS.values():
        try:
            legal = parse(text)
        except BadName:
            continue
        assert "/" not in legal
        assert "\0" not in legal
        assert not legal.startswith(".")


def test_names_we_write_are_read_back_as_what_they_were() -> None:
    assert names.tid_of_published(N) == T
    assert names.parse_outbox(names.outbox_name(T, X)) == (T, X)
    assert names.parse_taking(names.taking_name("0123456789abcdef", X)) == X
    accepted = names.accepted_name(N, names.agent_name("alice"), Nonce("n-1"))
    assert names.parse_accepted(accepted) == (N, "alice", "n-1")


@pytest.mark.parametrize("text", [X, N + ".new", N[:-1], "0123456789abcdeg" + N[16:], N.upper(), ""])
def test_other_names_are_not_published_ones(text: str) -> None:
    assert names.tid_of_published(text) is None


@pytest.mark.parametrize("text", [X, f"{T}~", f"{T}~../x.json", f"~{X}", f"{T[:-1]}~{X}", ""])
def test_other_names_are_not_outbox_ones(text: str) -> None:
    with pytest.raises(BadName):
        names.parse_outbox(text)


@pytest.mark.parametrize("text", [f"taking.abc~{X}/..", "taking.abc~", X, f"taken.abc~{X}"])
def test_other_names_are_not_taking_ones(text: str) -> None:
    assert names.parse_taking(text) is None


@pytest.mark.parametrize("text", [N, f"{N}.accepted~alice", f"{X}.accepted~alice~n", f"{N}.accepted~Alice~n", ""])
def test_other_names_are_not_accepted_ones(text: str) -> None:
    assert names.parse_accepted(text) is None


@pytest.mark.parametrize("text", ["a.json", "a" * 123 + ".json", "no suffix", "x" * 300])
def test_a_suffixed_name_is_legal_and_bears_t(text: str) -> None:
    found = names.suffixed(text, T)
    assert found.endswith(f".r{T[:12]}.json")
    assert len(found) <= 128


def test_an_agents_counter_can_make_no_published_name() -> None:
    assert not any(names.tid_of_published(f"0011223344556677-{seq}.json") for seq in (0, 10, 10**63))


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("alice-vm", True),
        ("@bob", True),
        ("bob-vm.local", True),
        ("@bob.local", False),
        ("@", False),
        ("", False),
        ("a_b", False),
    ],
)
def test_whether_a_text_can_stand_for_a_peer_in_paths(text: str, legal: bool) -> None:
    assert names.is_peer_name(text) is legal


def test_whether_a_text_has_the_form_of_a_transfer_id() -> None:
    assert names.is_transfer_id(T)
    assert not names.is_transfer_id(T[1:])
    assert not names.is_transfer_id(T.upper())


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("0011223344556677-0.json", "0011223344556677-0.rabababababab.json"),
        ("no-ending", "no-ending.rabababababab.json"),
        ("a" * 123 + ".json", "a" * 100 + ".rabababababab.json"),
    ],
)
def test_a_name_that_is_taken_gets_twelve_digits_of_t(name: str, other: str) -> None:
    assert names.suffixed(name, T) == other


def test_the_receipt_of_what_is_forwarded_says_so() -> None:
    assert names.routed_name(N) == f"{N}.routed"


@pytest.mark.parametrize("name", ["taking.ab~c~x.json", "taking.ab", "outbox.ab~x.json", "taking.ab~.json"])
def test_what_has_not_the_form_of_a_take_is_none(name: str) -> None:
    assert names.parse_taking(name) is None


@pytest.mark.parametrize("name", [f"{T}~a~b.json", f"{T}", f"{T}~", f"~{X}", f"{T[1:]}~{X}"])
def test_what_has_not_the_form_of_an_outbox_name_is_refused(name: str) -> None:
    with pytest.raises(BadName):
        names.parse_outbox(name)


@pytest.mark.parametrize(
    ("parser", "kind"),
    [
        (names.host_name, "host name"),
        (names.file_name, "handoff file name"),
        (names.transfer_id, "transfer id"),
        (names.handoff_id, "handoff_id"),
        (names.nonce, "nonce"),
    ],
)
def test_a_refusal_says_what_was_wrong_and_what_is_right(parser: Callable[[object], str], kind: str) -> None:
    with pytest.raises(BadName) as caught:
        parser("/" * 100)
    shown, _, rest = str(caught.value).partition(" is not a legal ")
    assert shown == repr("/" * 100)[:80]
    assert rest.startswith(f"{kind}; it must match [")
    assert rest.endswith(("}", "n", "]", ")"))
