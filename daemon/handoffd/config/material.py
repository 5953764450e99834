"""The files a configuration names: tokens, hashes of tokens, certificates and keys.

It reads and judges one file at a time and knows no keys of the configuration. The rule that must stay true: a secret
that others of this machine can read is refused, and no secret is ever part of a message.
"""

import os
import re
import stat
from pathlib import Path

from handoffd.config.model import KeyPair, TokenHashes
from handoffd.config.problem import who_may_read
from handoffd.identity import BadCertificate, Certificate, read_certificates, server_context
from handoffd.protocol.moment import format_moment

FILE_LIMIT_BYTES = 64 << 10
"""Far more than two certificates or a page of hashes; a wrong path must not read a disk image."""
TOKEN_MINIMUM_CHARS = 32
"""Hashes are not salted, so a token must be too long to guess: 32 characters of base64 are 192 bits."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")  # RFC 6750 section 2.1, what may follow `Bearer`
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_BEYOND_SECRET = 0o027
"""Write for the group, anything for others: 0600 and 0640 pass."""
_OTHERS_WRITE = 0o002


class Unfit(Exception):
    """A file can't be used; `message` says why and `remedy` what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


class Missing(Unfit):
    """A file is not there."""


class Closed(Unfit):
    """A file may not be read by this user."""


def looks_like_token(text: str) -> bool:
    """Tell whether somebody wrote a secret where the name of its file belongs."""
    return len(text) >= TOKEN_MINIMUM_CHARS and _TOKEN.match(text) is not None and not re.search(r"[./]", text)


def read_token(file: Path) -> bytes:
    """Return the secret a daemon presents. Raises Unfit."""
    text = _text(file, _BEYOND_SECRET).strip()
    if len(text) < TOKEN_MINIMUM_CHARS or not _TOKEN.match(text):
        remedy = f"write one line of at least {TOKEN_MINIMUM_CHARS} letters and digits: openssl rand -hex 32 > {file}"
        raise Unfit(f"{file} holds no usable token", remedy)
    return text.encode("ascii")


def read_hashes(file: Path) -> TokenHashes:
    """Return the digests listed in a file, one a line in lower-case hex, `#` starts a comment. Raises Unfit."""
    remedy = "each line is the SHA-256 of a token in lower-case hex: tr -d '\\n' < TOKEN | sha256sum | cut -c1-64"
    digests = set()
    for number, line in enumerate(_text(file, _OTHERS_WRITE).splitlines(), start=1):
        word = line.partition("#")[0].strip()
        if word and not _HASH.match(word):
            raise Unfit(f"line {number} of {file} is not a hash", remedy)
        if word:
            digests.add(bytes.fromhex(word))
    if not digests:
        raise Unfit(f"{file} holds no hash", remedy)
    return frozenset(digests)


def read_pins(file: Path, now_s: float) -> tuple[str, tuple[Certificate, ...]]:
    """Return a peer's PEM text and its certificates, at least one of them valid now. Raises Unfit."""
    pem = _text(file, _OTHERS_WRITE)
    return pem, _valid_certificates(file, pem, now_s)


def read_key_pair(certificate: Path, key: Path, now_s: float) -> KeyPair:
    """Return a certificate and key that fit each other and are valid now. Raises Unfit.

    A renewal that was cut short between the two is no misfit: see `identity.show`.
    """
    certificates = _valid_certificates(certificate, _text(certificate, _OTHERS_WRITE), now_s)
    _text(key, _BEYOND_SECRET)
    try:
        server_context(certificate, key)
    except BadCertificate as error:
        raise Unfit(str(error), "name the key this certificate was made from, unencrypted") from None
    return KeyPair(certificate, key, certificates[0].fingerprint)


def check_root(root: Path) -> None:
    """Check that the shared directory is there. Raises Unfit."""
    if not root.is_dir():
        if root.exists():
            raise Unfit(f"{root} is not a directory", "name the directory your agents use")
        raise Unfit(
            f"{root} does not exist", f"name the directory your agents use, or make it: mkdir -p -m 3770 {root}"
        )


def check_program(program: Path) -> None:
    """Check that a program to be run is there, by its absolute path. Raises Unfit."""
    if not program.is_absolute():
        raise Unfit(f"{program} is no absolute path", f"write where it is: command -v {program.name}")
    if not (program.is_file() and os.access(program, os.X_OK)):
        what = "is no program that this user may run" if program.exists() else "does not exist"
        raise Unfit(f"{program} {what}", f"correct the name, or make it one: chmod +x {program}")


def _valid_certificates(file: Path, pem: str, now_s: float) -> tuple[Certificate, ...]:
    try:
        certificates = read_certificates(pem)
    except BadCertificate as error:
        raise Unfit(f"{file} is no certificate file: {error}", "copy the other host's identity/*.pem there") from None
    if not any(one.not_before_s <= now_s <= one.not_after_s for one in certificates):
        dates = f"{format_moment(certificates[0].not_before_s)} to {format_moment(certificates[0].not_after_s)}"
        raise Unfit(f"{file} is valid only from {dates}", "make a new certificate, or set this host's clock right")
    return certificates


def _text(file: Path, forbidden_mode: int) -> str:
    try:
        _check_status(file, file.stat(), forbidden_mode)  # before the open: a FIFO would wait for a writer
        return file.read_bytes().decode("ascii")
    except FileNotFoundError:
        raise Missing(f"{file} does not exist", "create it, or correct the name") from None
    except UnicodeDecodeError:
        raise Unfit(f"{file} is not plain text", "name the right file") from None
    except PermissionError as error:
        raise Closed(f"{file} can't be read ({error.strerror})", who_may_read(file)) from None
    except OSError as error:
        raise Unfit(f"{file} can't be read ({error.strerror})", f"look at it: ls -l {file}") from None


def _check_status(file: Path, status: os.stat_result, forbidden_mode: int) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_LIMIT_BYTES:
        raise Unfit(f"{file} is not a small regular file", "name the right file")
    if status.st_mode & forbidden_mode:
        mode = stat.S_IMODE(status.st_mode)
        secret = forbidden_mode == _BEYOND_SECRET
        reach = "holds a secret and is open to others" if secret else "may be written by anybody"
        remedy = f"chmod {'600' if secret else 'o-w'} {file}"
        raise Unfit(f"{file} (mode {mode:04o}) {reach}", remedy)
