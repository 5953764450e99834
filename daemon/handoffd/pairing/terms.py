"""What each side of a pairing tells the other of itself.

It owns the form and the bounds of it; whether the two fit each other is for the configuration's rules to say. The rule
that must stay true: a token is never among the terms, only its SHA-256.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from handoffd.identity import BadCertificate, read_certificates
from handoffd.pairing.invite import MOST_URLS
from handoffd.protocol.name import BadName, agent_name, host_name

MOST_AGENTS: Final = 128
_LONGEST_URL: Final = 300
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")


class BadTerms(ValueError):
    """Terms that cannot be taken; the message names the field."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A host as it introduces itself. `accepts`: SHA-256 in hex of the token that it will present to the other.

    `urls`: where its daemon may answer, none if it cannot be reached. `certificate`: PEM of the one it shows there.
    """

    host: str
    agents: tuple[str, ...]
    urls: tuple[str, ...]
    certificate: str
    accepts: str
    version: str

    @property
    def fingerprint(self) -> str:
        """Return the certificate's fingerprint, as two operators compare it."""
        return read_certificates(self.certificate)[0].fingerprint

    def fields(self) -> dict[str, Any]:
        """Return them as JSON fields."""
        return {
            "host": self.host,
            "agents": list(self.agents),
            "urls": list(self.urls),
            "certificate": self.certificate,
            "accepts": self.accepts,
            "version": self.version,
        }


def read_terms(fields: dict[str, Any]) -> Terms:
    """Return the terms that were sent. Raises BadTerms."""
    try:
        terms = Terms(
            host=host_name(fields.get("host")),
            agents=tuple(agent_name(name) for name in _texts(fields, "agents", MOST_AGENTS)),
            urls=tuple(https_url(text) for text in _texts(fields, "urls", MOST_URLS)),
            certificate=_text(fields, "certificate"),
            accepts=_text(fields, "accepts"),
            version=_text(fields, "version")[:40],
        )
    except BadName as error:
        raise BadTerms(str(error)) from None
    _check(terms)
    return terms


def _check(terms: Terms) -> None:
    if not _DIGEST.match(terms.accepts):
        raise BadTerms("accepts: not a SHA-256 in lower-case hex")
    try:
        count = len(read_certificates(terms.certificate))
    except BadCertificate as error:
        raise BadTerms(f"certificate: {error}") from None
    if count != 1:
        raise BadTerms("certificate: more than one")


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadTerms(f"{name}: not a string")
    return value


def _texts(fields: dict[str, Any], name: str, most: int) -> Iterable[str]:
    value = fields.get(name)
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
        raise BadTerms(f"{name}: not a list of at most {most} strings")
    return value


def https_url(text: str) -> str:
    """Return an address as a host may be told to call it. Raises BadTerms."""
    if not text.startswith("https://") or len(text) > _LONGEST_URL or not text.isprintable() or " " in text:
        raise BadTerms(f"urls: {text[:80]!r} is not an https address")
    return text
