"""The filesystem port: the durable verbs the custody engine is written in, and their Linux implementation.

The only door to `open`, `link`, `renameat2`, `fsync` and `syncfs`. It knows nothing of handoffs. The rules that
must stay true: a move never replaces (R1), a created file's bytes are durable before it has a name that means
something (R2), a failed directory flush is never retried (R7).

A directory is named by its path relative to the root, e.g. `handoff` or `relay/inbox/alice-vm`.
"""

import contextlib
import ctypes
import errno
import os
import stat as statmode
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

from handoffd.protocol.timing import ROUTE_LIMIT_BYTES

FSYNC_THREADS = 8
"""The journal merges the commits of concurrent fsyncs; 8 were enough to halve the time (custody.md section 16)."""
SYNCFS_FROM = 16
"""Files in a group from which one syncfs beats fsyncs from threads; benchmarks/commit.py prints both."""

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""O_NONBLOCK: opening a FIFO that an agent (or an attacker) put there must not hang the custody thread."""
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WRITE = 2


class FlushFailed(Exception):
    """A directory's flush failed: what is durable is unknown; only a new start may decide (R7, exit 74)."""


class NotRegular(OSError):
    """The name is a link, a device, a pipe, a directory or has several links: it is never opened as a handoff."""


class Stat(NamedTuple):
    """What lstat says of a name; sizes in bytes, times in nanoseconds."""

    inode: int
    links: int
    size: int
    mtime_ns: int
    ctime_ns: int
    regular: bool

    def same_bytes_as(self, other: "Stat") -> bool:
        """Tell whether both were seen of one unmodified file (a rename changes none of these)."""
        return (self.inode, self.size, self.mtime_ns) == (other.inode, other.size, other.mtime_ns)


class NewFile(NamedTuple):
    """Bytes to be made durable under a name in a directory."""

    directory: str
    name: str
    data: bytes


class Filesystem(Protocol):
    """The verbs. OSError subclasses pass through: FileNotFoundError and FileExistsError are answers, not faults."""

    def make_directory(self, directory: str, mode: int) -> None:
        """Create and open the directory if it is missing; its parent is flushed."""

    def names(self, directory: str) -> list[str]:
        """Return the names in the directory, in no order."""

    def stat(self, directory: str, name: str) -> Stat | None:
        """Return what the name is, not following links, or None when there is none."""

    def read(
        self, directory: str, name: str, limit_bytes: int = ROUTE_LIMIT_BYTES, *, flush_soon: bool = False
    ) -> tuple[bytes, Stat]:
        """Return at most limit_bytes + 1 bytes. Raises FileNotFoundError, NotRegular.

        `flush_soon`: a flush of its bytes is likely to follow; the disk may begin with them. It promises nothing.
        """

    def prepare(self, directory: str, name: str) -> None:
        """Make an empty file for the next `create` of this name to fill. May do nothing; never raises OSError."""

    def create(self, files: Sequence[NewFile], *, durable: bool = True) -> list[OSError | None]:
        """Create files and make their bytes durable (not their names), one set of flushes; what failed is gone.

        Not `durable`: for copies that nothing rests on.
        """

    def sync_files(self, names: Sequence[tuple[str, str]]) -> list[OSError | None]:
        """Make the bytes of existing files durable, one answer each."""

    def sync_directories(self, directories: Iterable[str]) -> None:
        """Flush each directory once. Raises FlushFailed."""

    def sync_all(self) -> None:
        """Flush the whole file system. Raises FlushFailed."""

    def move(self, source: str, name: str, target: str, new_name: str) -> None:
        """Rename without replacing (R1). Raises FileNotFoundError, FileExistsError."""

    def exchange(self, source: str, name: str, target: str, new_name: str) -> None:
        """Swap two existing names atomically. Raises FileNotFoundError."""

    def link(self, source: str, name: str, target: str, new_name: str) -> None:
        """Give the inode a second name. Raises FileExistsError, FileNotFoundError."""

    def unlink(self, directory: str, name: str) -> None:
        """Remove the name; a missing one is no error."""


def _load_libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    libc.syncfs.argtypes = (ctypes.c_int,)
    libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return libc


class LinuxFilesystem:
    """The verbs on a real root. Directory descriptors are opened once, so a replaced directory cannot redirect us."""

    def __init__(self, root: Path, *, file_mode: int = 0o600, pool: Executor | None = None) -> None:
        """`file_mode`: permission bits of created files (0660 when agents have another user, overview.md section 3).

        `pool`: who flushes the files of a group; threads of its own if none is given.
        """
        self.root = root
        self._file_mode = file_mode
        self._libc = _load_libc()
        self._fds: dict[str, int] = {}
        self._prepared: dict[tuple[str, str], int] = {}
        self._opened: dict[str, tuple[str, int, int]] = {}
        self._pool = pool or ThreadPoolExecutor(FSYNC_THREADS, thread_name_prefix="fsync")

    def close(self) -> None:
        """Release descriptors and threads."""
        self._pool.shutdown()
        for fd in (*self._fds.values(), *self._prepared.values()):
            os.close(fd)
        self._fds.clear()
        self._prepared.clear()

    def make_directory(self, directory: str, mode: int) -> None:
        """Create and open the directory if it is missing; its parent is flushed. A symlink is refused."""
        if directory in self._fds:
            return
        path = self.root / directory
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            pass
        else:
            os.chmod(path, mode)
        _sync_path(path.parent)  # also of one that is there: whoever made it may have ended before this flush
        self._fds[directory] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        opened = os.fstat(self._fds[directory])
        # As text and numbers: `moved` asks for a dozen of them every second of an idle day.
        self._opened[directory] = (str(path), opened.st_dev, opened.st_ino)

    def moved(self, directory: str) -> bool:
        """Tell whether the path no longer names the directory that was opened at start."""
        path, device, inode = self._opened[directory]
        try:
            now = os.lstat(path)
        except FileNotFoundError:
            return True
        return now.st_ino != inode or now.st_dev != device

    def changed_ns(self, directory: str) -> int:
        """Return when a name last came to the directory or left it, by the kernel's clock, which ticks in some ms."""
        return os.stat(self._fds[directory]).st_ctime_ns

    def names(self, directory: str) -> list[str]:
        """Return the names in the directory, in no order."""
        return os.listdir(self._fds[directory])

    def stat(self, directory: str, name: str) -> Stat | None:
        """Return what the name is, not following links, or None when there is none."""
        try:
            found = os.stat(name, dir_fd=self._fds[directory], follow_symlinks=False)
        except FileNotFoundError:
            return None
        return _stat(found)

    def read(
        self, directory: str, name: str, limit_bytes: int = ROUTE_LIMIT_BYTES, *, flush_soon: bool = False
    ) -> tuple[bytes, Stat]:
        """Return at most limit_bytes + 1 bytes; `flush_soon` as in the port. Raises FileNotFoundError, NotRegular."""
        try:
            fd = os.open(name, _READ_FLAGS, dir_fd=self._fds[directory])
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise NotRegular(errno.EINVAL, "not a regular file", name) from None
            raise
        try:
            found = _stat(os.fstat(fd))
            if not found.regular:
                raise NotRegular(errno.EINVAL, "not a regular file", name)
            if flush_soon:
                # It waits for nothing, and consumes no error that the flush must see.
                self._libc.sync_file_range(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)
            return _read_up_to(fd, min(found.size, limit_bytes) + 1), found
        finally:
            os.close(fd)

    def prepare(self, directory: str, name: str) -> None:
        """Make an empty file, which stays open, for the `create` of this name; without room nothing comes of it."""
        with contextlib.suppress(OSError):
            self._prepared[directory, name] = self._open_new(directory, name)

    def create(self, files: Sequence[NewFile], *, durable: bool = True) -> list[OSError | None]:
        """Create files and make their bytes durable (not their names), one set of flushes; what failed is gone."""
        if durable and 1 < len(files) < SYNCFS_FROM:
            return list(self._pool.map(self._write_durable, files))
        together = durable and len(files) >= SYNCFS_FROM
        answers = [self._write(file, durable=durable and not together) for file in files]
        if together and not self._syncfs():
            return [answer or self._flush_or_abandon(file) for file, answer in zip(files, answers, strict=True)]
        return answers

    def _write_durable(self, file: NewFile) -> OSError | None:
        return self._write(file, durable=True)

    def _flush_or_abandon(self, file: NewFile) -> OSError | None:
        """syncfs failed for some file of the whole file system: ask for each of ours."""
        failure = self._sync_file((file.directory, file.name))
        if failure is not None:
            self._abandon(file)
        return failure

    def _write(self, file: NewFile, *, durable: bool) -> OSError | None:
        fd = self._prepared.pop((file.directory, file.name), None)
        try:
            fd = fd if fd is not None else self._open_new(file.directory, file.name)
        except OSError as error:
            return error
        try:
            view = memoryview(file.data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                os.fsync(fd)
        except OSError as error:
            # R7: pages of a failed fsync may be marked clean; the file is abandoned, never retried.
            self._abandon(file)
            return error
        finally:
            os.close(fd)
        return None

    def _abandon(self, file: NewFile) -> None:
        with contextlib.suppress(OSError):  # a disk that is read-only now takes not even this
            self.unlink(file.directory, file.name)

    def _open_new(self, directory: str, name: str) -> int:
        return os.open(name, _CREATE_FLAGS, self._file_mode, dir_fd=self._fds[directory])

    def sync_files(self, names: Sequence[tuple[str, str]]) -> list[OSError | None]:
        """Make the bytes of existing files durable, one answer each."""
        if len(names) >= SYNCFS_FROM and self._syncfs():
            return [None] * len(names)
        if len(names) > 1:
            return list(self._pool.map(self._sync_file, names))
        return [self._sync_file(name) for name in names]

    def _sync_file(self, place: tuple[str, str]) -> OSError | None:
        directory, name = place
        try:
            fd = os.open(name, _READ_FLAGS, dir_fd=self._fds[directory])
        except OSError as error:
            return error
        try:
            os.fsync(fd)
        except OSError as error:
            return error
        finally:
            os.close(fd)
        return None

    def _syncfs(self) -> bool:
        return bool(self._libc.syncfs(next(iter(self._fds.values()))) == 0)

    def sync_directories(self, directories: Iterable[str]) -> None:
        """Flush each directory once. Raises FlushFailed."""
        for directory in dict.fromkeys(directories):
            try:
                os.fsync(self._fds[directory])
            except OSError as error:
                raise FlushFailed(f"fsync of {self.root / directory} failed: {error.strerror}") from error

    def sync_all(self) -> None:
        """Flush the whole file system. Raises FlushFailed."""
        if not self._syncfs():
            raise FlushFailed(f"syncfs of {self.root} failed: {os.strerror(ctypes.get_errno())}")

    def move(self, source: str, name: str, target: str, new_name: str) -> None:
        """Rename without replacing (R1). Raises FileNotFoundError, FileExistsError."""
        self._rename(source, name, target, new_name, _RENAME_NOREPLACE)

    def exchange(self, source: str, name: str, target: str, new_name: str) -> None:
        """Swap two existing names atomically. Raises FileNotFoundError."""
        self._rename(source, name, target, new_name, _RENAME_EXCHANGE)

    def _rename(self, source: str, name: str, target: str, new_name: str, flags: int) -> None:
        old, new = os.fsencode(name), os.fsencode(new_name)
        if self._libc.renameat2(self._fds[source], old, self._fds[target], new, flags) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), f"{source}/{name}", None, f"{target}/{new_name}")

    def link(self, source: str, name: str, target: str, new_name: str) -> None:
        """Give the inode a second name. Raises FileExistsError, FileNotFoundError."""
        os.link(name, new_name, src_dir_fd=self._fds[source], dst_dir_fd=self._fds[target], follow_symlinks=False)

    def unlink(self, directory: str, name: str) -> None:
        """Remove the name; a missing one is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fds[directory])


def _stat(found: os.stat_result) -> Stat:
    return Stat(
        inode=found.st_ino,
        links=found.st_nlink,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        regular=statmode.S_ISREG(found.st_mode),
    )


def _read_up_to(fd: int, count: int) -> bytes:
    data = os.read(fd, count)
    if len(data) == count or not data:
        return data
    # A writer may have grown the file since fstat, and large reads may come in parts.
    parts, have = [data], len(data)
    while have < count and (data := os.read(fd, count - have)):
        parts.append(data)
        have += len(data)
    return b"".join(parts)


def _sync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise FlushFailed(f"fsync of {path} failed: {error.strerror}") from error
    finally:
        os.close(fd)
