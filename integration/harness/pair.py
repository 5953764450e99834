"""Two hosts together, paired as a person would pair them, each calling the other.

Owns the configuration of both daemons. The rule that must stay true: a scenario that asks for a started pair finds both
daemons linked.
"""

from pathlib import Path

from harness.engine import compose, eventually
from harness.host import PEER_PORT, Host
from harness.hosts import Hosts

AGENTS = {"bob-vm": ("bob", "gordon"), "alice-vm": ("alice",)}


class Pair(Hosts):
    """bob-vm, where bob and gordon live, and alice-vm, where alice lives."""

    def __init__(self, directory: Path, owner: tuple[int, int], image: str) -> None:
        super().__init__(directory, owner, image)
        self.bob = Host("bob-vm", "bob", directory / "bob-vm", owner)
        self.alice = Host("alice-vm", "alice", directory / "alice-vm", owner)
        self.hosts = (self.bob, self.alice)

    def peer_of(self, host: Host) -> Host:
        """Return the other host."""
        return self.alice if host is self.bob else self.bob

    def expect_another_certificate(self, host: Host) -> None:
        """Make a host pin a certificate that its peer does not show."""
        if not (self.directory / "stranger").exists():
            self.init("stranger", self.directory / "stranger")
        pem = (self.directory / "stranger" / "identity" / "stranger.pem").read_text()
        self.write(host, f"peers/{self.peer_of(host).name}.pem", pem)

    def pair_up(self) -> None:
        """Pair both hosts: `handoffd init` on each, then the two public files of each copied to the other."""
        for host in self.hosts:
            peer = self.peer_of(host).name
            own = [word for agent in AGENTS[host.name] for word in ("--agent", agent)]
            theirs = [word for agent in AGENTS[peer] for word in ("--peer-agent", agent)]
            url = ("--peer", peer, "--peer-url", f"https://{peer}:{PEER_PORT}")
            self.init(host.name, host.directory / "paired", *own, *url, *theirs)
        for host in self.hosts:
            there = self.peer_of(host).directory / "paired" / "peers"
            for file in (host.directory / "paired" / f"for-{self.peer_of(host).name}").iterdir():
                self.copy(file, there / file.name)

    def bring_up(self) -> None:
        """Make both hosts' directories, pair the hosts and start both containers, their daemons held."""
        self.make_directories()
        self.pair_up()
        compose("up", "--detach", "--no-build")
        for host in self.hosts:
            host.container = compose("ps", "--quiet", host.name)

    def start(self) -> None:
        """Start both daemons and wait until each has met the other."""
        self.start_unlinked()
        for host in self.hosts:
            peer = self.peer_of(host)
            eventually(f"{host.name} has met {peer.name}", (host.root / "relay" / "peers" / f"{peer.name}.json").exists)

    def warm_up(self) -> None:
        """Let a handoff travel and be withdrawn, so that bob's daemon holds an open connection to alice's."""
        written = self.hand_over_in_time(self.bob, 2.0, lambda one: self.offers(self.alice, one))
        self.bob.final(written.tid)

    def has_lost(self, host: Host) -> bool:
        """Tell whether the last that a host noted of its link is that it is down."""
        turns = [line["event"] for line in host.journal() if line["event"] in ("link_up", "link_down")]
        return turns[-1:] == ["link_down"]
