"""Where a hub is and how it is known: its URL, and the certificate or the authority to trust.

It opens no connection. The rule that must stay true: a token may go over TLS, or over plain HTTP to this machine alone.
"""

import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


class BadAddress(ValueError):
    """The hub's URL or the way to trust it makes no sense; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a hub is."""

    scheme: str
    hostname: str
    port: int


def address_of(url: str) -> Address:
    """Return what a URL names. Raises BadAddress."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadAddress(f"{url}: {error}; write it as https://alice-vm:8788") from None
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query or parts.username:
        raise BadAddress(f"{url}: write scheme, host and port alone, such as https://alice-vm:8788")
    if parts.scheme == "http" and not _is_loopback(host):
        raise BadAddress(f"{url}: a token goes over plain http to this machine alone; write https://{parts.netloc}")
    return Address(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def digest_of(fingerprint: str) -> bytes:
    """Return the 32 bytes that a fingerprint shows. Raises BadAddress."""
    text = fingerprint.strip().removeprefix("SHA256:").removeprefix("sha256:").replace(":", "")
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise BadAddress(f"--fingerprint {fingerprint}: give SHA256:AB:CD:…, as `handoffd init` on the hub prints it")
    return digest


def context_for(scheme: str, ca: Path | None, pin: bytes | None) -> ssl.SSLContext | None:
    """Return how to speak TLS, None for plain HTTP; with a pin the caller compares. Raises BadAddress, OSError."""
    if scheme == "http":
        return None
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except ssl.SSLError:
        raise BadAddress(f"--ca {ca}: it holds no readable PEM certificate") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if pin is not None:
        # The certificate itself is compared after the handshake, before anything is sent.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
