"""A host's identity: the key pair it is known by, the certificates it pins, and TLS contexts made of both.

It knows files only as what `ssl` must be given, and neither configuration nor clock. The rule that must stay true: a
link trusts the pinned certificates and nothing else, whatever name they bear and whatever else they have signed.

Making a certificate needs `cryptography` (8 MiB resident), imported there alone; reading one does not.
"""

import hashlib
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

VALID_DAYS = 3_653
"""Ten years: pinning, not expiry, is what ends a certificate here."""
BACKDATED_DAYS = 1
"""A peer whose clock is behind must not find a new certificate 'not yet valid'."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
_VERSION_TAG, _UTC_TIME_TAG = 0xA0, 0x17


class BadCertificate(ValueError):
    """The text or file is not what a certificate or key must be; the message says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate's exact bytes and its validity in POSIX seconds."""

    der: bytes
    not_before_s: float
    not_after_s: float

    @property
    def fingerprint(self) -> str:
        """Return `SHA256:AB:CD:…`, what two operators compare."""
        return "SHA256:" + hashlib.sha256(self.der).digest().hex(":").upper()


def read_certificates(pem: str) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM text, at least one. Raises BadCertificate."""
    if "PRIVATE KEY-----" in pem:
        raise BadCertificate("it holds a private key")
    blocks = _PEM.findall(pem)
    try:
        # OpenSSL parses them first, so that what is walked below is well formed.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="".join(blocks))
        ders = [ssl.PEM_cert_to_DER_cert(block) for block in blocks]
    except (ssl.SSLError, ValueError):
        raise BadCertificate("it holds no readable PEM certificate") from None
    return tuple(Certificate(der, *_validity(der)) for der in ders)


def fingerprint(pem: str) -> str:
    """Return the fingerprint of the first certificate in a PEM text. Raises BadCertificate."""
    return read_certificates(pem)[0].fingerprint


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context that shows this certificate over TLS 1.3. Raises BadCertificate, OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key, password="")  # an encrypted key fails instead of asking the terminal
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        raise BadCertificate(f"{certificate} and {key} are no usable pair ({reason})") from None
    return context


def client_context(pinned_pem: str) -> ssl.SSLContext:
    """Return a TLS 1.3 context that accepts exactly the certificates of `pinned_pem`. Raises BadCertificate."""
    pins = frozenset(certificate.der for certificate in read_certificates(pinned_pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unlike create_default_context: no trust anchors of the system
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Deliberately absent: the certificate's name. The pin is the identity, so a peer may move to another address.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata="".join(_PEM.findall(pinned_pem)))
    context.sslobject_class = _pinned_object(pins)
    return context


def make_identity(host: str, now_s: float) -> tuple[bytes, bytes]:
    """Return (certificate, private key), both PEM: ECDSA P-256, self-signed, for ten years."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.fromtimestamp(now_s, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=BACKDATED_DAYS))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _pinned_object(pins: frozenset[bytes]) -> type[ssl.SSLObject]:
    class PinnedObject(ssl.SSLObject):
        """A TLS connection that ends its handshake only with a pinned certificate.

        A trust anchor may sign others; OpenSSL would accept those too, so the certificate itself is compared.
        """

        def do_handshake(self) -> None:
            super().do_handshake()
            if self.getpeercert(binary_form=True) not in pins:
                raise ssl.SSLCertVerificationError("the peer's certificate is not the pinned one")

    return PinnedObject


def _validity(der: bytes) -> tuple[float, float]:
    # RFC 5280 section 4.1: Certificate -> tbsCertificate -> [version], serial, algorithm, issuer, validity.
    _, certificate = next(_items(der))
    _, body = next(_items(certificate))
    fields = [content for tag, content in _items(body) if tag != _VERSION_TAG]
    not_before, not_after = (_moment_s(tag, content) for tag, content in _items(fields[3]))
    return not_before, not_after


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    while der:
        tag, length, start = der[0], der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start])
        yield tag, der[start : start + length]
        der = der[start + length :]


def _moment_s(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == _UTC_TIME_TAG:  # two digits of the year, 1950 to 2049
        text = ("20" if text < "50" else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
