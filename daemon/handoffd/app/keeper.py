"""The keeper: what a paired peer may change of what this host believes of it, and the reload that brings it into force.

It owns the peer's hash file and pin file while the daemon runs, and no handoff. The rules that must stay true: a change
is answered when it is on the disk and in force, or it is undone; it is made only while the token it came with is still
accepted, by the file itself; a peer never touches a file of another, and is told nothing of what they hold; and the
files a person writes by hand, `handoffd.yaml` and `peers.d/`, are not written here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from handoffd.config import ConfigError, read_document
from handoffd.hub.refusal import Refused, bad_request, unauthorized_any_more
from handoffd.identity import BadCertificate, is_vouched, read_certificates
from handoffd.pairing.store import Before, Store
from handoffd.pairing.trust import hashes_text, listed_digests, pins_text
from handoffd.protocol.reason import Problem

log = logging.getLogger(__name__)
UNWRITABLE = "This host's daemon may not write its peers' files; its log has the reason."
UNREADABLE = "This host's configuration is refused as it stands; its log has the reason."
"""What a peer is told; paths and lines of the configuration are not for it."""


class ConfigKeeper:
    """Keeps the files of peers. `reload` brings a changed configuration into force and returns its problems."""

    def __init__(
        self, path: Path, key: Path, reload: Callable[[], Awaitable[list[str]]], tell: Callable[..., None]
    ) -> None:
        self._path, self._key = path, key
        self._reload, self._tell = reload, tell
        self._one_at_a_time = asyncio.Lock()

    def tell(self, event: str, /, **fields: object) -> None:
        """Write a line of the journal."""
        self._tell(event, **fields)

    async def reload(self) -> list[str]:
        """Read the configuration again; return why it was refused, empty if it is in force."""
        return await self._reload()

    async def add_token(self, peer: str, present: str, digest: str) -> None:
        """Accept another token beside the present one; what else was accepted is no more. Raises Refused."""
        await self._change(peer, present, "accepts", lambda _: hashes_text([present, digest]))
        self.tell("token_added", peer=peer, detail=f"{peer} renews its token: two are accepted for a moment")

    async def keep_token(self, peer: str, digest: str) -> None:
        """Accept only this token. Raises Refused."""
        await self._change(peer, digest, "accepts", lambda _: hashes_text([digest]))
        self.tell("token_settled", peer=peer, detail=f"{peer} has renewed its token: the old one is accepted no more")

    async def pin(self, peer: str, digest: str, pem: str, signature: str) -> None:
        """Pin a certificate that the key of a pinned one vouches for, beside the first of those; none: it alone.

        A token, of which `digest` is known, does not do: who has stolen it must not become the host in whose name he
        has it. Raises Refused.
        """
        try:
            given = read_certificates(pem)
        except BadCertificate as error:
            raise bad_request(f"certificate: {error}.") from None
        if len(given) != 1:
            raise bad_request("certificate: more than one.")
        await self._change(peer, digest, "certificate", lambda present: _renewed_pins(present, pem, signature))
        word = "certificate_added" if signature else "certificate_settled"
        self.tell(word, peer=peer, detail=f"{peer} shows or will show {given[0].fingerprint}")

    async def _change(self, peer: str, digest: str, key: str, renewed: Callable[[str], bytes]) -> None:
        """Change a file of a peer's that came with this token's digest. Raises Refused."""
        async with self._one_at_a_time:
            try:
                store = Store(self._key)
                before = await asyncio.to_thread(self._put, store, peer, digest, key, renewed)
            except OSError as error:
                log.error("peer %s cannot renew what it is known by: %s: %s", peer, error.filename, error.strerror)
                raise Refused(Problem.UNAVAILABLE, UNWRITABLE) from None
            if await self._reload():
                await asyncio.to_thread(store.undo, before)
                raise Refused(Problem.UNAVAILABLE, UNREADABLE)

    def _put(self, store: Store, peer: str, digest: str, key: str, renewed: Callable[[str], bytes]) -> list[Before]:
        file, accepts = self._file(peer, key), self._file(peer, "accepts")

        def changed(present: bytes) -> bytes:
            # The door let this request pass before it waited here; `token revoke` may have been quicker.
            if digest not in listed_digests(accepts.read_text()):
                raise unauthorized_any_more()
            return renewed(present.decode())

        return store.change(file, changed)

    def _file(self, peer: str, key: str) -> Path:
        """Return the file a peer's stanza names. Raises Refused."""
        try:
            name = getattr(read_document(self._path).peers[peer], key)
        except (ConfigError, KeyError) as error:
            log.error("peer %s cannot renew what it is known by: %s", peer, error)
            raise Refused(Problem.UNAVAILABLE, UNREADABLE) from None
        if name is None:
            raise bad_request(f"No {key} of yours is kept here.")
        return self._path.parent / str(name)


def _renewed_pins(present: str, pem: str, signature: str) -> bytes:
    """Return the pin file's new text. Raises Refused."""
    pins, given = read_certificates(present), read_certificates(pem)[0]
    if signature and not is_vouched(pins, pem, signature):
        raise bad_request("signature: not made with the key of a certificate of yours that is pinned here.")
    if not signature and given.der not in [pin.der for pin in pins]:
        raise bad_request("certificate: not pinned here yet; send the signature of the present one's key.")
    return pins_text(present, pem, alone=not signature)
