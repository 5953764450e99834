"""The four shared directories, and the durable verbs an agent needs in them.

It knows names and flushes, not payloads. The rules that must stay true: nothing that exists is ever replaced, and
bytes are durable before they get a name that means something.
"""

import ctypes
import errno
import functools
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from handoffd.protocol.name import FileName, TransferId, is_file_name, suffixed

DIRECTORY_MODE = 0o770
FILE_MODE = 0o660
"""Both before the umask: a group shared by agents and daemon works with umask 007 (overview.md section 3)."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


class FlushFailed(Exception):
    """The disk did not confirm a flush: what is durable is unknown, and only a new start may go on."""


class Directories:
    """`handoff/`, `claimed/`, `archive/` and `rejected/` under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.handoff = root / "handoff"
        self.claimed = root / "claimed"
        self.archive = root / "archive"
        self.rejected = root / "rejected"

    def make(self) -> None:
        """Create what is missing, as every agent does. Raises NotADirectoryError, FileNotFoundError for the root."""
        if not self.root.is_dir():
            if self.root.exists():
                raise NotADirectoryError(errno.ENOTDIR, "it is no directory; correct the name", str(self.root))
            words = f"there is no such directory; correct the name, or make it: mkdir {self.root}"
            raise FileNotFoundError(errno.ENOENT, words, str(self.root))
        for path in (self.handoff, self.claimed, self.archive, self.rejected):
            path.mkdir(DIRECTORY_MODE, exist_ok=True)
        flush(self.root)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return libc


def move(source: Path, target: Path) -> None:
    """Rename without replacing: exactly one of several movers wins. Raises FileNotFoundError, FileExistsError."""
    # Not os.rename: it overwrites. Not link and unlink: renaming onto another link of an inode does nothing.
    old, new = os.fsencode(source), os.fsencode(target)
    if _libc().renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source), None, str(target))


def names_for(directory: Path, name: str, tid: TransferId) -> Iterator[Path]:
    """Yield where a file of this name belongs, best first: its own name if legal, `stem.r{T12}.json`, random ones."""
    if is_file_name(name):
        yield directory / name
    yield directory / suffixed(name, tid)
    while True:
        yield directory / suffixed(f"{name[:80]}.{secrets.token_hex(4)}", tid)


def first_free(paths: Iterable[Path], act: Callable[[Path], None]) -> Path:
    """Return the first path on which `act` did not raise FileExistsError."""
    for path in paths:
        try:
            act(path)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(errno.EEXIST, "every name that could be used is taken")


def write_new(path: Path, data: bytes) -> None:
    """Create `path` with these durable bytes; its directory is not flushed. Raises FileExistsError, FlushFailed."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            _sync(file.fileno(), path)
        move(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def flush(*directories: Path) -> None:
    """Make the names in each directory durable, once each. Raises FlushFailed."""
    for directory in dict.fromkeys(directories):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(fd, directory)
        finally:
            os.close(fd)


def open_regular(path: Path) -> int | None:
    """Return a descriptor for reading, or None if the name is gone or is no regular file; never blocks."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES):
            return None
        raise
    if _is_regular(fd):
        return fd
    os.close(fd)
    return None


def read_all(fd: int, limit_bytes: int) -> bytes:
    """Return at most limit_bytes + 1 bytes from the start of the file."""
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return file.read(limit_bytes + 1)


def names_in(directory: Path) -> list[FileName]:
    """Return the names in the directory that a handoff may bear."""
    return [FileName(name) for name in os.listdir(directory) if is_file_name(name)]


def _is_regular(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _sync(fd: int, path: Path) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise FlushFailed(f"fsync of {path} failed: {error.strerror}") from error
