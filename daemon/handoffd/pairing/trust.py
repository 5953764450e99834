"""The texts of trust: a list of token hashes, a list of pinned certificates, a fresh token.

It owns their form, as `handoffd.config` reads it, and opens no file. The rule that must stay true: there are never more
than two certificates, the present one and its successor.
"""

import re
import secrets
import ssl
from collections.abc import Iterable
from hashlib import sha256

from handoffd.identity import read_certificates

TOKEN_BYTES = 32


def new_token() -> str:
    """Return a token of 256 bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest_of_token(token: str) -> str:
    """Return the SHA-256 in hex that the other side keeps."""
    return sha256(token.encode()).hexdigest()


def digest_of_der(der: bytes) -> bytes:
    """Return the SHA-256 that a certificate is known by."""
    return sha256(der).digest()


def hashes_text(digests: Iterable[str], comment: str = "") -> bytes:
    """Return a hash file with these, the present one first."""
    head = f"# {comment}\n" if comment else ""
    return (head + "".join(f"{digest}\n" for digest in dict.fromkeys(digests))).encode()


def listed_digests(text: str) -> list[str]:
    """Return the digests (hex) that a hash file lists."""
    return re.findall(r"^[ \t]*([0-9a-f]{64})\b", text, re.MULTILINE)


def pins_text(present: str, added: str, *, alone: bool) -> bytes:
    """Return a pin file: the first certificate of the present text and the added one, or the added one alone."""
    kept = () if alone else read_certificates(present)[:1]
    ders = [certificate.der for certificate in (*kept, *read_certificates(added)[:1])]
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in dict.fromkeys(ders)).encode()
