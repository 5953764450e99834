"""A host's identity: the key pair it is known by, the certificates it pins, and TLS contexts made of both.

It knows files only as what `ssl` must be given, and neither configuration nor clock. The rule that must stay true: a
link trusts the pinned certificates and nothing else, whatever name they bear and whatever else they have signed.

Making a certificate, and vouching for its successor, need `cryptography` (8 MiB resident), imported there alone;
reading one does not.
"""

import hashlib
import re
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
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


class WrongCertificate(ssl.SSLCertVerificationError):
    """Another certificate was shown than the one whose fingerprint is known; the message names it."""

    def __str__(self) -> str:
        """Return the words alone."""
        return str(self.args[-1])


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate's exact bytes and its validity in POSIX seconds."""

    der: bytes
    not_before_s: float
    not_after_s: float

    @property
    def fingerprint(self) -> str:
        """Return `SHA256:AB:CD:…`, what two operators compare."""
        return written(hashlib.sha256(self.der).digest())


def written(digest: bytes) -> str:
    """Return a certificate's SHA-256 as operators compare it."""
    return "SHA256:" + digest.hex(":").upper()


def read_certificates(pem: str) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM text, at least one. Raises BadCertificate."""
    if "PRIVATE KEY-----" in pem:
        raise BadCertificate("it holds a private key")
    blocks = _PEM.findall(pem)
    try:
        # OpenSSL parses them first, so that what is walked below is well formed.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="".join(blocks))
        ders = [ssl.PEM_cert_to_DER_cert(block) for block in blocks]
        # Its dates OpenSSL reads only when it needs them.
        return tuple(Certificate(der, *_validity(der)) for der in ders)
    except (ssl.SSLError, ValueError):
        raise BadCertificate("it holds no readable PEM certificate") from None


def fingerprint(pem: str) -> str:
    """Return the fingerprint of the first certificate in a PEM text. Raises BadCertificate."""
    return read_certificates(pem)[0].fingerprint


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context that shows this certificate over TLS 1.3. Raises BadCertificate, OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        show(context, certificate, key)
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        raise BadCertificate(f"{certificate} and {key} are no usable pair ({reason})") from None
    return context


def show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Let a context show this certificate from now on. Raises ssl.SSLError, OSError.

    Where a renewal was cut short, the new certificate stands in its place and its key is only ready (`successor`).
    """
    # On another one first: a context that refuses a pair is left without a key.
    for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
        _show(each, certificate, key)


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        _load(context, certificate, key)
    except ssl.SSLError:
        try:
            _load(context, certificate, successor(key))
        except OSError:  # none is ready, it does not fit, or it has come into its place just now
            _load(context, certificate, key)


def is_pair(certificate: Path, key: Path) -> bool:
    """Tell whether these very files fit each other. Raises OSError."""
    try:
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    except ssl.SSLError:
        return False
    return True


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    context.load_cert_chain(certificate, key, password="")  # an encrypted key fails instead of asking the terminal


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


def pinned_digest_context(digests: frozenset[bytes]) -> ssl.SSLContext:
    """Return a TLS 1.3 context for sockets that accepts only a certificate with one of these SHA-256.

    For who knows a host by its fingerprint and has not got its certificate yet. A handshake with any other raises
    WrongCertificate, before a byte of the application has been sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    # Deliberately absent: OpenSSL's own verification, which needs the certificate itself. The socket compares it.
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _digest_socket(digests)
    return context


def successor(file: Path) -> Path:
    """Return where a certificate or key stands that shall take a file's place."""
    return file.with_name(f"{file.name}.next")


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


def vouch(key: Path, certificate_pem: str) -> str:
    """Return a key's signature (hex) for a certificate that shall follow its own. Raises BadCertificate, OSError."""
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    private = serialization.load_pem_private_key(key.read_bytes(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise BadCertificate(f"{key} is no elliptic-curve key, such as `handoffd init` makes")
    return private.sign(_succession(certificate_pem), ec.ECDSA(hashes.SHA256())).hex()


def is_vouched(pins: Iterable[Certificate], certificate_pem: str, signature: str) -> bool:
    """Tell whether the key of one of these certificates has signed that this one shall follow it."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    for pin in pins:
        public = x509.load_der_x509_certificate(pin.der).public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            with suppress(InvalidSignature, ValueError):
                public.verify(bytes.fromhex(signature), _succession(certificate_pem), ec.ECDSA(hashes.SHA256()))
                return True
    return False


def _succession(certificate_pem: str) -> bytes:
    return b"handoffd: this certificate follows mine\n" + read_certificates(certificate_pem)[0].der


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


def _digest_socket(digests: frozenset[bytes]) -> type[ssl.SSLSocket]:
    class PinnedSocket(ssl.SSLSocket):
        """A TLS connection that ends its handshake only with a certificate of these SHA-256."""

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").digest()
            if shown not in digests:
                raise WrongCertificate(f"shows another certificate ({written(shown)}) than the one expected")

    return PinnedSocket


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
