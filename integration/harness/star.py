"""A hub between two hosts that only dial out, configured by the examples in config/star, and a proxy on one's way.

Owns the configuration of the three daemons and what the proxy saw. The rule that must stay true: a scenario that asks
for a started star finds both spokes linked to the hub.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.engine import compose, docker, eventually
from harness.host import Fields, Host
from harness.hosts import Hosts

EXAMPLES = Path(__file__).parents[2] / "config" / "star"
PROFILE = ("--profile", "star")


class Star(Hosts):
    """bob-home, where bob lives, and laptop, where alice lives; neither can be called, nor can they see each other.

    laptop takes the proxy for the hub: it has no other way to it.
    """

    def __init__(self, directory: Path, owner: tuple[int, int], image: str) -> None:
        super().__init__(directory, owner, image)
        self.hub = Host("hub", "nobody", directory / "hub", owner, inside="/srv/handoffd", network="home")
        self.bob = Host("bob-home", "bob", directory / "bob-home", owner, network="home")
        self.alice = Host(
            "laptop", "alice", directory / "laptop", owner, inside="/home/alice/voice-shared", network="road"
        )
        self.spokes = (self.bob, self.alice)
        self.hosts = (self.hub, *self.spokes)
        self.proxy = ""
        self.proxy_log = directory / "proxy" / "suite" / "proxy.jsonl"

    def peer_of(self, host: Host) -> Host:
        """Return the spoke at the other side of the hub."""
        return self.alice if host is self.bob else self.bob

    def configure(self) -> None:
        """Give each host the example that bears its name, and the files it speaks of."""
        for host in self.hosts:
            self.init(host.name, host.directory / "paired", "--agent", host.agent)
            self.make(host.directory / "paired" / "peers")
            self.put(host, "handoffd.yaml", (EXAMPLES / f"{host.name}.yaml").read_text())
        for spoke in self.spokes:
            token = secrets.token_urlsafe(32)
            self.put(spoke, "peers/hub.out", token)
            self.put(spoke, "peers/hub.pem", (self.hub.directory / "paired/identity/hub.pem").read_text())
            self.put(self.hub, f"peers/{spoke.name}.in.sha256", hashlib.sha256(token.encode()).hexdigest())

    def put(self, host: Host, file: str, text: str) -> None:
        """Write a file of the configuration that every scenario begins with."""
        path = host.directory / "paired" / file
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, *self.owner)

    def bring_up(self) -> None:
        """Make the directories and configurations and start the containers, their daemons held."""
        self.make_directories()
        for directory in (self.proxy_log.parent.parent, self.proxy_log.parent):
            self.make(directory)
        self.configure()
        compose(*PROFILE, "up", "--detach", "--no-build", "proxy", *(host.name for host in self.hosts))
        for host in self.hosts:
            host.container = compose(*PROFILE, "ps", "--quiet", host.name)
        self.proxy = compose(*PROFILE, "ps", "--quiet", "proxy")

    def start(self) -> None:
        """Start all daemons and wait until both spokes have dialled in."""
        self.start_unlinked()
        for spoke in self.spokes:
            self.linked(spoke)

    def linked(self, spoke: Host) -> None:
        """Wait until a spoke has dialled in."""
        eventually(f"{spoke.name} has dialled in", lambda: self.is_up(spoke))

    def is_up(self, spoke: Host) -> bool:
        """Tell whether the last the hub noted of a spoke, since its own start, is that its link is up."""
        turns = [
            line["event"]
            for line in self.hub.journal()
            if line["event"] == "daemon_started"
            or (line["event"] in ("link_up", "link_down") and line["peer"] == spoke.name)
        ]
        return turns[-1:] == ["link_up"]

    def close_road(self) -> None:
        """Cut laptop off: the proxy is gone, and every connection through it."""
        docker("kill", self.proxy)

    def open_road(self) -> None:
        """Let laptop reach the hub again; nothing happens when it does."""
        docker("start", self.proxy)

    @contextmanager
    def closed_road(self) -> Iterator[None]:
        """Keep laptop cut off for the length of a block."""
        self.close_road()
        try:
            yield
        finally:
            self.open_road()

    def fresh(self) -> None:
        """Bring all back to the state every scenario starts from."""
        self.open_road()
        super().fresh()

    def networks(self, host: Host) -> set[str]:
        """Return the names of the networks a host is on."""
        told = docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", host.container)
        return set(json.loads(told))

    def seen_by_proxy(self, what: str) -> list[Fields]:
        """Return the lines of one kind that the proxy wrote."""
        text = self.proxy_log.read_text() if self.proxy_log.exists() else ""
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in lines if line["what"] == what]
