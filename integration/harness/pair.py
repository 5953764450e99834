"""The two hosts together: paired as a person would pair them, and fresh for every scenario.

Owns the configuration of both daemons and the way from one scenario to the next. The rule that must stay true: a
scenario finds both daemons linked, all directories empty, every clock right and nobody listening, whatever the one
before it did.
"""

import os
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from harness.engine import compose, docker, eventually
from harness.host import PEER_PORT, ROOT, Host

AGENTS = {"bob-vm": ("bob", "gordon"), "alice-vm": ("alice",)}
CONFIG = "/etc/handoffd"


class Pair:
    """bob-vm, where bob and gordon live, and alice-vm, where alice lives."""

    def __init__(self, directory: Path, owner: tuple[int, int], image: str) -> None:
        self.bob = Host("bob-vm", "bob", directory / "bob-vm", owner)
        self.alice = Host("alice-vm", "alice", directory / "alice-vm", owner)
        self.hosts = (self.bob, self.alice)
        self.directory, self.owner, self.image = directory, owner, image
        self.pair_secret = secrets.token_hex(32)

    def peer_of(self, host: Host) -> Host:
        """Return the other host."""
        return self.alice if host is self.bob else self.bob

    # ---------------------------------------------------------------- configuration

    def write(self, host: Host, file: str, text: str) -> None:
        """Put a file into a host's configuration, in the place of one that is there."""
        path = host.config / file
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, *self.owner)

    def edit(self, host: Host, file: str, old: str, new: str) -> None:
        """Change one passage of a host's configuration file."""
        text = (host.config / file).read_text()
        assert text.count(old) == 1, f"{file} of {host.name} has {old!r} {text.count(old)} times"
        self.write(host, file, text.replace(old, new))

    def expect_another_certificate(self, host: Host) -> None:
        """Make a host pin a certificate that its peer does not show."""
        if not (self.directory / "stranger").exists():
            self.init("stranger", self.directory / "stranger")
        pem = (self.directory / "stranger" / "identity" / "stranger.pem").read_text()
        self.write(host, f"peers/{self.peer_of(host).name}.pem", pem)

    def restore_configuration(self, host: Host) -> None:
        """Give a host back the configuration it was paired with."""
        for path in host.config.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.copy(host.directory / "paired", host.config)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a directory or file with its modes; what was copied belongs to the user of the containers."""
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
        for path in (target, *target.rglob("*")):
            os.chown(path, *self.owner)

    def init(self, name: str, directory: Path, *options: str) -> None:
        """Run `handoffd init` for one host, writing into a directory here."""
        self.make(directory)
        mounts = ("--volume", f"{directory}:{CONFIG}", "--volume", f"{self.directory}/nothing:{ROOT}")
        user = ("--user", f"{self.owner[0]}:{self.owner[1]}")
        command = ("handoffd", "init", "--dir", CONFIG, "--host", name, "--root", ROOT, *options)
        docker("run", "--rm", "--network", "none", *user, *mounts, self.image, *command)

    def make(self, directory: Path) -> None:
        """Make a directory for the user of the containers."""
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, *self.owner)

    def pair_up(self) -> None:
        """Pair both hosts: `handoffd init` on each, then the two public files of each copied to the other."""
        self.make(self.directory / "nothing")
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

    # ---------------------------------------------------------------- from one scenario to the next

    def bring_up(self) -> None:
        """Make both hosts' directories, pair the hosts and start both containers, their daemons held."""
        for host in self.hosts:
            for directory in (host.directory, host.root, host.suite, host.config):
                self.make(directory)
            (host.suite / "hold").touch()
        self.pair_up()
        compose("up", "--detach", "--no-build")
        for host in self.hosts:
            host.container = compose("ps", "--quiet", host.name)

    def fresh(self) -> None:
        """Bring both hosts back to the state every scenario starts from, their daemons still held."""
        with ThreadPoolExecutor(len(self.hosts)) as both:
            list(both.map(self.refresh, self.hosts))

    def refresh(self, host: Host) -> None:
        """Bring one host back to that state, whatever became of it."""
        docker("unpause", host.container, check=False)
        docker("kill", host.container, check=False)
        host.wipe()
        (host.suite / "hold").touch()
        (host.suite / "pair.key").write_text(self.pair_secret)
        self.restore_configuration(host)
        self.copy(host.config / "tokens" / f"{host.agent}.token", host.suite / f"{host.agent}.token")
        os.chown(host.suite / "pair.key", *self.owner)
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

    def warm_up(self) -> None:
        """Let a handoff travel and be withdrawn, so that bob's daemon holds an open connection to alice's."""
        written = self.bob.hand_over_one("alice", caller="Somebody early", lifetime_s=2.0)
        self.bob.final(written.tid)

    def is_past(self, moment: str) -> bool:
        """Tell whether an ISO 8601 moment is past by the true clock."""
        return datetime.fromisoformat(moment) < datetime.now(UTC)

    def story(self) -> str:
        """Return what both hosts look like, for a failed scenario."""
        return "\n".join(f"===== {host.name}\n{host.story()}" for host in self.hosts)
