"""A hub that nobody's agents live on, and hosts that only dial out to it; a proxy that can stand between."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from tests.spec.daemon.rig import Host, until


def pair_up(spoke: Host, lender: Host, *, everything: bool = True, port: int = 0) -> None:
    """Let `spoke` dial `lender`: all that `handoffd init` and two copies would have left."""
    token = secrets.token_urlsafe(32)
    write(spoke.directory / f"peers/{lender.name}.out", token, 0o600)
    certificate = (lender.directory / f"identity/{lender.name}.pem").read_bytes()
    (spoke.directory / f"peers/{lender.name}.pem").write_bytes(certificate)
    agents = ["*"] if everything else list(lender.agents)
    stanza = {
        "url": f"https://127.0.0.1:{port or lender.tls_port}",
        "agents": agents,
        "certificate": f"peers/{lender.name}.pem",
        "token": f"peers/{lender.name}.out",
        "relay": everything,
    }
    peer_file(spoke, lender.name, stanza)
    write(lender.directory / f"peers/{spoke.name}.in.sha256", hashlib.sha256(token.encode()).hexdigest() + "\n", 0o644)
    peer_file(lender, spoke.name, {"agents": list(spoke.agents), "accepts": f"peers/{spoke.name}.in.sha256"})


def peer_file(host: Host, peer: str, stanza: dict[str, object]) -> None:
    """JSON is YAML."""
    write(host.directory / f"peers.d/{peer}.yaml", json.dumps({"peers": {peer: stanza}}), 0o644)


def write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def deaf(host: Host) -> None:
    """Let a host listen for its own agents alone, so that nobody can call it."""
    lines = host.config.read_text().splitlines(keepends=True)
    host.config.write_text("".join(line for line in lines if "tls: true" not in line))


class Star:
    """`hub` in the middle, and as many spokes as named agents."""

    def __init__(self, directory: Path, *agents: str) -> None:
        self.hub = Host(directory / "hub", "hub", "nobody")
        self.hub.init()
        self.hub.edit("agents: [nobody]", "agents: []")
        self.hub.edit("agent_tokens: {nobody: tokens/nobody.sha256}", "agent_tokens: {}")
        self.spokes = [Host(directory / agent, f"{agent}-vm", agent) for agent in agents]
        for spoke in self.spokes:
            spoke.init()
            deaf(spoke)
            pair_up(spoke, self.hub)
        self.hosts: Sequence[Host] = (self.hub, *self.spokes)

    def start(self) -> "Star":
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            host.ready()
        for spoke in self.spokes:
            self.linked(spoke)
        return self

    def linked(self, spoke: Host) -> None:
        """Wait until a spoke's link is up at both ends."""
        until(f"{spoke.name} has dialled in", lambda: is_up(self.hub, spoke.name) and is_up(spoke, "hub"))


class Dialled:
    """bob-vm, which can be called, and alice-vm, which only dials: no hub between them."""

    def __init__(self, directory: Path) -> None:
        self.bob, self.alice = Host(directory / "a", "bob-vm", "bob"), Host(directory / "b", "alice-vm", "alice")
        for host in self.hosts:
            host.init()
        deaf(self.alice)
        pair_up(self.alice, self.bob, everything=False)

    @property
    def hosts(self) -> Sequence[Host]:
        return (self.bob, self.alice)

    def start(self) -> "Dialled":
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            host.ready()
        until("alice-vm has dialled in", lambda: is_up(self.bob, "alice-vm") and is_up(self.alice, "bob-vm"))
        return self


def is_up(host: Host, peer: str) -> bool:
    """Tell whether a link was up last, since the daemon was started."""
    turns = [
        line["event"]
        for line in host.journal()
        if line["event"] == "daemon_started" or (line["event"] in ("link_up", "link_down") and line["peer"] == peer)
    ]
    return turns[-1:] == ["link_up"]
