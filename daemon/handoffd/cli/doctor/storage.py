"""The root's ground: file system, mounts, owners and modes, room, and the kernel's watch.

What `handoffd check` tries is tried by the same code; what it cannot while a daemon runs is looked at only. The rule
that must stay true: while a daemon runs nothing in its root is touched.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from handoffd.cli.doctor.finding import Finding, failure, fine, unchecked, warning
from handoffd.cli.doctor.patient import Patient
from handoffd.cli.ground import (
    DIRECTORY_MODE,
    ROOT_MODE,
    Trouble,
    missing_directories,
    standing_troubles,
    standing_warnings,
    trial_troubles,
)
from handoffd.cli.root import user_name
from handoffd.custody.layout import AGENTS_DIRECTORIES, HANDOFF, QUARANTINE, RootInUse, filesystem_kind
from handoffd.link.watch import inotify_refusal
from handoffd.status.concern import DISK_LOW_BYTES, INODES_LOW
from handoffd.status.model import Disk

FULL_BYTES = 8 << 20
"""Room for one group of handoffs as large as they may be (custody.md section 10) ends here."""
FULL_INODES = 128
SHARED_BITS = stat.S_ISGID | stat.S_IWGRP


def storage(patient: Patient) -> Iterator[Finding]:
    """Look at the root: can files be renamed in it, safely, by everybody who must?"""
    root = patient.root
    if root is None:
        yield unchecked("root", "the configuration names no directory that is there")
        return
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        yield failure("read_only", f"{root} is mounted read-only", f"mount -o remount,rw {root}, and see dmesg for why")
        return
    troubles = [*standing_troubles(root), *_unshared(root)]
    if patient.holder == 0 and not troubles and not missing_directories(root):
        troubles += _tried(root)
    yield from (failure(one.word, one.message, one.remedy) for one in troubles)
    for one in standing_warnings(root):
        yield (
            warning(one.word, one.message, one.remedy) if one.remedy else unchecked("rename and hard link", one.message)
        )
    yield from _unread(root)
    yield from _quarantined(root)
    if not troubles and not missing_directories(root):
        tried = "rename and hard link tried" if patient.holder == 0 else "tried by the daemon at its start"
        yield fine("root", f"{root} on {filesystem_kind(root).name}, {tried}")


def _tried(root: Path) -> list[Trouble]:
    try:
        return trial_troubles(root)
    except RootInUse:
        return []  # a daemon has started this moment, after the same trial


def _unshared(root: Path) -> Iterator[Trouble]:
    """In a root of several users a directory that is not the group's shuts some of them out."""
    top = root.stat()
    if top.st_mode & SHARED_BITS != SHARED_BITS:
        return
    if os.geteuid() and top.st_gid not in (os.getegid(), *os.getgroups()):
        # Whatever this user makes or mends in there loses the bit that gives new files to the group: chmod(2).
        message = f"{root} is shared by group {top.st_gid}, which {user_name(os.geteuid())} is not in"
        places = f"{root}/{{{','.join(AGENTS_DIRECTORIES)}}}"
        remedy = f"sudo chgrp GROUP {root} {places} && sudo chmod {ROOT_MODE:o} {root} && sudo chmod {DIRECTORY_MODE:o}"
        yield Trouble("wrong_mode", message, f"{remedy} {places}, GROUP being one of `id -Gn`")
        return
    for path in (root / name for name in AGENTS_DIRECTORIES):
        if path.is_symlink() or not path.is_dir():
            continue
        found = path.stat()
        if found.st_gid != top.st_gid or found.st_mode & SHARED_BITS != SHARED_BITS:
            mode = f"{stat.S_IMODE(found.st_mode):o}"
            message = f"{path} has group {found.st_gid} and mode {mode}, and agents of other users rename there"
            yield Trouble("wrong_mode", message, f"chgrp {top.st_gid} {path} && chmod {DIRECTORY_MODE:o} {path}")


def _unread(root: Path) -> Iterator[Finding]:
    """Files that this user cannot open stay where they are."""
    try:
        names = [name for name in os.listdir(root / HANDOFF) if name.endswith(".json") and not name.startswith(".")]
    except OSError:
        return  # told above
    closed = [
        name
        for name in names
        if not os.access(root / HANDOFF / name, os.R_OK) and os.path.lexists(root / HANDOFF / name)
    ]
    if closed:
        message = f"{len(closed)} of the files in {root / HANDOFF} cannot be read by this user, {closed[0]} for one"
        yield failure("unreadable_file", message, "let their writer use umask 007 and the root's group")


def _quarantined(root: Path) -> Iterator[Finding]:
    try:
        number = len(os.listdir(root / QUARANTINE))
    except OSError:
        return
    if number:
        remedy = "handoffd events tells why (`quarantined`); look at them, then remove them"
        what = "file lies" if number == 1 else "files lie"
        yield warning("quarantine", f"{number} {what} in {root / QUARANTINE} that nobody asked for", remedy)


def disk(patient: Patient) -> Iterator[Finding]:
    """Look at the room there is."""
    root = patient.root
    if root is None:
        return
    found = Disk.at(root)
    free, inodes = f"{root} has {_size(found.free_bytes)} free", found.free_inodes
    if found.free_bytes < FULL_BYTES:
        yield failure("disk_full", f"{free}, so handoffs wait or are refused", _room(root))
    elif inodes is not None and inodes < FULL_INODES:
        message = f"{root} has {inodes} inodes free, so handoffs wait or are refused"
        yield failure("disk_full", message, f"remove small files: df -i {root}")
    elif found.free_bytes < DISK_LOW_BYTES or (inodes is not None and inodes < INODES_LOW):
        yield warning("disk_low", f"{free}, and {'enough' if inodes is None else inodes} inodes", _room(root))
    else:
        yield fine("disk", f"{_size(found.free_bytes)} free")


def _room(root: Path) -> str:
    return f"make room: df -h {root}; old files of archive/ and rejected/ are the agents' to keep or remove"


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"


def watch(patient: Patient) -> Iterator[Finding]:
    """Tell whether the kernel grants a watch; without it handoffs wait for the next scan."""
    config, root = patient.config, patient.root
    if config is None or root is None or missing_directories(root):
        return
    if config.watch in ("scan", "watchfiles"):
        yield fine("watch", f"`watch: {config.watch}` is configured")
        return
    late = f"new handoffs are noticed up to {config.scan_interval_s:g} s late"
    if refusal := inotify_refusal(root):
        message, _, remedy = refusal.partition(": ")
        yield failure("inotify_limit", f"{message}, so {late} after a start", f"{remedy}; then restart handoffd")
    elif patient.holder > 0 and _watches(patient.holder) is False:
        message = f"the daemon got no inotify at its start, so {late}"
        yield failure("inotify_limit", message, "restart it: systemctl restart handoffd")
    else:
        yield fine("watch", "inotify")


def _watches(pid: int) -> bool | None:
    """Tell whether a process has an inotify instance; None if it is not ours to see."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return None
    return "anon_inode:inotify" in links
