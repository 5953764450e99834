"""Tries what the daemon will need of this machine: the root's file system and the addresses to listen on.

It leaves nothing behind. The rule that must stay true: while a daemon runs on the root nothing is tried, for it made
the same trial at its start.
"""

import os
import secrets
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
    probe,
)

RELAY_MODE, ROOT_MODE, DIRECTORY_MODE = 0o700, 0o3770, 0o2770
"""What is made, and what is advised for a root of several users."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def root_troubles(root: Path) -> tuple[list[str], list[str]]:
    """Return (problems, warnings) of a root, after renaming and linking an empty file in each of its directories.

    Raises RootInUse while a daemon runs there, PermissionError.
    """
    kind = filesystem_kind(root)
    problems, warnings = [], [f"{root} is on {kind.name}: {kind.warning}"] if kind.warning else []
    if not kind.accepted:
        accepted = ", ".join(sorted(SAFE_FILESYSTEMS))
        problems.append(f"{root} is on {kind.name}, where a rename may be lost; move it to one of {accepted}")
    problems += _misfits(root)
    problems += _relay_troubles(root)
    problems += _closed(root)
    warnings += _open_to_the_group(root)
    missing = [name for name in AGENTS_DIRECTORIES if not os.path.lexists(root / name)]
    if missing:
        warnings.append(f"{root} lacks {', '.join(missing)}: made at start, rename and hard link not tried")
    elif not problems:
        problems += _probe_troubles(root)
    return problems, warnings


def _closed(root: Path) -> Iterator[str]:
    """Tell in which directories this user cannot rename, in words that can be run from anywhere."""
    for path in (root, *(root / name for name in AGENTS_DIRECTORIES)):
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            mode = ROOT_MODE if path == root else DIRECTORY_MODE
            yield (
                f"cannot rename in {path}: permission denied; run this, and the daemon, as the agents' user, or "
                f"chgrp handoff {path} && chmod {mode:o} {path}"
            )


def _open_to_the_group(root: Path) -> Iterator[str]:
    """Tell what sticky bits do to a root of several users: the root needs one, its directories must have none."""
    mode = root.stat().st_mode
    if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
        yield f"others may write to {root}, and could move {RELAY}/ away; chmod +t {root}"
    for path in (root / name for name in AGENTS_DIRECTORIES):
        if path.is_dir() and path.stat().st_mode & stat.S_ISVTX:
            yield f"{path} is sticky, so agents cannot rename each other's files; chmod -t {path}"


def _relay_troubles(root: Path) -> Iterator[str]:
    from handoffd.app.relay import check_relay  # here: all that the daemon needs comes with it

    try:
        check_relay(root)
    except UnsafeRoot as error:
        yield str(error)


def _misfits(root: Path) -> Iterator[str]:
    for path in (root / name for name in AGENTS_DIRECTORIES):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            yield f"{path} is not a directory itself, which the daemon insists on; put the real directory there"


def _probe_troubles(root: Path) -> list[str]:
    with _borrowed_relay(root):
        files = LinuxFilesystem(root)
        try:
            for directory in (TMP, *AGENTS_DIRECTORIES):
                files.make_directory(directory, RELAY_MODE)
            probe(files, secrets.token_hex(4))
        except UnsafeRoot as error:
            return [f"{root}: {error}"]
        finally:
            files.close()
    return []


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
        return [trouble for listener in listeners if (trouble := _port_trouble(listener, held)) is not None]


def _port_trouble(listener: Listener, held: ExitStack) -> str | None:
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
        return f"can't listen on {place} ({error.strerror}); stop what uses it (ss -ltnp), or choose another port"
    return None
