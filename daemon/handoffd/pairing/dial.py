"""Reaching a host whose certificate is known by its fingerprint alone: one request, one answer.

It owns the connection and the words for what goes wrong with it; what is said is for others. The rule that must stay
true: the certificate is compared in the handshake, so that not a byte of a request goes to another host.
"""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from handoffd.identity import WrongCertificate, pinned_digest_context

CONNECT_S: Final = 4.0
"""For one address: a host that does not answer a SYN in this time is not there."""
REACH_S: Final = 10.0
"""For all addresses together, names that nobody resolves included: the other side waits for it (hub/invites.py)."""
ANSWER_S: Final = 40.0
"""The inviting host may try several addresses of the joining one before it answers, and waits 30 s for itself."""
_HTTPS_PORT: Final = 443
_LIMIT_BYTES: Final = 64 << 10


class Unreached(Exception):
    """None of the addresses led to the host; the message tells for each why. Nothing was sent."""


class NoAnswer(Exception):
    """A request may have arrived, and no complete answer came."""


class Turned(Exception):
    """The host refused; `detail` holds its words."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail


@dataclass(frozen=True, slots=True)
class Reached:
    """An address at which the right certificate was shown."""

    url: str
    certificate: str


def reach(urls: Iterable[str], digest: bytes) -> Reached:
    """Try all addresses at once; return the first in order that shows the certificate with this SHA-256.

    Raises Unreached.
    """
    looks = [_Look(url, digest) for url in urls]
    until_s = time.monotonic() + REACH_S
    for look in looks:
        look.join(max(0.0, until_s - time.monotonic()))
        if look.certificate:
            return Reached(look.url, look.certificate)
    raise Unreached("; ".join(f"{look.url}: {look.failure}" for look in looks) or "no address was given")


class _Look(threading.Thread):
    """One address that is tried. Nobody waits for it at the end: looking up a name may take minutes."""

    def __init__(self, url: str, digest: bytes) -> None:
        super().__init__(name=f"look {url}", daemon=True)
        self.url, self.certificate, self.failure = url, "", "no answer in time"
        self._digest = digest
        self.start()

    def run(self) -> None:
        """Look."""
        try:
            self.certificate = _look(self.url, self._digest)
        except (OSError, ValueError) as error:
            self.failure = _words(error)


def ask(
    url: str,
    digests: Collection[bytes],
    path: str,
    fields: Mapping[str, object] | None,
    token: str = "",
    patience_s: float = ANSWER_S,
) -> dict[str, Any]:
    """POST a JSON body, or GET without one, to a host that shows one of these certificates; return the answer.

    Raises Unreached, NoAnswer, Turned.
    """
    connection = _connection(url, digests)
    try:
        try:
            connection.connect()
        except (OSError, ValueError) as error:
            raise Unreached(f"{url}: {_words(error)}") from None
        connection.sock.settimeout(patience_s)
        return _exchange(connection, path, fields, token)
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{url}: {_words(error)}") from None
    finally:
        connection.close()


def _exchange(
    connection: http.client.HTTPConnection, path: str, fields: Mapping[str, object] | None, token: str
) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    body = None if fields is None else json.dumps(fields)
    connection.request("GET" if fields is None else "POST", path, body, headers)
    answer = connection.getresponse()
    if answer.length is None or answer.length > _LIMIT_BYTES:
        raise http.client.HTTPException("an answer of no, or too great, length")
    told = _object(answer.read())
    if answer.status != http.client.OK:
        raise Turned(answer.status, str(told.get("reason", "")), str(told.get("detail", f"status {answer.status}")))
    return told


def _object(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise http.client.HTTPException("an answer that is no JSON object")
    return told


def _look(url: str, digest: bytes) -> str:
    connection = _tls(url, (digest,))
    try:
        connection.connect()
        return ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(binary_form=True) or b"")
    finally:
        connection.close()


def _connection(url: str, digests: Collection[bytes]) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "http":  # which the configuration allows on loopback alone
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CONNECT_S)
    return _tls(url, digests)


def _tls(url: str, digests: Collection[bytes]) -> http.client.HTTPSConnection:
    parts = urlsplit(url)
    context = pinned_digest_context(frozenset(digests))
    return http.client.HTTPSConnection(
        parts.hostname or "", parts.port or _HTTPS_PORT, timeout=CONNECT_S, context=context
    )


def digest_of(certificate_pem: str) -> bytes:
    """Return the SHA-256 of a PEM certificate's bytes."""
    return sha256(ssl.PEM_cert_to_DER_cert(certificate_pem)).digest()


def _words(error: Exception) -> str:
    if isinstance(error, WrongCertificate):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS 1.3 there ({error.reason or error})"
    return str(getattr(error, "strerror", "") or str(error) or type(error).__name__)
