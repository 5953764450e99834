"""A file system in an image file that can lose its power.

The cut is the shutdown ioctl without a flush of the journal: from then on nothing reaches the device, neither the
journal in memory nor dirty pages. Unmount, mount, and the kernel replays what the journal had on the device.

All mounts lie in a mount namespace of the calling process, and all files in a tmpfs of that namespace: when the process
ends, however it ends, the kernel unmounts them, frees the loop device and forgets the image.
"""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, one number."""
WITHOUT_JOURNAL = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH, XFS_FSOP_GOING_FLAGS_NOLOGFLUSH."""
SIZES = {"ext4": "64M", "xfs": "300M"}
"""xfs is not made smaller than 300 MiB. The image is sparse."""
PATIENCE_S = 120
MEMORY = Path("/dev/shm")

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


def missing(kind: str) -> str | None:
    """Return why there can be no such disk here, as tests say it; or None."""
    if os.geteuid() != 0:
        return "needs root: mounting takes it"
    if shutil.which(f"mkfs.{kind}") is None:
        return f"needs {kind}: mkfs.{kind} makes the file system"
    if not os.path.exists("/dev/loop-control"):
        return f"needs {kind}: there are no loop devices here"
    if not MEMORY.is_dir():
        return f"needs {kind}: there is no {MEMORY} here"
    with open("/proc/filesystems", encoding="ascii") as table:
        known = table.read().split()
    if kind not in known and subprocess.run(["modprobe", kind], capture_output=True, check=False).returncode:
        return f"needs {kind}: the kernel does not know it"
    return None


def own_mounts() -> None:
    """Give this process, which has one thread, mounts of its own, and a memory that ends with it."""
    _check(_libc.unshare(_CLONE_NEWNS), "a mount namespace of our own")
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")
    _run("mount", "-t", "tmpfs", "-o", "size=2G", "memory", str(MEMORY))


class Disk:
    """One disk of a kind, mounted at `path` below `ground`; after `own_mounts`. `cuts`: how often its power went."""

    def __init__(self, kind: str, ground: Path) -> None:
        self.path, self.cuts, self._kind = ground / "disk", 0, kind
        image = str(ground / "image")
        _run("truncate", "-s", SIZES[kind], image)
        _run(f"mkfs.{kind}", "-q", image)
        self.path.mkdir()
        self._loop = _run("losetup", "--find", "--show", image)
        # It outlives us by a moment: whatever our end is, the loop device is let go.
        self._guardian = subprocess.Popen(["sh", "-c", f"cat; losetup --detach {self._loop}"], stdin=subprocess.PIPE)
        self._mount()

    def _mount(self) -> None:
        names = os.fsencode(self._loop), os.fsencode(self.path)
        _check(_libc.mount(*names, self._kind.encode(), 0, None), f"mount of {self._loop}")

    def _unmount(self) -> None:
        _check(_libc.umount2(os.fsencode(self.path), 0), f"umount of {self.path}")

    def cut(self) -> None:
        """Nothing reaches the disk any more."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_JOURNAL))
        finally:
            os.close(fd)
        self.cuts += 1

    def come_back(self) -> None:
        """Mount again; all descriptors of before must be closed."""
        self._unmount()
        self._mount()

    def commit(self) -> None:
        """Write the journal, as the kernel does every few seconds, and when any program flushes any file."""
        fd = os.open(self.path / "other-program", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(fd, b".")
            os.fsync(fd)
        finally:
            os.close(fd)

    def write_back(self) -> None:
        """Write everything, as the kernel does with what has been dirty for long."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _check(_libc.syncfs(fd), f"syncfs of {self.path}")
        finally:
            os.close(fd)

    def close(self) -> None:
        """Unmount, and free the loop device."""
        self._unmount()
        self._guardian.communicate(timeout=PATIENCE_S)


def _check(answer: int, what: str) -> None:
    if answer:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()
