"""An invite: the one string that is carried from the inviting host to the joining one.

It owns the string's form and knows nothing of who made it. The rules that must stay true: a string that was cut,
retyped or joined with another is told from a good one before anything is sent; and no `repr` shows the secret.

The form is `handoffd1.` and base64url of: expiry in POSIX seconds (8 bytes), SHA-256 of the certificate (32), length of
the names (2), names (the inviting host and its addresses, separated by blanks), secret (16), checksum (6). The secret
stands last, so that a string whose end is lost still names the host that should be told.
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from handoffd.protocol.name import BadName, host_name

PREFIX: Final = "handoffd1."
"""Names the program and the form; another form gets another number."""
SECRET_BYTES: Final = 16
"""128 bits: not to be guessed, whatever the number of tries."""
LIFETIME_S: Final = 600.0
"""Long enough to carry a string to another machine by hand, short enough to forget it afterwards."""
MOST_URLS: Final = 8

_HEAD: Final = struct.Struct(">Q32sH")
_CHECK_BYTES: Final = 6
_LONGEST: Final = 2_000
"""Characters: eight addresses of 100 and the rest; more was never an invite."""


class BadInvite(ValueError):
    """A text is no invite; the message says why and what to do."""


class Mistyped(BadInvite):
    """An invite that was altered or cut on its way; `place` is where it seems to come from, if that can be read."""

    def __init__(self, place: "Place | None") -> None:
        super().__init__(
            "the invite is mistyped or cut: its checksum is wrong; copy the whole line as it was printed, "
            "or make a new one"
        )
        self.place = place


@dataclass(frozen=True, slots=True)
class Place:
    """The inviting host: its name, where its daemon may answer, and the SHA-256 of the certificate it shows there."""

    host: str
    urls: tuple[str, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Invite:
    """What the string holds. `expires_s`: POSIX seconds by the inviting host's clock."""

    place: Place
    expires_s: int
    secret: bytes = field(repr=False)

    @property
    def ident(self) -> str:
        """Return the name the invite goes by in requests and journals; the secret cannot be had from it."""
        return sha256(b"handoffd invite\n" + self.secret).hexdigest()[:16]


def encode(invite: Invite) -> str:
    """Return the string. Raises BadInvite where nobody could read it again."""
    names = " ".join((invite.place.host, *invite.place.urls)).encode()
    data = _HEAD.pack(invite.expires_s, invite.place.digest, len(names)) + names + invite.secret
    text = PREFIX + urlsafe_b64encode(data + _check(data)).decode().rstrip("=")
    if decode(text) != invite:
        raise BadInvite("an invite of these addresses would not be read as it was meant")
    return text


def decode(text: str) -> Invite:
    """Read a string; blanks and line breaks in it do not matter. Raises BadInvite, Mistyped."""
    text = "".join(text.split())
    if not text:
        raise BadInvite("no invite was given; paste the line that `handoffd invite` printed")
    if not text.startswith(PREFIX) or len(text) > _LONGEST:
        raise BadInvite(f"this is no invite: one begins with {PREFIX}; paste the line that `handoffd invite` printed")
    data = _bytes_of(text.removeprefix(PREFIX))
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    place, rest = _place(body)
    if _check(body) != check or place is None or len(rest) != SECRET_BYTES:
        raise Mistyped(place)
    return Invite(place, _HEAD.unpack_from(body)[0], rest)


def _check(data: bytes) -> bytes:
    return sha256(PREFIX.encode() + data).digest()[:_CHECK_BYTES]


def _bytes_of(text: str) -> bytes:
    # Strict, unlike urlsafe_b64decode, which drops what is not in the alphabet.
    if not all(char.isascii() and (char.isalnum() or char in "-_") for char in text):
        raise Mistyped(None)
    whole = text[: len(text) - (len(text) % 4 == 1)]
    try:
        return urlsafe_b64decode(whole + "=" * (-len(whole) % 4))
    except (binascii.Error, ValueError):
        raise Mistyped(None) from None


def _place(body: bytes) -> tuple[Place | None, bytes]:
    """Return the place, or None if it cannot be read, and what follows it."""
    if len(body) < _HEAD.size:
        return None, b""
    _, digest, length = _HEAD.unpack_from(body)
    names, rest = body[_HEAD.size : _HEAD.size + length], body[_HEAD.size + length :]
    try:
        host, *urls = names.decode().split(" ")
        place = Place(host_name(host), tuple(urls), digest)
    except (BadName, UnicodeDecodeError):
        return None, rest
    fit = len(names) == length and 0 < len(urls) <= MOST_URLS and all(url.startswith("https://") for url in urls)
    return (place if fit else None), rest
