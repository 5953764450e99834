"""Puts a `Config` together from a valid document and the files it names.

It owns the directory that relative names start from and the names of the identity's files. The rule that must stay
true: one file that can't be used never hides another.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from handoffd.config.material import (
    Closed,
    Missing,
    Unfit,
    check_program,
    check_root,
    looks_like_token,
    read_hashes,
    read_key_pair,
    read_pins,
    read_token,
)
from handoffd.config.model import Config, KeyPair, Listener, PeerConfig, TokenHashes
from handoffd.config.problem import KeyPath
from handoffd.config.rule import Finding
from handoffd.config.schema import ANY_AGENT, Document, Hook, Listen, Peer, is_loopback

_NO_HASHES: TokenHashes = frozenset()

T = TypeVar("T")
P = ParamSpec("P")


class Assembly:
    """Opens what a document names; `findings` collects the files that can't be used."""

    def __init__(self, directory: Path, now_s: float) -> None:
        self.findings: list[Finding] = []
        self._directory = directory
        self._now_s = now_s

    def config(self, path: Path, document: Document, root: Path | None) -> Config:
        """Return a Config, to be thrown away if there are findings; `root` takes the place of the document's."""
        identity = self._identity(document)
        return Config(
            path=path,
            host=document.host,
            root=self._root(root or self._directory / document.root),
            agents=document.agents,
            listen=tuple(self._listener(("listen", i), each, identity) for i, each in enumerate(document.listen)),
            agent_tokens={
                agent: self._hashes(("agent_tokens", agent), text) for agent, text in document.agent_tokens.items()
            },
            on_publish={agent: self._hook(agent, hook) for agent, hook in document.on_publish.items()},
            operator_token=self._hashes(("operator_token",), document.operator_token),
            page=document.page,
            page_viewers=self._hashes(("page", "viewers"), document.page.viewers),
            peers={name: self._peer(name, peer) for name, peer in document.peers.items()},
            identity=identity,
            watch=document.watch,
            scan_interval_s=document.scan_interval_s,
            limits=document.limits,
            retain_days=document.retain_days,
            forget_after_h=document.forget_after_h,
            doubt_max_days=document.doubt_max_days,
            journal=document.journal,
            log=document.log,
            default_peer=next((name for name, peer in document.peers.items() if ANY_AGENT in peer.agents), None),
        )

    def _root(self, root: Path) -> Path:
        self._read(("root",), None, check_root, root)
        return root

    def _hook(self, agent: str, hook: Hook) -> Hook:
        if hook.command is not None:
            self._read(("on_publish", agent, "command", 0), None, check_program, Path(hook.command[0]))
        return hook

    def _identity(self, document: Document) -> KeyPair:
        certificate = document.identity.certificate or f"identity/{document.host}.pem"
        key = document.identity.key or f"identity/{document.host}.key"
        return self._key_pair(("identity",), certificate, key)

    def _listener(self, key: KeyPath, listen: Listen, identity: KeyPair) -> Listener:
        pair = identity if listen.tls else None
        if listen.tls and listen.certificate and listen.key:
            pair = self._key_pair((*key, "certificate"), listen.certificate, listen.key)
        return Listener(listen.address, listen.port, pair, is_loopback(listen.address))

    def _peer(self, name: str, peer: Peer) -> PeerConfig:
        key: KeyPath = ("peers", name)
        pem, fingerprints = self._pins((*key, "certificate"), peer.certificate)
        return PeerConfig(
            name=name,
            url=peer.url or "",
            agents=tuple(agent for agent in peer.agents if agent != ANY_AGENT),
            pinned_pem=pem,
            fingerprints=fingerprints,
            token=b"" if peer.token is None else self._named((*key, "token"), b"", read_token, peer.token),
            accepts=self._hashes((*key, "accepts"), peer.accepts),
            relay=peer.relay,
        )

    def _pins(self, key: KeyPath, text: str | None) -> tuple[str | None, tuple[str, ...]]:
        if text is None:
            return None, ()
        pem, certificates = self._named(key, ("", ()), read_pins, text, self._now_s)
        return pem, tuple(each.fingerprint for each in certificates)

    def _hashes(self, key: KeyPath, text: str | None) -> TokenHashes:
        return _NO_HASHES if text is None else self._named(key, _NO_HASHES, read_hashes, text)

    def _key_pair(self, key: KeyPath, certificate: str, private: str) -> KeyPair:
        pair = (self._directory / certificate, self._directory / private)
        return self._read(key, KeyPair(*pair, fingerprint=""), read_key_pair, *pair, self._now_s)

    def _named(
        self,
        key: KeyPath,
        fallback: T,
        reader: Callable[Concatenate[Path, P], T],
        text: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if looks_like_token(text):  # do not repeat it in an error
            message = "looks like a secret itself"
            self.findings.append(
                Finding(key, message, "put it into a file of mode 0600 and write that file's name here")
            )
            return fallback
        return self._read(key, fallback, reader, self._directory / text, *args, **kwargs)

    def _read(self, key: KeyPath, fallback: T, reader: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return reader(*args, **kwargs)
        except Missing as error:
            self.findings.append(Finding(key, error.message, _source(key) or error.remedy))
        except Unfit as error:
            self.findings.append(Finding(key, error.message, error.remedy, closed=isinstance(error, Closed)))
        return fallback


def _source(key: KeyPath) -> str | None:
    """Return where the file comes from if another host or `init` makes it."""
    match key:
        case ("peers", peer, "certificate"):
            return f"copy identity/{peer}.pem of {peer} there"
        case ("peers", peer, "accepts"):
            return f"copy {peer}.in.sha256 there, which `handoffd init --peer` made on {peer}"
        case ("identity",):
            return "`handoffd init` makes one, or name yours under `identity`"
    return None
