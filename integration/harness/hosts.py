"""Some hosts that belong together: their configuration, and the way from one scenario to the next.

Knows neither how many there are nor who calls whom. The rule that must stay true: a scenario finds all directories
empty, every clock right and nobody listening, whatever the one before it did.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from harness.engine import docker, eventually
from harness.host import ROOT, Host, Written

CONFIG = "/etc/handoffd"
LONGER = (1, 4, 16)


class Hosts:
    """What a pair and a star have in common."""

    hosts: Sequence[Host]

    def __init__(self, directory: Path, owner: tuple[int, int], image: str) -> None:
        self.directory, self.owner, self.image = directory, owner, image
        self.pair_secret = secrets.token_hex(32)

    def peer_of(self, host: Host) -> Host:
        """Return the host whose agents a host's own hand over to."""
        raise NotImplementedError

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
        self.make(self.directory / "nothing")
        self.make(directory)
        mounts = ("--volume", f"{directory}:{CONFIG}", "--volume", f"{self.directory}/nothing:{ROOT}")
        user = ("--user", f"{self.owner[0]}:{self.owner[1]}")
        command = ("handoffd", "init", "--dir", CONFIG, "--host", name, "--root", ROOT, *options)
        docker("run", "--rm", "--network", "none", *user, *mounts, self.image, *command)

    def make(self, directory: Path) -> None:
        """Make a directory for the user of the containers."""
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, *self.owner)

    def make_directories(self) -> None:
        """Make every host's directories, its daemon held."""
        for host in self.hosts:
            for directory in (host.directory, host.root, host.suite, host.config):
                self.make(directory)
            (host.suite / "hold").touch()

    # ---------------------------------------------------------------- from one scenario to the next

    def fresh(self) -> None:
        """Bring all hosts back to the state every scenario starts from, their daemons still held."""
        with ThreadPoolExecutor(len(self.hosts)) as all_at_once:
            list(all_at_once.map(self.refresh, self.hosts))

    def refresh(self, host: Host) -> None:
        """Bring one host back to that state, whatever became of it."""
        docker("unpause", host.container, check=False)
        docker("kill", host.container, check=False)
        host.wipe()
        (host.suite / "hold").touch()
        (host.suite / "pair.key").write_text(self.pair_secret)
        os.chown(host.suite / "pair.key", *self.owner)
        self.restore_configuration(host)
        token = host.config / "tokens" / f"{host.agent}.token"
        if token.exists():
            self.copy(token, host.suite / token.name)
        docker("start", host.container)
        host.plug_in()

    def start_unlinked(self) -> None:
        """Start all daemons, which may have reasons not to trust each other."""
        for host in self.hosts:
            (host.suite / "hold").unlink(missing_ok=True)
        for host in self.hosts:
            host.wait_ready()

    def hand_over_in_time(self, sender: Host, lifetime_s: float, came: Callable[[Written], object]) -> Written:
        """Hand over a short-lived one and wait until it came where it must before its end.

        One for which this machine was too slow ends on its way, and is followed by one that lives longer.
        """
        for times in LONGER:
            written = sender.hand_over_one(self.peer_of(sender).agent, lifetime_s=lifetime_s * times)
            eventually("it came, or its time is over", lambda one=written: came(one) or sender.outcome(one.tid))
            if came(written):
                return written
        raise AssertionError(f"not even {lifetime_s * LONGER[-1]:g} s were enough to get there")

    def offers(self, host: Host, written: Written) -> bool:
        """Tell whether an agent of a host could claim it now."""
        return any(written.tid in name for name in host.ls("handoff"))

    def is_past(self, moment: str) -> bool:
        """Tell whether an ISO 8601 moment is past by the true clock."""
        return datetime.fromisoformat(moment) < datetime.now(UTC)

    def story(self) -> str:
        """Return what all hosts look like, for a failed scenario."""
        return "\n".join(f"===== {host.name}\n{host.story()}" for host in self.hosts)
