"""A loaded configuration: absolute paths, secrets and certificates in memory, nothing left to look up.

It knows nothing of YAML. The rule that must stay true: no `repr` shows a secret or a hash of one.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from handoffd.config.schema import Hook, Journal, Limits, Log, Page

TokenHashes = frozenset[bytes]
"""SHA-256 digests (32 bytes each) of the tokens one principal may present; several during a rotation."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files of a certificate and its private key that have been seen to fit each other."""

    certificate: Path
    key: Path
    fingerprint: str = field(compare=False)
    """Left out of comparisons: other bytes in the same files are shown from the next reload on."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to answer on; `key_pair` is None for plain HTTP, which is only ever on loopback."""

    address: str
    port: int
    key_pair: KeyPair | None
    is_loopback: bool

    @property
    def is_for_all(self) -> bool:
        """Tell whether it answers on every address of this machine."""
        return ipaddress.ip_address(self.address).is_unspecified


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """Another host's daemon: how to reach it, what to show it, what to believe from it."""

    name: str
    url: str
    """Empty: it dials in."""
    agents: tuple[str, ...]
    """Those named; the one peer of all others is `Config.default_peer`."""
    pinned_pem: str | None = field(repr=False)
    """One or more PEM certificates, the only ones to accept; None for plain HTTP on loopback."""
    fingerprints: tuple[str, ...]
    token: bytes = field(repr=False)
    accepts: TokenHashes = field(repr=False)
    relay: bool = False

    @property
    def dials_in(self) -> bool:
        """Whether it cannot be called from here, and comes for what is its own."""
        return not self.url


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a daemon is told. Fields named as in the file mean what docs/configuration.md says."""

    path: Path
    host: str
    root: Path
    agents: tuple[str, ...]
    listen: tuple[Listener, ...]
    agent_tokens: Mapping[str, TokenHashes] = field(repr=False)
    on_publish: Mapping[str, Hook]
    operator_token: TokenHashes = field(repr=False)
    page: Page
    page_viewers: TokenHashes = field(repr=False)
    peers: Mapping[str, PeerConfig]
    identity: KeyPair
    watch: Literal["auto", "inotify", "watchfiles", "scan"]
    scan_interval_s: float
    limits: Limits
    retain_days: int
    forget_after_h: int
    doubt_max_days: int
    journal: Journal
    log: Log
    default_peer: str | None = None

    @property
    def homes(self) -> Mapping[str, tuple[str, ...]]:
        """Return the peers each remote agent that is named lives at; the others live at `default_peer`."""
        homes: dict[str, tuple[str, ...]] = {}
        for peer in self.peers.values():
            for agent in peer.agents:
                homes[agent] = (*homes.get(agent, ()), peer.name)
        return homes
