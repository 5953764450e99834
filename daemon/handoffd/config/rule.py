"""Rules between the keys of a configuration: who lives where, what may listen where, which number exceeds which.

It looks at values alone and opens no file. The rules that must stay true: an agent lives in one place, or at several
peers that all dial in; and a token or certificate speaks for exactly one party.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from handoffd.config.model import Config, TokenHashes
from handoffd.config.problem import KeyPath, dotted
from handoffd.config.schema import ANY_AGENT, Document, Listen, Peer, is_loopback
from handoffd.protocol import timing
from handoffd.protocol.name import CANARY_AGENT

_EVERY = ("0.0.0.0", "::")
"""Each of its own family alone: the daemon's IPv6 sockets take no IPv4."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule, at the key a person would change; `other` is the one that the message speaks of last.

    `closed`: this user may not read the file that the key names.
    """

    key: KeyPath
    message: str
    remedy: str
    other: KeyPath | None = None
    closed: bool = False


def broken_rules(document: Document) -> list[Finding]:
    """Return every rule between keys that the document breaks."""
    return [
        *_listeners(document),
        *_homes(document),
        *_strangers_with_tokens(document),
        *_hooks(document),
        *(finding for name, peer in document.peers.items() for finding in _peer(document, name, peer)),
        *_defaults(document),
        *_times(document),
    ]


def _listeners(document: Document) -> Iterator[Finding]:
    seen: dict[tuple[str, int], int] = {}
    for index, listen in enumerate(document.listen):
        first = seen.setdefault((listen.address, listen.port), index)
        if first != index:
            other: KeyPath = ("listen", first)
            yield Finding(("listen", index), f"is the same as {dotted(other)}", "remove one of the two", other)
        yield from _listener(("listen", index), listen)
    yield from _covered(document.listen)


def _covered(listens: Sequence[Listen]) -> Iterator[Finding]:
    """Find addresses whose port an entry for every address takes already; the kernel would refuse the second one."""
    every = {(listen.address, listen.port): index for index, listen in enumerate(listens) if listen.address in _EVERY}
    for index, listen in enumerate(listens):
        wildcard = "::" if ":" in listen.address else "0.0.0.0"
        first = every.get((wildcard, listen.port))
        if first is not None and listen.address != wildcard:
            other: KeyPath = ("listen", first)
            message = f"port {listen.port} is taken by {wildcard}, which is every address, in {dotted(other)}"
            yield Finding(("listen", index), message, "give one of the two another port", other)


def _listener(key: KeyPath, listen: Listen) -> Iterator[Finding]:
    if not listen.tls and not is_loopback(listen.address):
        message = f"{listen.address} is reachable from other machines and has no TLS"
        yield Finding((*key, "address"), message, "add tls: true, or listen on 127.0.0.1")
    if (listen.certificate is None) != (listen.key is None):
        lone = "certificate" if listen.key is None else "key"
        yield Finding((*key, lone), "certificate and key come together", "add the other one, or remove this one")
    elif listen.certificate is not None and not listen.tls:
        yield Finding((*key, "certificate"), "is not used without TLS", "add tls: true")


def _homes(document: Document) -> Iterator[Finding]:
    homes: dict[str, str | None] = {}
    places: list[tuple[KeyPath, tuple[str, ...], str | None]] = [(("agents",), document.agents, None)]
    places += [(("peers", name, "agents"), peer.agents, name) for name, peer in document.peers.items()]
    for key, agents, home in places:
        for index, agent in enumerate(agents):
            if agent == CANARY_AGENT:
                yield Finding((*key, index), f"{agent} is reserved for the daemon", "choose another name")
            elif agent in homes and agent != ANY_AGENT:
                yield from _second_home(document, (*key, index), agent, homes[agent], home)
            homes.setdefault(agent, home)


def _second_home(
    document: Document, key: KeyPath, agent: str, first: str | None, second: str | None
) -> Iterator[Finding]:
    """Several peers may be home to one agent if all of them dial in: the first to come has it (custody.md 11.4)."""
    if first is None or first == second:
        home = "this host" if first is None else f"peer {first}"
        yield Finding(key, f"{agent} also lives at {home}", "an agent lives in one place: remove one of the two")
        return
    called = [peer for peer in (first, second) if peer is not None and document.peers[peer].url is not None]
    if called:
        message = f"{agent} also lives at peer {first}, and this host calls {' and '.join(called)}"
        remedy = "several homes of one agent all have to dial in: leave it at one peer, or remove `url` from each"
        yield Finding(key, message, remedy)


def _strangers_with_tokens(document: Document) -> Iterator[Finding]:
    for agent in document.agent_tokens:
        if agent not in document.agents:
            message = f"{agent} does not live on this host"
            yield Finding(("agent_tokens", agent), message, "add it to agents, or remove its token")


def _hooks(document: Document) -> Iterator[Finding]:
    for agent, hook in document.on_publish.items():
        key: KeyPath = ("on_publish", agent)
        if agent not in document.agents:
            yield Finding(key, f"{agent} does not live on this host", "add it to agents, or remove its hook")
        if (hook.command is None) == (hook.url is None):
            message = "names neither a command nor a url" if hook.url is None else "names both a command and a url"
            yield Finding(key, message, "give one of the two")


def _peer(document: Document, name: str, peer: Peer) -> Iterator[Finding]:
    key: KeyPath = ("peers", name)
    if name == document.host:
        yield Finding(key, "is this host itself", "name the other host; `host` is the name of this one")
    if peer.url is not None and urlsplit(peer.url).scheme == "https" and peer.certificate is None:
        message = "has no certificate to pin"
        yield Finding(key, message, f"add certificate: peers/{name}.pem, a copy of that host's identity/{name}.pem")
    if peer.url is not None and peer.token is None:
        yield Finding(key, "has no token to present there", f"add token: peers/{name}.out, as `handoffd init` makes it")
    if peer.accepts is None:
        yield from _unheard(document, key, peer)


def _unheard(document: Document, key: KeyPath, peer: Peer) -> Iterator[Finding]:
    """Find a peer that this host would not know when it calls."""
    remedy = f"add accepts: peers/{key[-1]}.in.sha256, the hash of the secret that it presents here"
    reachable = next((each.address for each in document.listen if not is_loopback(each.address)), None)
    if peer.url is None:
        yield Finding(key, "has no url, so it dials in, and no accepts to know it by", remedy)
    elif reachable is not None:
        yield Finding(key, f"has no accepts to know it by, and this host listens on {reachable}", remedy)


def _defaults(document: Document) -> Iterator[Finding]:
    """Find a second home of every agent that nobody names."""
    homes = [name for name, peer in document.peers.items() if ANY_AGENT in peer.agents]
    for name in homes[1:]:
        key: KeyPath = ("peers", name, "agents", document.peers[name].agents.index(ANY_AGENT))
        message = f'"*" (every agent that nobody names) also lives at peer {homes[0]}'
        yield Finding(key, message, "leave it at one peer, and list the agents of the other by name")


def _times(document: Document) -> Iterator[Finding]:
    minimum_s = timing.retain_minimum_s(
        document.doubt_max_days * timing.DAY_S, document.limits.max_ttl_s, document.forget_after_h * timing.HOUR_S
    )
    if document.retain_days * timing.DAY_S <= minimum_s:
        least = int(minimum_s // timing.DAY_S) + 1
        message = f"{document.retain_days} days do not exceed doubt_max_days + 1 h + limits.max_ttl_s + forget_after_h"
        yield Finding(("retain_days",), message, f"write at least {least}, or lower one of the others")


def mixed_up_material(config: Config) -> list[Finding]:
    """Return every token or certificate that stands for more than one party, so that no party can pass as another."""
    return [*_shared_hashes(config), *_shared_tokens(config), *_shared_certificates(config)]


def _accepted(config: Config) -> Iterator[tuple[KeyPath, TokenHashes]]:
    yield from ((("agent_tokens", agent), hashes) for agent, hashes in config.agent_tokens.items())
    yield from ((("peers", peer.name, "accepts"), peer.accepts) for peer in config.peers.values())
    yield ("operator_token",), config.operator_token
    yield ("page", "viewers"), config.page_viewers


def _shared_hashes(config: Config) -> Iterator[Finding]:
    owners: dict[bytes, KeyPath] = {}
    for key, hashes in _accepted(config):
        for digest in hashes:
            owner = owners.setdefault(digest, key)
            if owner != key:
                yield Finding(key, f"accepts the same token as {dotted(owner)}", "give each its own token")


def _shared_tokens(config: Config) -> Iterator[Finding]:
    owners: dict[bytes, KeyPath] = {}
    accepted = {digest: key for key, hashes in _accepted(config) for digest in hashes}
    for peer in config.peers.values():
        key = ("peers", peer.name, "token")
        digest = hashlib.sha256(peer.token).digest()
        if peer.token and owners.setdefault(digest, key) != key:
            yield Finding(key, f"is the same secret as {dotted(owners[digest])}", "present another token to each peer")
        if digest in accepted:
            message = "accepts the token that this host itself presents"
            yield Finding(accepted[digest], message, "put the hash that the other side made there")


def _shared_certificates(config: Config) -> Iterator[Finding]:
    own = [config.identity, *(listen.key_pair for listen in config.listen if listen.key_pair)]
    owners = {pair.fingerprint: "this host" for pair in own}
    for peer in config.peers.values():
        for fingerprint in peer.fingerprints:
            owner = owners.setdefault(fingerprint, f"peer {peer.name}")
            if owner != f"peer {peer.name}":
                message = f"is the certificate of {owner}"
                yield Finding(("peers", peer.name, "certificate"), message, f"copy identity/{peer.name}.pem from there")
