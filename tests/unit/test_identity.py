import asyncio
import hashlib
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from handoffd.identity import (
    BACKDATED_DAYS,
    VALID_DAYS,
    BadCertificate,
    client_context,
    fingerprint,
    make_identity,
    pinned_digest_context,
    read_certificates,
    server_context,
    show,
)

NOW_S = time.time()


class Host:
    """A host's certificate and key, also as files."""

    def __init__(self, directory: Path, name: str, pair: tuple[bytes, bytes]) -> None:
        self.pem = pair[0].decode()
        self.certificate = directory / f"{name}.pem"
        self.key = directory / f"{name}.key"
        self.certificate.write_bytes(pair[0])
        self.key.write_bytes(pair[1])


@pytest.fixture
def alice(tmp_path):
    return Host(tmp_path, "alice-vm", make_identity("alice-vm", NOW_S))


@pytest.fixture
def mallory(tmp_path):
    return Host(tmp_path, "mallory", make_identity("alice-vm", NOW_S))


def certificate_of(subject, issuer, key, issuer_key, *, is_authority, start, end):
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def authority_and_signed():
    """Return an authority's PEM, and (PEM, key) of a certificate it signed for somebody else."""
    start, end = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate_of("ca", "ca", root_key, root_key, is_authority=True, start=start, end=end)
    leaf = certificate_of("alice-vm", "ca", leaf_key, root_key, is_authority=False, start=start, end=end)
    pem = serialization.Encoding.PEM
    private = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return root.public_bytes(pem).decode(), (leaf.public_bytes(pem), private)


async def greet(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[bytes, str]:
    """Return what a client hears from a server over loopback, and the TLS version they spoke."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="127.0.0.1")
        try:
            heard = await asyncio.wait_for(reader.readline(), timeout=10)
            return heard, writer.get_extra_info("ssl_object").version()
        finally:
            writer.close()


async def test_a_pinned_certificate_is_accepted_over_tls_1_3(alice):
    heard, version = await greet(server_context(alice.certificate, alice.key), client_context(alice.pem))

    assert (heard, version) == (b"hello\n", "TLSv1.3")


async def test_a_certificate_of_the_same_name_that_is_not_pinned_is_refused(alice, mallory):
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(server_context(mallory.certificate, mallory.key), client_context(alice.pem))


async def test_during_a_rotation_both_pinned_certificates_are_accepted(alice, mallory):
    either = client_context(alice.pem + mallory.pem)

    for host in (alice, mallory):
        heard, _ = await greet(server_context(host.certificate, host.key), either)
        assert heard == b"hello\n"


async def test_a_certificate_signed_by_a_pinned_one_is_refused(tmp_path):
    authority_pem, pair = authority_and_signed()
    signed = Host(tmp_path, "signed", pair)

    with pytest.raises(ssl.SSLCertVerificationError, match="not the pinned one"):
        await greet(server_context(signed.certificate, signed.key), client_context(authority_pem))


async def test_a_pinned_certificate_somebody_else_signed_is_accepted(tmp_path):
    _, pair = authority_and_signed()
    signed = Host(tmp_path, "signed", pair)

    heard, _ = await greet(server_context(signed.certificate, signed.key), client_context(signed.pem))

    assert heard == b"hello\n"


def test_the_exact_pin_also_holds_under_uvloop(tmp_path):
    authority_pem, pair = authority_and_signed()
    signed = Host(tmp_path, "signed", pair)
    server = server_context(signed.certificate, signed.key)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with pytest.raises(ssl.SSLCertVerificationError):
            runner.run(greet(server, client_context(authority_pem)))
        heard, _ = runner.run(greet(server, client_context(signed.pem)))

    assert heard == b"hello\n"


async def test_a_client_that_stops_at_tls_1_2_is_refused(alice):
    client = client_context(alice.pem)
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await greet(server_context(alice.certificate, alice.key), client)


@pytest.mark.parametrize("pinned", ["certificate", "fingerprint"])
async def test_a_server_that_stops_at_tls_1_2_is_refused(alice, pinned):
    server = server_context(alice.certificate, alice.key)
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(alice.pem)).digest()
    client = client_context(alice.pem) if pinned == "certificate" else pinned_digest_context(frozenset({digest}))

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await greet(server, client)


def test_an_identity_names_its_host_and_lasts_ten_years(alice):
    certificate = x509.load_pem_x509_certificate(alice.pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert certificate.subject.rfc4514_string() == "CN=alice-vm"
    assert names.get_values_for_type(x509.DNSName) == ["alice-vm"]
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(
        days=VALID_DAYS + BACKDATED_DAYS
    )


def test_a_new_identity_is_valid_to_a_peer_whose_clock_is_behind(alice):
    (certificate,) = read_certificates(alice.pem)

    assert certificate.not_before_s <= NOW_S - 3_600


def test_a_fingerprint_is_the_sha256_of_the_certificate(alice):
    der = ssl.PEM_cert_to_DER_cert(alice.pem)

    assert fingerprint(alice.pem).replace(":", "") == "SHA256" + hashlib.sha256(der).hexdigest().upper()
    assert fingerprint(alice.pem).startswith("SHA256:")


@pytest.mark.parametrize(("first", "last"), [(1951, 2049), (1999, 2050), (2026, 9998)])
def test_validity_is_read_as_cryptography_reads_it(first, last):
    key = ec.generate_private_key(ec.SECP256R1())
    start, end = datetime(first, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(last, 12, 31, 23, 59, 59, tzinfo=UTC)
    made = certificate_of("a" * 60, "b", key, key, is_authority=False, start=start, end=end)

    (read,) = read_certificates(made.public_bytes(serialization.Encoding.PEM).decode())

    assert (read.not_before_s, read.not_after_s) == (start.timestamp(), end.timestamp())


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(text):
    with pytest.raises(BadCertificate, match="no readable PEM certificate"):
        read_certificates(text)


def test_a_certificate_with_a_date_that_is_none_is_refused(alice):
    date = f"{datetime.fromtimestamp(read_certificates(alice.pem)[0].not_after_s, UTC):%y%m%d%H%M%SZ}"
    der = ssl.PEM_cert_to_DER_cert(alice.pem).replace(date.encode(), b"991399999999Z")
    with pytest.raises(BadCertificate, match="no readable PEM certificate"):
        read_certificates(ssl.DER_cert_to_PEM_cert(der))


def test_a_file_that_holds_a_private_key_too_is_no_pin(alice):
    with pytest.raises(BadCertificate, match="private key"):
        client_context(alice.pem + alice.key.read_text())


def test_a_key_that_does_not_fit_the_certificate_is_refused(alice, mallory):
    with pytest.raises(BadCertificate, match="no usable pair"):
        server_context(alice.certificate, mallory.key)


async def test_a_pair_that_does_not_fit_leaves_what_was_shown(alice, mallory):
    shown = server_context(alice.certificate, alice.key)
    with pytest.raises(ssl.SSLError):
        show(shown, alice.certificate, mallory.key)
    with pytest.raises(FileNotFoundError):
        show(shown, alice.certificate, alice.key.with_suffix(".gone"))
    heard, _ = await greet(shown, client_context(alice.pem))
    assert heard == b"hello\n"


def test_an_encrypted_key_is_refused_without_asking_the_terminal(alice):
    key = serialization.load_pem_private_key(alice.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"sesame")
    alice.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))

    with pytest.raises(BadCertificate, match="no usable pair"):
        server_context(alice.certificate, alice.key)


def test_reading_and_pinning_do_not_import_cryptography(alice):
    program = (
        "import sys; from pathlib import Path; from handoffd.identity import client_context, server_context\n"
        "client_context(Path(sys.argv[1]).read_text()); server_context(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "sys.exit('cryptography' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program, alice.certificate, alice.key], check=False).returncode == 0
