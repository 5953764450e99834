"""What `handoffd doctor` looks at: a configuration as far as it can be used, its root, and the daemon that runs there.

It finds these three and judges nothing. The rule that must stay true: it takes no lock and writes nothing, so that it
can never be in a daemon's way.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.operator import ask
from handoffd.cli.root import user_name, wall_s
from handoffd.config import Config, ConfigError, Problem, load, read_document
from handoffd.custody.layout import RELAY

LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class Patient:
    """`config` is None if it cannot be used: then `problems` say why, and `root` is what its text names, if it does.

    `holder` is the process that holds the root's lock (0: nobody; -1: one that cannot be seen from here), `status` what
    the daemon tells of itself, or None.
    """

    path: Path
    config: Config | None
    problems: tuple[Problem, ...]
    root: Path | None
    host: str
    holder: int
    status: dict[str, Any] | None
    now_s: float
    secret_files: tuple[Path, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether the daemon of this configuration answers, not another host's on the same root."""
        return self.status is not None and self.config is not None and self.status.get("host") == self.host

    @property
    def links(self) -> dict[str, dict[str, Any]]:
        """What the running daemon tells of its links, by peer."""
        told = self.status if self.runs else None
        return {str(link["peer"]): link for link in (told or {}).get("peers", ())}

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents of this host, as far as they are known."""
        return self.config.agents if self.config else ()


def meet(path: Path, secret_files: tuple[Path, ...]) -> Patient:
    """Find out what there is.

    Raises PermissionError or Failure for another user's root, ConfigError if not even a root is named.
    """
    config, problems, root, host = _read(path.absolute())
    holder, status = 0, None
    if root is not None and (root / RELAY).is_dir():
        os.listdir(root / RELAY)  # another user's: PermissionError
        holder = lock_holder(root)
        _refuse_root(root / RELAY, holder)
        status = _status(root) if holder else None
    return Patient(path.absolute(), config, problems, root, host, holder, status, wall_s(), secret_files)


def _refuse_root(relay: Path, holder: int) -> None:
    """Root may look everywhere, and would find another user's daemon faulty for not being root's."""
    owner = os.stat(relay).st_uid
    if owner != os.geteuid() and owner == _owner_of(holder):
        name = user_name(owner)
        message = f"the daemon of {relay} runs as {name}: run this as {name} too, sudo -u {name} handoffd doctor"
        raise Failure(message, ExitCode.PERMISSION)


def _owner_of(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid if pid > 0 else None
    except OSError:
        return None


def _read(path: Path) -> tuple[Config | None, tuple[Problem, ...], Path | None, str]:
    try:
        config = load(path)
    except ConfigError as error:
        document = read_document(path)  # raises the same problems if the text itself is no good
        root = path.parent / document.root
        return None, tuple(error.problems), root if root.is_dir() else None, document.host
    return config, (), config.root, config.host


def _status(root: Path) -> dict[str, Any] | None:
    try:
        return ask(root, "GET", "/operator/status")
    except Failure:
        return None


def lock_holder(root: Path) -> int:
    """Return the process that holds a root's lock, 0 if none does, -1 if it is of another container.

    Read from /proc/locks: an attempt to take the lock could make a daemon fail that starts at this moment.
    """
    try:
        lock = os.stat(root / RELAY / "lock")
        table = LOCKS.read_text()
    except OSError:
        return 0
    # A device without a block device behind it (btrfs, overlay, tmpfs) may be told under another number.
    device = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}"
    for line in table.splitlines():
        words = line.split()
        if len(words) < _FIELDS or words[1:4:2] != ["FLOCK", "WRITE"]:
            continue
        where, _, inode = words[5].rpartition(":")
        if inode == str(lock.st_ino) and (where == device or not os.major(lock.st_dev)):
            return int(words[4]) if words[4] not in ("0", "-1") else -1
    return 0


_FIELDS = 6
"""`1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF`: number, kind, mode, access, process, device and inode."""
