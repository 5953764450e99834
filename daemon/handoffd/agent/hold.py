"""A claimed file, and the proof of whose claim it is.

A claim is one rename that only one can win: `handoff/X` -> `claimed/.X.AGENT.NONCE.listen`, a name no other program
makes. Beside it stands `claimed/X`, a second link that people and daemons see. The handoff ends by one more rename of
the hidden name. So a hidden name that is there means: claimed by us, not ended; and a `flock` on the file, inherited
by the command that works on it, says whether anybody still does.

It knows names, inodes and locks, not payloads. The rule that must stay true: at every instant, also after a crash,
the hidden name alone tells what happened.
"""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from handoffd.agent.directory import (
    Directories,
    first_free,
    flush,
    move,
    names_for,
    open_regular,
    read_all,
    write_new,
)
from handoffd.protocol.name import AgentName, FileName, TransferId, is_file_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES

_HIDDEN = re.compile(r"\.(.+)\.([a-z0-9][a-z0-9_-]{0,62})\.[0-9a-f]{16}\.listen\Z")


class Gone(FileNotFoundError):
    """Somebody removed or moved a claimed file: there is nothing left to end."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A file this process has claimed and not yet ended."""

    name: FileName
    path: Path
    lock: int
    data: bytes
    tid: TransferId

    def release(self) -> None:
        """Give up the lock: the file is somebody else's now, or ended."""
        os.close(self.lock)


def take(places: Directories, name: FileName, agent: AgentName) -> Hold | None:
    """Claim `handoff/name`, durably, and show it as `claimed/name`; None if somebody else was first."""
    hidden = places.claimed / f".{name}.{agent}.{secrets.token_hex(8)}.listen"
    lock = lock_file(places.handoff / name)
    if lock is None:
        return None
    try:
        move(places.handoff / name, hidden)
    except FileNotFoundError:
        os.close(lock)
        return None
    hold = _hold(name, hidden, lock)
    if hold is not None:
        _show(places, hold)
        flush(places.claimed, places.handoff)
    return hold


def put_back(places: Directories, hold: Hold) -> None:
    """Return a file that turned out to be somebody else's to `handoff/`."""
    _hide(places, hold)
    first_free(names_for(places.handoff, hold.name, hold.tid), lambda path: move(hold.path, path))
    flush(places.handoff, places.claimed)
    hold.release()


def end(places: Directories, hold: Hold, target: Path) -> None:
    """Move the file to its last place, durably. Raises Gone, or FileExistsError and can then be called again."""
    # The visible link goes first: were it last, a crash between would leave a claim that has already ended.
    _hide(places, hold)
    try:
        move(hold.path, target)
    except FileNotFoundError:
        if os.path.lexists(hold.path):
            raise  # it is the target's directory that is missing
        hold.release()
        raise Gone(errno.ENOENT, "gone: somebody removed or moved the claimed file", str(hold.path)) from None
    flush(target.parent, places.claimed)
    hold.release()


def rewrite(places: Directories, hold: Hold, data: bytes) -> Hold:
    """Give the file other durable bytes and keep the claim, which is not shown any more."""
    _hide(places, hold)
    part = _rewritten(hold.path)
    part.unlink(missing_ok=True)
    write_new(part, data)
    lock = lock_file(part)
    if lock is None:
        raise FileNotFoundError(errno.ENOENT, "somebody removed or locked our temporary file", str(part))
    part.replace(hold.path)  # nobody else ever has this name
    hold.release()
    return Hold(hold.name, hold.path, lock, data, hold.tid)


def holds_left(places: Directories, agent: AgentName) -> list[Path]:
    """Return the hidden names of this agent's claims, whether anybody works on them or not."""
    found = ((name, _HIDDEN.match(name)) for name in os.listdir(places.claimed))
    return [places.claimed / name for name, match in found if match and match[2] == agent and is_file_name(match[1])]


def recover(path: Path) -> Hold | None:
    """Take over a claim that nobody works on any more. Raises BlockingIOError while somebody does."""
    found = _HIDDEN.match(path.name)
    fd = open_regular(path)
    if fd is None or found is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise
    _rewritten(path).unlink(missing_ok=True)
    return _hold(FileName(found[1]), path, fd)


def _rewritten(path: Path) -> Path:
    """Return where the other bytes of a claim are before they take its place."""
    return path.with_name(f"{path.name}.tmp")


def shown_at(places: Directories, hold: Hold) -> Path | None:
    """Return the visible name of the claim, if it has one."""
    return next((path for path in _visible(places, hold) if _is(path, hold.lock)), None)


def _hold(name: FileName, path: Path, lock: int) -> Hold | None:
    if _is(path, lock):
        data = read_all(lock, ROUTE_LIMIT_BYTES)
        return Hold(name, path, lock, data, transfer_id(data))
    # A writer replaced the file between our look and our rename: what we hold is another one, not locked yet.
    os.close(lock)
    other = lock_file(path)
    return None if other is None else _hold(name, path, other)


def lock_file(path: Path) -> int | None:
    """Return the locked file, None while another process works on it, or if it is gone."""
    fd = open_regular(path)
    if fd is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _is(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _show(places: Directories, hold: Hold) -> None:
    for path in _visible(places, hold):
        try:
            os.link(hold.path, path, follow_symlinks=False)
        except FileExistsError:
            continue  # an earlier claim of the same name: writers count only what they see in handoff/
        except PermissionError:
            return  # fs.protected_hardlinks, and a writer whose umask keeps the group out: the claim holds without
        return


def _visible(places: Directories, hold: Hold) -> Iterable[Path]:
    return islice(names_for(places.claimed, hold.name, hold.tid), 2)


def _hide(places: Directories, hold: Hold) -> None:
    shown = shown_at(places, hold)
    if shown is not None:
        shown.unlink(missing_ok=True)
