"""Hosts in a row as processes: bob's, some hubs, alice's, every link between two of them pushed or dialled."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.spec.daemon.rig import Host, until
from tests.spec.daemon.star import deaf, is_up, peer_file, write


class Row:
    """`links`: the words for them, from bob's host on. `push`: both call each other; `dials`: only the farther one
    calls, so that it pulls what is for alice and pushes what is for bob."""

    def __init__(self, directory: Path, links: str) -> None:
        self.words = links.split()
        names = ["bob-vm", *(f"hub{number}" for number in range(1, len(self.words))), "alice-vm"]
        agents = ["bob", *("nobody" for _ in names[1:-1]), "alice"]
        self.hosts: Sequence[Host] = [
            Host(directory / name, name, agent) for name, agent in zip(names, agents, strict=True)
        ]
        self.bob, *self.hubs, self.alice = self.hosts
        for host in self.hosts:
            host.init()
        for hub in self.hubs:
            hub.edit("agents: [nobody]", "agents: []")
            hub.edit("agent_tokens: {nobody: tokens/nobody.sha256}", "agent_tokens: {}")
        for near, far, word in zip(self.hosts, self.hosts[1:], self.words, strict=False):
            self.bind(near, far, "alice", calls=word == "push", is_called=True)
            self.bind(far, near, "bob", calls=True, is_called=word == "push")
        if self.words[-1] == "dials":
            deaf(self.alice)

    @staticmethod
    def bind(here: Host, there: Host, agent: str, *, calls: bool, is_called: bool) -> None:
        """Let `here` reach the agent through `there`, which may bring what anybody sends."""
        stanza: dict[str, object] = {"agents": [agent], "relay": True}
        if is_called:
            stanza["accepts"] = f"peers/{there.name}.in.sha256"
        if calls:
            token = secrets.token_urlsafe(32)
            write(here.directory / f"peers/{there.name}.out", token, 0o600)
            digest = hashlib.sha256(token.encode()).hexdigest() + "\n"
            write(there.directory / f"peers/{here.name}.in.sha256", digest, 0o644)
            certificate = (there.directory / f"identity/{there.name}.pem").read_text()
            write(here.directory / f"peers/{there.name}.pem", certificate, 0o644)
            stanza |= {
                "url": f"https://127.0.0.1:{there.tls_port}",
                "certificate": f"peers/{there.name}.pem",
                "token": f"peers/{there.name}.out",
            }
        peer_file(here, there.name, stanza)

    def lead(self, here: Host, agent: str, there: Host) -> None:
        """Say on one host that an agent is reached through another peer than before."""
        for host in self.hosts:
            path = here.directory / f"peers.d/{host.name}.yaml"
            if path.exists():
                stanza = json.loads(path.read_text())["peers"][host.name]
                left = [one for one in stanza["agents"] if one != agent]
                stanza["agents"] = [*left, agent] if host is there else left or ["zoe"]
                peer_file(here, host.name, stanza)

    def start(self) -> "Row":
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            host.ready()
        self.linked()
        return self

    def linked(self) -> None:
        """Wait until every link is up at both ends."""
        for near, far in zip(self.hosts, self.hosts[1:], strict=False):
            for here, there in ((near, far.name), (far, near.name)):
                until(f"{here.name} is linked to {there}", partial(is_up, here, there))
