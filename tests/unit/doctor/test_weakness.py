"""What makes a secret none."""

import json
import os
import secrets
from pathlib import Path

import pytest

from handoffd.cli.doctor.weakness import is_published, signed_with_published, weakness
from handoffd.protocol.signature import sign

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/handoff_v1.json").read_text())["vectors"]


@pytest.mark.parametrize("secret", sorted({vector["secret"] for vector in VECTORS}))
def test_the_secrets_of_the_vectors_are_published(secret: str) -> None:
    assert is_published(secret.encode())
    assert weakness(secret.encode() + b"\n") == "is a published one"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (b"Password123!", "word"),
        (b"handoff", "word"),
        (b"s3cr3t-and-such", "15 bytes"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaa", "not random"),
        (b"0123456789abcdef0123456789abcdef", "not random"),
        (b"", "0 bytes"),
    ],
)
def test_a_guessable_secret(secret: bytes, why: str) -> None:
    assert why in weakness(secret)


@pytest.mark.parametrize(
    "made", [lambda: os.urandom(32), lambda: secrets.token_hex(32).encode(), lambda: secrets.token_bytes(16)]
)
def test_a_random_one_is_none(made) -> None:
    assert [weakness(made()) for _ in range(200)] == [""] * 200


def test_a_signature_shows_its_secret() -> None:
    fields = {"from_agent": "bob", "to_agent": "alice"}
    for secret, published in ((b"changeme", True), (os.urandom(32), False)):
        assert signed_with_published(json.dumps({**fields, "hmac": sign(fields, secret)}).encode()) is published
    assert signed_with_published(b"no json") is False
