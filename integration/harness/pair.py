"""The two hosts together: their configuration, their secrets, and a fresh start for every scenario.

Owns the configuration files of both daemons and the way from one scenario to the next. The rule that must stay true: a
scenario finds both daemons linked, all directories empty, every clock right and nobody listening, whatever the one
before it did.
"""

import copy
import hashlib
import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.engine import compose, docker, eventually
from harness.host import AGENT_PORT, PEER_PORT, ROOT, Host

Configuration = dict[str, Any]


@dataclass
class Secrets:
    """Everything secret of one run: one token for each direction, one for each agent, the agents' pair secret."""

    pair: str = field(default_factory=lambda: secrets.token_hex(32))
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self, name: str) -> str:
        """Return the token of this name, made at first use."""
        return self.tokens.setdefault(name, secrets.token_urlsafe(32))


class Pair:
    """bob-vm, where bob and gordon live, and alice-vm, where alice lives."""

    def __init__(self, directory: Path, owner: tuple[int, int]) -> None:
        self.bob = Host("bob-vm", "bob", directory / "bob-vm", owner)
        self.alice = Host("alice-vm", "alice", directory / "alice-vm", owner)
        self.hosts = (self.bob, self.alice)
        self.agents = {"bob-vm": ["bob", "gordon"], "alice-vm": ["alice"]}
        self.owner, self.secrets = owner, Secrets()

    def peer_of(self, host: Host) -> Host:
        """Return the other host."""
        return self.alice if host is self.bob else self.bob

    # ---------------------------------------------------------------- configuration

    def configuration(self, host: Host) -> Configuration:
        """Return this host's configuration, to be changed by a scenario and given to `configure`."""
        peer = self.peer_of(host)
        return {
            "host": host.name,
            "root": ROOT,
            "agents": list(self.agents[host.name]),
            "listen": [
                {"address": "127.0.0.1", "port": AGENT_PORT},
                {"address": "0.0.0.0", "port": PEER_PORT, "tls": True},
            ],
            "identity": {"certificate": "own.pem", "key": "own.key"},
            "agent_tokens": {host.agent: f"tokens/{host.agent}.sha256"},
            "peers": {
                peer.name: {
                    "url": f"https://{peer.name}:{PEER_PORT}",
                    "agents": list(self.agents[peer.name]),
                    "certificate": f"peers/{peer.name}.pem",
                    "token": f"peers/{peer.name}.out",
                    "accepts": f"peers/{peer.name}.in.sha256",
                }
            },
        }

    def configure(self, host: Host, configuration: Configuration) -> None:
        """Write this host's configuration file. JSON, which is YAML."""
        self.put(host.config / "handoffd.yaml", json.dumps(copy.deepcopy(configuration), indent=2))

    def put(self, path: Path, content: str, mode: int = 0o600) -> None:
        """Write a file that belongs to the user of the containers."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
        for made in (path, path.parent):
            os.chown(made, *self.owner)

    def present_token(self, host: Host, token: str) -> None:
        """Make this host present a token to its peer."""
        self.put(host.config / "peers" / f"{self.peer_of(host).name}.out", token + "\n")

    def furnish(self, host: Host) -> None:
        """Write certificate, tokens and configuration of one host."""
        peer = self.peer_of(host)
        self.present_token(host, self.secrets.token(f"{host.name} to {peer.name}"))
        self.put(
            host.config / "peers" / f"{peer.name}.in.sha256", hashed(self.secrets.token(f"{peer.name} to {host.name}"))
        )
        self.put(host.config / "tokens" / f"{host.agent}.sha256", hashed(self.secrets.token(host.agent)))
        self.put(host.config / "peers" / f"{peer.name}.pem", (peer.config / "own.pem").read_text())
        self.configure(host, self.configuration(host))

    def make_identity(self, host: Host) -> None:
        """Make this host's key and self-signed certificate."""
        key, certificate = host.config / "own.key", host.config / "own.pem"
        subject = ["-subj", f"/CN={host.name}", "-days", "30", "-nodes"]
        files = ["-keyout", str(key), "-out", str(certificate)]
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        subprocess.run(["openssl", "req", "-x509", *curve, *subject, *files], check=True, capture_output=True)
        for path in (key, certificate):
            path.chmod(0o600)
            os.chown(path, *self.owner)

    # ---------------------------------------------------------------- from one scenario to the next

    def bring_up(self) -> None:
        """Make both hosts' directories and start both containers, their daemons held."""
        for host in self.hosts:
            for directory in (host.directory, host.root, host.suite, host.config):
                directory.mkdir(mode=0o700, exist_ok=True)
                os.chown(directory, *self.owner)
            (host.suite / "hold").touch()
            self.make_identity(host)
        compose("up", "--detach", "--no-build")
        for host in self.hosts:
            host.container = compose("ps", "--quiet", host.name)

    def fresh(self) -> None:
        """Bring both hosts back to the state every scenario starts from, their daemons still held."""
        for host in self.hosts:
            (host.suite / "hold").touch()
            docker("unpause", host.container, check=False)
            docker("kill", host.container, check=False)
        for host in self.hosts:
            host.wipe()
            (host.suite / "hold").touch()
            self.put(host.suite / "pair.key", self.secrets.pair)
            self.put(host.suite / f"{host.agent}.token", self.secrets.token(host.agent))
            self.furnish(host)
            docker("start", host.container)
            host.plug_in()

    def start_unlinked(self) -> None:
        """Start both daemons, which may have reasons not to trust each other."""
        for host in self.hosts:
            (host.suite / "hold").unlink(missing_ok=True)
        for host in self.hosts:
            host.wait_ready()

    def start(self) -> None:
        """Start both daemons and wait until each has met the other."""
        self.start_unlinked()
        for host in self.hosts:
            peer = self.peer_of(host)
            eventually(f"{host.name} has met {peer.name}", (host.root / "relay" / "peers" / f"{peer.name}.json").exists)

    def is_past(self, moment: str) -> bool:
        """Tell whether an ISO 8601 moment is past by the true clock."""
        return datetime.fromisoformat(moment) < datetime.now(UTC)

    def story(self) -> str:
        """Return what both hosts look like, for a failed scenario."""
        return "\n".join(f"===== {host.name}\n{host.story()}" for host in self.hosts)


def hashed(token: str) -> str:
    """Return a token as a file that accepts it holds it."""
    return hashlib.sha256(token.encode()).hexdigest() + "\n"
