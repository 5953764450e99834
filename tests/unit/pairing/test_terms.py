"""What the other side tells of itself is taken whole or refused with the field's name."""

import pytest

from handoffd.identity import make_identity
from handoffd.pairing.terms import BadTerms, Terms, read_terms

CERTIFICATE = make_identity("alice-vm", 1_790_000_000.0)[0].decode()
GOOD = Terms("alice-vm", ("alice", "carol"), ("https://alice-vm:8788",), CERTIFICATE, "a" * 64, "0.1.0")


def test_what_is_told_is_read_back():
    assert read_terms(GOOD.fields()) == GOOD
    assert read_terms({**GOOD.fields(), "more": 1}) == GOOD


def test_a_host_without_an_address_is_a_host_too():
    assert read_terms({**GOOD.fields(), "urls": []}).urls == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", "../evil"),
        ("host", None),
        ("agents", "alice"),
        ("agents", ["../evil"]),
        ("agents", ["a"] * 1_000),
        ("urls", ["http://alice-vm:8788"]),
        ("urls", ["https://a b"]),
        ("urls", ["https://" + "a" * 400]),
        ("certificate", "no certificate"),
        ("certificate", CERTIFICATE * 2),
        ("certificate", None),
        ("accepts", "a token itself"),
        ("accepts", "A" * 64),
        ("version", 1),
    ],
)
def test_what_cannot_be_taken_names_the_field(key, value):
    with pytest.raises(BadTerms, match=key if key not in ("agents", "host") else "."):
        read_terms({**GOOD.fields(), key: value})


def test_the_fingerprint_is_the_one_operators_compare():
    from handoffd.identity import fingerprint

    assert GOOD.fingerprint == fingerprint(CERTIFICATE)
