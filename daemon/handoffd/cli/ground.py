"""Tries what the daemon will need of this machine: the root's file system and the addresses to listen on.

It leaves nothing behind. The rule that must stay true: while a daemon runs on the root nothing is tried, for it made
the same trial at its start.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from handoffd.config import Listener
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.layout import (
    AGENTS_DIRECTORIES,
    RELAY,
    SAFE_FILESYSTEMS,
    TMP,
    UnsafeRoot,
    filesystem_kind,
    lock,
    mount_of,
    probe,
)

RELAY_MODE, ROOT_MODE, DIRECTORY_MODE = 0o700, 0o3770, 0o2770
"""What is made, and what is advised for a root of several users."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong with the ground; `word` is its name in docs/troubleshooting.md."""

    word: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


def standing_troubles(root: Path) -> list[Trouble]:
    """Return what can be seen to be wrong with a root without touching it. Raises PermissionError."""
    return [*_unsafe(root), *_misfits(root), *_split(root), *_relay_troubles(root), *_closed(root)]


def standing_warnings(root: Path) -> list[Trouble]:
    """Return what is legal in a root and hardly meant, without touching it."""
    return [*_doubtful(root), *_open_to_the_group(root), *_missing(root)]


def missing_directories(root: Path) -> list[str]:
    """Return the agents' directories that the first start will make."""
    return [name for name in AGENTS_DIRECTORIES if not os.path.lexists(root / name)]


def trial_troubles(root: Path) -> list[Trouble]:
    """Rename and link an empty file in each of the directories, which must be there; return what does not work.

    Raises RootInUse while a daemon runs there, PermissionError.
    """
    with _borrowed_relay(root):
        files = LinuxFilesystem(root)
        try:
            for directory in (TMP, *AGENTS_DIRECTORIES):
                files.make_directory(directory, RELAY_MODE)
            probe(files)
        except UnsafeRoot as error:
            return [_trouble("cannot_rename", f"{root}: {error}")]
        finally:
            files.close()
    return []


def _trouble(word: str, text: str) -> Trouble:
    """Split what an error says into message and remedy, which stand in this order, divided by a semicolon."""
    message, _, remedy = text.partition("; ")
    return Trouble(word, message, remedy)


def _unsafe(root: Path) -> Iterator[Trouble]:
    kind = filesystem_kind(root)
    if not kind.accepted:
        accepted = ", ".join(sorted(SAFE_FILESYSTEMS))
        message = f"{root} is on {kind.name}, where a rename may be lost"
        yield Trouble("unsafe_file_system", message, f"move it to one of {accepted}")


def _doubtful(root: Path) -> Iterator[Trouble]:
    kind = filesystem_kind(root)
    if kind.warning:
        yield _trouble("doubtful_file_system", f"{root} is on {kind.name}: {kind.warning}")


def _missing(root: Path) -> Iterator[Trouble]:
    if missing := missing_directories(root):
        message = f"{root} lacks {', '.join(missing)}: made at start, rename and hard link not tried"
        yield Trouble("missing_directory", message, "")


def _split(root: Path) -> Iterator[Trouble]:
    """A bind mount of the same file system shows the same device, and a rename into it fails all the same."""
    point, _ = mount_of(root)
    for path in (root / name for name in (*AGENTS_DIRECTORIES, RELAY)):
        own, _ = mount_of(path)
        if path.is_dir() and own != point:
            message = f"{path} is a mount of its own, and no rename crosses mounts"
            yield Trouble("split_root", message, f"keep the whole root on one mount: umount {path}")


def _closed(root: Path) -> Iterator[Trouble]:
    """Tell in which directories this user cannot rename, in words that can be run from anywhere."""
    for path in (root, *(root / name for name in AGENTS_DIRECTORIES)):
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            mode = ROOT_MODE if path == root else DIRECTORY_MODE
            yield Trouble(
                "cannot_rename",
                f"cannot rename in {path}: permission denied",
                f"run this, and the daemon, as the agents' user, or chgrp handoff {path} && chmod {mode:o} {path}",
            )


def _open_to_the_group(root: Path) -> Iterator[Trouble]:
    """Tell what sticky bits do to a root of several users: the root needs one, its directories must have none."""
    mode = root.stat().st_mode
    if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
        yield Trouble("not_sticky", f"others may write to {root}, and could move {RELAY}/ away", f"chmod +t {root}")
    for path in (root / name for name in AGENTS_DIRECTORIES):
        if path.is_dir() and path.stat().st_mode & stat.S_ISVTX:
            message = f"{path} is sticky, so agents cannot rename each other's files"
            yield Trouble("sticky", message, f"chmod -t {path}")


def _relay_troubles(root: Path) -> Iterator[Trouble]:
    from handoffd.app.relay import check_relay  # here: all that the daemon needs comes with it

    try:
        check_relay(root)
    except UnsafeRoot as error:
        yield _trouble("wrong_owner", str(error))


def _misfits(root: Path) -> Iterator[Trouble]:
    for path in (root / name for name in AGENTS_DIRECTORIES):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            message = f"{path} is not a directory itself, which the daemon insists on"
            yield Trouble("not_a_directory", message, "put the real directory there")


@contextmanager
def _borrowed_relay(root: Path) -> Iterator[None]:
    """Hold the lock of relay/, and take away afterwards what was not there."""
    made = [path for path in (root / RELAY, root / RELAY / "lock", root / TMP) if not path.exists()]
    (root / RELAY).mkdir(mode=RELAY_MODE, exist_ok=True)
    holding = lock(root)
    try:
        yield
    finally:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        os.close(holding)


def port_troubles(listeners: Sequence[Listener]) -> list[str]:
    """Return what keeps the daemon from listening, after listening on every address for an instant."""
    with ExitStack() as held:
        tried = (_port_trouble(listener, held) for listener in listeners)
        return [str(trouble) for trouble in tried if trouble is not None]


def port_trouble(listener: Listener) -> Trouble | None:
    """Return what keeps the daemon from listening on one address."""
    with ExitStack() as held:
        return _port_trouble(listener, held)


_TAKEN = ("port_taken", "stop what uses it (ss -ltnp), or choose another port")
_NO_LISTENING = {
    errno.EADDRNOTAVAIL: ("no_such_address", "`ip -brief address` lists this host's; write one of them under `listen`"),
    errno.EACCES: ("port_reserved", "a port below 1024 takes CAP_NET_BIND_SERVICE; write a higher one under `listen`"),
}


def _port_trouble(listener: Listener, held: ExitStack) -> Trouble | None:
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    place = f"{listener.address} port {listener.port}"
    try:
        attempt = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            attempt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        attempt.bind((listener.address, listener.port))
        attempt.listen(1)
    except OSError as error:
        word, remedy = _NO_LISTENING.get(error.errno or 0, _TAKEN)
        return Trouble(word, f"can't listen on {place} ({error.strerror})", remedy)
    return None
