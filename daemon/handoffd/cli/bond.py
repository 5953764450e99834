"""A peer as this host calls it to renew what it believes: its address, certificate and our token for it.

It owns one request and knows nothing of what is renewed. The rule that must stay true: our token goes only to who shows
the pinned certificate.
"""

from typing import Any

from handoffd.cli.side import Side
from handoffd.config import read_document
from handoffd.identity import read_certificates
from handoffd.pairing.dial import ask
from handoffd.pairing.trust import digest_of_der


class Bond:
    """One peer of this host. `url` is empty if it dials in."""

    def __init__(self, side: Side, peer: str) -> None:
        self._config = side.config.peers[peer]
        self.name = peer
        self.url = self._config.url
        self.token = self._config.token.decode("ascii")
        stanza = read_document(side.config.path).peers[peer]
        self.token_file = side.directory / stanza.token if stanza.token else None
        self.hashes_file = side.directory / stanza.accepts if stanza.accepts else None

    def ask(self, what: str, fields: dict[str, object]) -> dict[str, Any]:
        """Ask the peer's daemon to renew something. Raises Unreached, NoAnswer, Turned."""
        pem = self._config.pinned_pem
        pins = [digest_of_der(each.der) for each in read_certificates(pem)] if pem else []
        return ask(self.url, pins, f"/api/v1/peer/{what}", fields, self.token)
