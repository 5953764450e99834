"""Secrets that are none: published ones, words of a list, and what is too short or too plain to be random.

It owns the lists and judges bytes. The rule that must stay true: it repeats no secret, published or not.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

from handoffd.protocol.signature import verify

SHORTEST_BYTES = 16
"""128 bits, if they are random; what is shorter is not worth a search."""
PLAINEST = 6
"""Different bytes in a secret of at least SHORTEST_BYTES. 16 random hex digits show fewer once in 50,000 times."""

PUBLISHED = (
    b"pair-secret-for-test-vectors-only",
    b"another-pair",
    b"pair-secret",
    b"pair-secret-of-the-benchmark",
    b"the two agents' secret",
    b"dev-secret",
    b"dev-handoff-secret",
    b"development-secret",
    b"handoff-secret",
    b"handoff-dev-secret",
    b"handoff_secret",
    b"handoffd",
    b"insecure-dev-secret",
    b"change-me",
    b"changeme",
    b"change_me",
    b"shared-secret",
    b"test-secret",
    b"secret",
)
"""Of this project's tests and vectors, and what examples of the kind bear everywhere; anybody can sign with them."""

_WORDS = frozenset(
    b"password passwd passphrase letmein qwerty admin default example hunter2 test testing token handoff voice agent "
    b"shared demo dev development placeholder todo xxx foobar".split()
)


def is_published(secret: bytes) -> bool:
    """Tell whether anybody may know this secret."""
    return secret.strip().lower() in PUBLISHED


def weakness(secret: bytes) -> str:
    """Return why a secret can be guessed, or nothing."""
    plain = secret.strip().lower()
    if is_published(secret):
        return "is a published one"
    if plain.rstrip(b"0123456789!-_. ") in _WORDS:
        return "is a word that everybody tries"
    if len(secret) < SHORTEST_BYTES:
        return f"has {len(secret)} bytes"
    if len(set(plain)) < PLAINEST or plain in _COUNTED:
        return "is not random"
    return ""


def published_digests() -> frozenset[bytes]:
    """Return the SHA-256 of each published secret."""
    return frozenset(hashlib.sha256(secret).digest() for secret in PUBLISHED)


def signed_with_published(data: bytes) -> bool:
    """Tell whether a payload's hmac was made with a published secret."""
    return any(verify(data, secret) for secret in PUBLISHED)


def _counted() -> Iterator[bytes]:
    rows = (b"0123456789abcdef", b"abcdefghijklmnopqrstuvwxyz", b"1234567890", b"qwertyuiopasdfghjklzxcvbnm")
    for row in rows:
        yield from (bytes(islice(row * 8, length)) for length in range(SHORTEST_BYTES, 65))


_COUNTED = frozenset(_counted())
