"""Small files of trust, replaced whole: tokens, hashes, certificates, a peer's stanza.

It owns how such a file comes to be on the disk and knows nothing of what is in it. The rules that must stay true: who
reads a file sees the old one or the new one, whole, through a power cut too; what is new can be read by the daemon,
whoever runs the command; of several writers, the daemon among them, one reads and writes at a time; and no link that
lies in a file's place, or its directory's, leads anybody elsewhere.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

PUBLIC_MODE = 0o644
DIRECTORY_MODE = 0o750
LIMIT_BYTES = 64 << 10
"""No file of trust is larger; the configuration's reader has the same limit."""
_SECRET_BITS = 0o640
"""The most a secret may have: the owner, and a group that may read it."""
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it should be; None as content: it should not be there.

    `keeps_access`: a file that is there keeps its owner, group and mode; it is another's than the daemon's.
    """

    path: Path
    content: bytes | None
    is_secret: bool = False
    keeps_access: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """A file as it was, and what was then written in its place."""

    was: Kept
    written: bytes | None


class Store:
    """Writes files that belong to whom `model` belongs to: a file that the daemon can read, its private key.

    A secret gets the model's mode (0600, or 0640 for a group), everything else 0644. The model is the lock too.
    """

    def __init__(self, model: Path) -> None:
        self._path, self._model = model, model.stat()

    def put(self, files: Iterable[Kept]) -> list[Before]:
        """Write each in turn and return what was there before. Raises OSError; however it ends early, all is undone."""
        with self._alone():
            return self._put(files)

    def change(self, path: Path, renewed: Callable[[bytes], bytes]) -> list[Before]:
        """Write what is made of a file's present content, which nobody changes meanwhile. Raises OSError, as `put`."""
        with self._alone():
            present = _content(path)
            if present is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return self._put([Kept(path, renewed(present))])

    def promote(self, pairs: Iterable[tuple[Path, Path]]) -> None:
        """Rename each first to its second, in the same directory, each durable before the next. Raises OSError."""
        with self._alone():
            for ready, place in pairs:
                os.replace(ready, place)
                directory = os.open(place.parent, _ENTER)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)

    def undo(self, before: Iterable[Before]) -> None:
        """Bring back what `put` returned, the last one first; what another has written since stays. Raises OSError."""
        with self._alone():
            self._undo(before)

    def _put(self, files: Iterable[Kept]) -> list[Before]:
        before: list[Before] = []
        try:
            for file in files:
                before.append(Before(replace(file, content=_content(file.path)), file.content))
                self._put_one(file)
        except BaseException:
            with suppress(OSError):
                self._undo(before)
            raise
        return before

    def _undo(self, before: Iterable[Before]) -> None:
        for each in reversed(list(before)):
            present = _content(each.was.path)
            if present == each.written and present != each.was.content:
                self._put_one(each.was)

    def _put_one(self, file: Kept) -> None:
        if file.content is not None:
            self._make_directory(file.path.parent)
        try:
            directory = os.open(file.path.parent, _ENTER)
        except FileNotFoundError:
            return  # and so is the file
        except OSError as error:
            raise _not_followed(error, file.path.parent) from None
        try:
            if file.content is None:
                with suppress(FileNotFoundError):
                    os.unlink(file.path.name, dir_fd=directory)
            else:
                self._replace(directory, file, file.content)
            os.fsync(directory)
        finally:
            os.close(directory)

    def _make_directory(self, directory: Path) -> None:
        parent = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.mkdir(directory.name, DIRECTORY_MODE, dir_fd=parent)
            made = os.open(directory.name, _ENTER, dir_fd=parent)
            try:
                os.fchmod(made, DIRECTORY_MODE)
                self._give(made)
            finally:
                os.close(made)
            os.fsync(parent)
        except FileExistsError:
            return
        finally:
            os.close(parent)

    def _replace(self, directory: int, file: Kept, content: bytes) -> None:
        name = file.path.name
        _sweep(directory, name)
        temporary = f".{name}.{secrets.token_hex(8)}.tmp"
        try:
            with open(os.open(temporary, _MAKE, 0o600, dir_fd=directory), "wb") as stream:
                stream.write(content)
                stream.flush()
                self._grant(stream.fileno(), _status(directory, name) if file.keeps_access else None, file.is_secret)
                os.fsync(stream.fileno())
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException as error:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(file.path)) from None
            raise

    def _grant(self, descriptor: int, present: os.stat_result | None, is_secret: bool) -> None:
        if present is None:
            self._give(descriptor)
            mode = stat.S_IMODE(self._model.st_mode) & _SECRET_BITS if is_secret else PUBLIC_MODE
        else:
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (present.st_uid, present.st_gid):
                os.fchown(descriptor, present.st_uid, present.st_gid)
            mode = stat.S_IMODE(present.st_mode) & 0o777
        os.fchmod(descriptor, mode)  # after the owner: to change that may take bits away

    def _give(self, descriptor: int) -> None:
        if os.geteuid() == 0:
            os.fchown(descriptor, self._model.st_uid, self._model.st_gid)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock that every writer of this host's files of trust takes. Raises OSError."""
        while True:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    yield
                    return
                # It was replaced while this one waited; who comes now locks the new one.
            finally:
                os.close(descriptor)


def _content(path: Path) -> bytes | None:
    """Return what a file holds, None if it is not there. Raises OSError; that of no small regular file too."""
    try:
        descriptor = os.open(path, _LOOK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _not_followed(error, path) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LIMIT_BYTES:
            raise OSError(errno.EINVAL, "is not a small regular file", str(path))
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(LIMIT_BYTES)
    finally:
        os.close(descriptor)


def _not_followed(error: OSError, path: Path) -> OSError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return OSError(error.errno, "is a link, or no directory, and is not followed", str(path))
    return error


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _sweep(directory: int, name: str) -> None:
    """Remove what writers of this file left that were killed; those that live wait for the lock."""
    for each in os.listdir(directory):
        if each.startswith(f".{name}.") and each.endswith(".tmp"):
            with suppress(OSError):
                os.unlink(each, dir_fd=directory)
