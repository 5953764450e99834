"""Where things lie below a root (docs/custody.md section 3), and whether a root is a place we can be safe on.

It owns the directory names and the one-time checks at start; it does not know what a handoff is. The rule that
must stay true: a root we cannot keep our promises on is refused before anything in it is touched.
"""

import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from handoffd.custody.filesystem import Filesystem, NewFile

HANDOFF, CLAIMED, ARCHIVE, REJECTED = "handoff", "claimed", "archive", "rejected"
AGENTS_DIRECTORIES = (HANDOFF, CLAIMED, ARCHIVE, REJECTED)
RELAY = "relay"
PEERS = "relay/peers"
OUTCOME = "relay/outcome"
QUARANTINE = "relay/quarantine"
TMP = "relay/tmp"
WISH = "relay/wish"
OUTBOX, SENT, INBOX = "relay/outbox", "relay/sent", "relay/inbox"
REASON, ORIGINAL = ".reason", ".original"
"""Endings of what is written beside an agent's file in rejected/: why, and the bytes that were handed over."""
PROBE, PROBE_LINK = ".handoffd-probe", ".handoffd-probe-link"
RELAY_DIRECTORIES = (RELAY, PEERS, OUTBOX, SENT, INBOX, OUTCOME, WISH, QUARANTINE, TMP)

SHARED_BITS = stat.S_ISGID | stat.S_IWGRP
"""A root with these is shared with agents of other users through its group (overview.md section 3)."""

FORMAT = "1"
"""Layout version; a newer or unknown one refuses to start."""

SAFE_FILESYSTEMS = frozenset({"ext4", "xfs", "btrfs", "tmpfs"})
"""Rename is atomic across a power cut (or, tmpfs, nothing survives one): R8."""


_UNSAFE = frozenset(
    {
        errno.EXDEV,
        errno.EPERM,
        errno.EACCES,
        errno.EROFS,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EINVAL,
        errno.EMLINK,
    }
)


class UnsafeRoot(Exception):
    """The root cannot be used; the message says why and what to do."""


class RootInUse(UnsafeRoot):
    """Another daemon holds the lock."""


def is_shared(root: Path) -> bool:
    """Tell whether the agents of this root run as other users."""
    return root.stat().st_mode & SHARED_BITS == SHARED_BITS


def outbox(peer: str) -> str:
    """Return the directory of files in custody that the peer has not said that it has."""
    return f"{OUTBOX}/{peer}"


def sent(peer: str) -> str:
    """Return the directory of files that the peer has."""
    return f"{SENT}/{peer}"


def inbox(peer: str) -> str:
    """Return the directory of receipts of what came from the peer."""
    return f"{INBOX}/{peer}"


def directories_of(peer: str) -> tuple[str, ...]:
    """Return what is kept for a `<peer>`; an agent that speaks HTTP (`@agent`) only ever sends to us.

    `outbox/@agent` is another matter: what waits there is for the homes of an agent that has several.
    """
    return (inbox(peer),) if peer.startswith("@") else (inbox(peer), outbox(peer), sent(peer))


def outcome_name(tid: str) -> str:
    """Return the name of the final record of a transfer."""
    return f"{tid}.json"


def passed_payload(tid: str) -> str:
    """Return the name, beside the record, of a payload that was only forwarded and has ended."""
    return f"{tid}.payload"


def passed_artefact(tid: str) -> str:
    """Return the name, beside the record, of a final artefact that a peer brought."""
    return f"{tid}.artefact"


@dataclass(frozen=True, slots=True)
class Kind:
    """What file system a root is on. `accepted`: rename is atomic across a power cut there (R8)."""

    name: str
    accepted: bool
    warning: str = ""


def filesystem_kind(path: Path) -> Kind:
    """Return the kind of file system that path is on, from /proc/self/mountinfo."""
    _, kind = mount_of(path)
    if kind in SAFE_FILESYSTEMS:
        return Kind(kind, accepted=True)
    if kind == "overlay":
        return Kind(kind, accepted=True, warning="an overlay's upper layer decides; mount a volume for the root")
    return Kind(kind, accepted=False)


def mount_of(path: Path) -> tuple[str, str]:
    """Return the mount point and the kind of the file system that path is on."""
    # The longest mount point that contains the path; of several on one point the last one is on top. The device
    # number is no help: btrfs subvolumes show another one than their mount.
    best, kind = "", "unknown"
    resolved = str(path.resolve())
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            left, _, right = line.partition(" - ")
            point = left.split()[4].encode("latin-1", "replace").decode("unicode_escape")
            inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, right.split()[0]
    return best, "ext4" if kind in ("ext2", "ext3") else kind


def lock(root: Path) -> int:
    """Take the one-daemon-per-tree lock; return its descriptor, to be kept open. Raises RootInUse."""
    fd = os.open(root / RELAY / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise RootInUse(f"another handoffd runs on {root}; stop it first (it holds {root / RELAY / 'lock'})") from None
    return fd


def open_own(fs: Filesystem, directory: str, mode: int) -> None:
    """Make and open one of the agents' directories. Raises UnsafeRoot where something else bears its name."""
    try:
        fs.make_directory(directory, mode)
    except NotADirectoryError:
        detail = f"{directory} is a link or a file; the root's four directories must be directories of their own"
        raise UnsafeRoot(f"{detail}, on one file system") from None
    except PermissionError as error:
        raise UnsafeRoot(_remedy(directory, error)) from None


def probe(fs: Filesystem) -> None:
    """Prove rename and hard link between relay/ and each agents' directory, under the lock. Raises UnsafeRoot.

    The probe's names begin with a dot, which agents and we ignore. They are fixed, so that the next probe removes
    what one that was cut short has left.
    """
    for directory in AGENTS_DIRECTORIES:
        try:
            _clear_probe(fs, directory)
            _probe_one(fs, directory)
        except OSError as error:
            if error.errno not in _UNSAFE:
                raise  # a full or failing disk says nothing of the root; the next start may find it well
            raise UnsafeRoot(_remedy(directory, error)) from None
        finally:
            _clear_probe(fs, directory)


def _clear_probe(fs: Filesystem, directory: str) -> None:
    for place in (TMP, directory):
        fs.unlink(place, PROBE)
        fs.unlink(place, PROBE_LINK)


def _probe_one(fs: Filesystem, directory: str) -> None:
    (failure,) = fs.create([NewFile(TMP, PROBE, b"")])
    if failure is not None:
        raise failure
    fs.move(TMP, PROBE, directory, PROBE)
    fs.link(directory, PROBE, TMP, PROBE_LINK)
    fs.move(directory, PROBE, TMP, PROBE)


def _remedy(directory: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f"cannot rename in {directory}/: {error.strerror}; run the daemon as the agents' user, or "
            f"chgrp handoff {directory} && chmod 2770 {directory}"
        )
    why = f"rename and hard link between relay/ and {directory}/ do not work: {error.strerror}"
    return f"{why}; keep the whole root on one file system"
