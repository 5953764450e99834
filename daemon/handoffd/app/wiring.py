"""From configuration to the values each floor is handed: settings, principals, addresses.

It translates and does nothing else. The rule that must stay true: no floor below sees the configuration itself.
"""

import dataclasses
import ssl
from collections.abc import Iterable

from handoffd import __version__, identity
from handoffd.app.hook_call import Hook
from handoffd.config import Config, Listener, PeerConfig, differences_that_need_restart
from handoffd.custody.household import EVERYONE
from handoffd.custody.layout import is_shared
from handoffd.custody.message import Principal
from handoffd.custody.tree import Settings
from handoffd.hub.listen import Listen
from handoffd.hub.settings import Directory, HubSettings, PageSettings, Scope
from handoffd.protocol.name import CANARY_AGENT, AgentName, HostName
from handoffd.protocol.timing import DAY_S, HOUR_S


def in_force(running: Config, wanted: Config) -> Config:
    """Return what a reload brings into force: what needs a restart stays as it runs."""
    kept = {key: getattr(running, key) for key in differences_that_need_restart(running, wanted)}
    return dataclasses.replace(wanted, **kept)


def custody_settings(config: Config) -> Settings:
    """Return what the engine needs."""
    return Settings(
        host=HostName(config.host),
        agents=frozenset(map(AgentName, config.agents)),
        peers={HostName(peer.name): frozenset(map(AgentName, peer.agents)) for peer in config.peers.values()},
        pulls=frozenset(HostName(peer.name) for peer in config.peers.values() if peer.dials_in),
        relays=frozenset(HostName(peer.name) for peer in config.peers.values() if peer.relay),
        default_peer=None if config.default_peer is None else HostName(config.default_peer),
        max_payload_bytes=config.limits.max_payload_bytes,
        max_ttl_s=config.limits.max_ttl_s,
        forget_after_s=config.forget_after_h * HOUR_S,
        retain_s=config.retain_days * DAY_S,
        doubt_max_s=config.doubt_max_days * DAY_S,
        directory_mode=0o2770 if is_shared(config.root) else 0o755,
    )


def hub_settings(config: Config) -> HubSettings:
    """Return what the hub needs."""
    return HubSettings(
        host=HostName(config.host),
        version=__version__,
        homes=frozenset(map(AgentName, config.agents)),
        pulls=frozenset(HostName(peer.name) for peer in config.peers.values() if peer.dials_in),
        max_payload_bytes=config.limits.max_payload_bytes,
        agent_requests_per_s=config.limits.agent_requests_per_s,
        agent_burst=config.limits.agent_burst,
        page=page_settings(config),
    )


def page_settings(config: Config) -> PageSettings:
    """Return what the hub needs for the status page; a listener for every address has this host's name."""

    def everywhere(name: str) -> tuple[str, ...]:
        return tuple(_url(one, name) for one in config.listen if one.is_for_all)

    return PageSettings(
        scope=Scope(config.page.serve),
        shows_payloads=config.page.show_payloads,
        near_urls=tuple(_url(one, one.address) for one in config.listen if one.is_loopback) or everywhere("localhost"),
        far_urls=everywhere(config.host)
        + tuple(_url(one, one.address) for one in config.listen if not (one.is_loopback or one.is_for_all)),
    )


def _url(listener: Listener, name: str) -> str:
    scheme = "https" if listener.key_pair else "http"
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{listener.port}"


def directory(config: Config) -> Directory:
    """Return who may speak to the hub."""
    principals: dict[str, Principal] = {}
    for name, hashes in config.agent_tokens.items():
        agent = AgentName(name)
        principals |= {digest.hex(): Principal(f"@{agent}", agent, frozenset({agent})) for digest in hashes}
    for peer in config.peers.values():
        principals |= {digest.hex(): Principal(peer.name, None, agents_of(peer)) for digest in peer.accepts}
    return Directory(principals, _hex(config.operator_token), _hex(config.page_viewers), peers=frozenset(config.peers))


def _hex(digests: Iterable[bytes]) -> frozenset[str]:
    return frozenset(digest.hex() for digest in digests)


def hooks(config: Config) -> dict[str, Hook]:
    """Return what wakes each agent."""
    return {agent: Hook(one.command, one.url, one.timeout_s) for agent, one in config.on_publish.items()}


def agents_of(peer: PeerConfig) -> frozenset[AgentName]:
    """Return the agents a peer may send from."""
    # Peers try a link with canaries; no agent's token speaks for the reserved name.
    return EVERYONE if peer.relay else frozenset(map(AgentName, peer.agents)) | {CANARY_AGENT}


def listens(config: Config) -> list[Listen]:
    """Return where to listen, certificates loaded. Raises BadCertificate, OSError."""
    return [
        Listen(
            one.address,
            one.port,
            identity.server_context(one.key_pair.certificate, one.key_pair.key) if one.key_pair else None,
        )
        for one in config.listen
    ]


def same_link(old: PeerConfig, new: PeerConfig) -> bool:
    """Tell whether a link made for the old configuration serves the new one, if it learns of another token or pin."""
    fields = ("url", "agents", "relay")
    return all(getattr(old, name) == getattr(new, name) for name in fields)


class CannotShow(Exception):
    """A certificate and its key were one pair when the configuration was read, and are none any more."""


def show_anew(shown: list[Listen], config: Config) -> None:
    """Let listeners that are open show what their files hold now; connections that are open stay as they are.

    Raises CannotShow.
    """
    for one, wanted in zip(shown, config.listen, strict=True):  # `listen` itself is as it was at start
        if one.tls is not None and wanted.key_pair is not None:
            try:
                identity.show(one.tls, wanted.key_pair.certificate, wanted.key_pair.key)
            except OSError as error:
                raise CannotShow(f"{wanted.key_pair.certificate}: changed while it was read: {error}") from None


def trusting(peer: PeerConfig) -> ssl.SSLContext | None:
    """Return a context that accepts the peer's pinned certificates alone; None for plain HTTP on loopback."""
    return identity.client_context(peer.pinned_pem) if peer.pinned_pem else None


def same_trust(old: PeerConfig, new: PeerConfig) -> bool:
    """Tell whether the peer is shown the same token and believed by the same certificates as before."""
    return (old.token, old.pinned_pem) == (new.token, new.pinned_pem)
