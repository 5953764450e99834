"""What is handed to the hub from outside: its numbers, and who may speak to it. It reads no configuration.

The rule that must stay true: no token is kept here, only the SHA-256 of each; a token has 256 bits of its own, so
a slow hash would add nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from handoffd.custody.message import Principal
from handoffd.protocol.name import AgentName, HostName
from handoffd.protocol.timing import BATCH_LIMIT_BYTES, PAYLOAD_LIMIT_BYTES, REQUEST_TOTAL_S


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take for what, in seconds, and how many there may be."""

    head_s: float = REQUEST_TOTAL_S
    """From the first byte of a request (or the connection's start) to the end of its headers; the TLS handshake too."""
    body_s: float = REQUEST_TOTAL_S
    """From the end of the headers to the end of the body: a daemon gives up its request at the same time."""
    idle_s: float = 75.0
    """Between requests: above the 60 s that common proxies and clients keep a connection."""
    stall_s: float = 10.0
    """A client that reads nothing of its answer, or does not let go of a closed connection, is cut off."""
    linger_s: float = 2.0
    """An unread body is read and dropped for so long, so that the refusal reaches a client that is still writing."""
    connections: int = 4_096
    """Open at once, handshakes included; fewer where the process may not have so many descriptors (listen.py)."""
    near_connections: int = 512
    """Of these, kept for clients of loopback listeners, which strangers cannot reach."""
    connections_from_one: int = 128
    """From one address to the other listeners: a link has 18, and several hosts may share one address."""


class Scope(Enum):
    """From where the status page may be asked for; the values are those of the configuration."""

    NOWHERE = "nowhere"
    LOOPBACK = "loopback"
    EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The status page. The URLs are of listeners that this host alone can reach, and of the others."""

    scope: Scope = Scope.LOOPBACK
    shows_payloads: bool = False
    near_urls: tuple[str, ...] = ()
    far_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Everything the hub needs to know of its host. `homes` are the agents that live here."""

    host: HostName
    version: str
    homes: frozenset[AgentName]
    pulls: frozenset[HostName] = frozenset()
    """Peers that dial in for what is theirs."""
    max_payload_bytes: int = PAYLOAD_LIMIT_BYTES
    agent_requests_per_s: float = 20.0
    agent_burst: int = 100
    agent_limit_bytes: int = 8 * PAYLOAD_LIMIT_BYTES
    """Bodies of one agent that are in memory at once: its burst could else bring a hundred of the largest."""
    peer_limit_bytes: int = 8 * BATCH_LIMIT_BYTES
    """Bodies of one peer that are in memory at once: a full link keeps a few batches under way."""
    patience: Patience = field(default_factory=Patience)
    page: PageSettings = field(default_factory=PageSettings)


@dataclass(frozen=True, slots=True)
class Directory:
    """Who may speak: principals, operators and viewers, by the lower-case hex SHA-256 of the token. Replaced whole."""

    principals: Mapping[str, Principal]
    operators: Collection[str] = frozenset()
    viewers: Collection[str] = frozenset()
    peers: Collection[str] = frozenset()
    """The hosts that this one is paired with, whether a token of theirs is accepted or not."""
    parted: Mapping[str, str] = field(default_factory=dict)
    """Tokens of the peers that this process was paired with once and is no more, and whose each was."""

    def after(self, before: "Directory") -> "Directory":
        """Return this one with those parted from since; each may hear why its token is refused."""
        held = {digest: one.peer for digest, one in before.principals.items() if one.agent is None}
        known = {**before.parted, **held}
        return replace(self, parted={digest: peer for digest, peer in known.items() if peer not in self.peers})
