"""Whether `relay/` is the daemon's own, looked at before anything in a root is touched.

It owns that one question and changes nothing. The rule that must stay true: what a group member put in the place of
`relay/`, or may still write to, is never taken for the daemon's memory.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from handoffd.custody.layout import INBOX, OUTBOX, RELAY, RELAY_DIRECTORIES, SENT, UnsafeRoot

_BEYOND_OWNER = 0o077


def check_relay(root: Path) -> None:
    """Look at relay/ and the directories in it, if they are there. Raises UnsafeRoot, naming path and remedy."""
    for path in _directories(root):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        _check(path, found, root / RELAY)


def _directories(root: Path) -> Iterator[Path]:
    """Yield relay/ first: what is in it is looked at only if it is ours."""
    for name in RELAY_DIRECTORIES:
        yield root / name
    for name in (OUTBOX, SENT, INBOX):
        if (root / name).is_dir():
            yield from (root / name / peer for peer in sorted(os.listdir(root / name)))


def _check(path: Path, found: os.stat_result, relay: Path) -> None:
    aside = f"if you do not know who made it, move it away: mv {relay} {relay}.aside"
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no directory"
        raise UnsafeRoot(f"{path} is {kind}, and must be a directory of the daemon's own; {aside}")
    if found.st_uid != os.geteuid():
        ours, theirs = _name(os.geteuid()), _name(found.st_uid)
        remedy = f"run handoffd as {theirs}, or chown -R {ours} {relay}"
        raise UnsafeRoot(f"{path} belongs to {theirs}, and this is {ours}; {remedy}; {aside}")
    if found.st_mode & _BEYOND_OWNER:
        mode = f"{stat.S_IMODE(found.st_mode):o}"
        raise UnsafeRoot(f"{path} has mode {mode}, so others reach into it; chmod -R go-rwx {relay}; {aside}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
