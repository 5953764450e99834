"""Tells that something changed in the agents' four directories: from kernel events, or not at all (`scan`).

It owns the kernel watch and the choice between three kinds of it; it reads no file and does not know what a handoff is.
The rule that must stay true: what it tells is a hint. It may tell too much, after an overflow it knows no names, and
nobody may need it to be complete, because the scan on every tick is.
"""

import asyncio
import contextlib
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from handoffd.custody.layout import AGENTS_DIRECTORIES

if TYPE_CHECKING:
    from watchfiles.main import FileChange

Seen = dict[str, set[str]]
"""Directory name -> file names that changed there; an empty set means: look at the whole directory."""

Kind = Literal["auto", "inotify", "watchfiles", "scan"]

READ_BYTES = 65_536
"""About 600 events of the names in use here: a burst is told in a few calls, and malloc keeps the buffer at hand."""
STEP_MS, DEBOUNCE_MS = 10, 50
"""watchfiles wakes up once a step for as long as it runs: 10 ms costs 0.4 % of a core, 1 ms five times as much."""

# From inotify(7), with the bits of sys/inotify.h. An event is wd, mask, cookie, len and then a name of len bytes.
_EVENT = struct.Struct("iIII")
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x008, 0x040, 0x080, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _OVERFLOW, _IGNORED, _ONLYDIR = 0x400, 0x800, 0x2000, 0x4000, 0x8000, 0x1000000
_END = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
# Not MOVED_FROM and DELETE: a claim also arrives in claimed/, and our own takes would wake us once more each. What an
# agent removes outright, the tick finds.
_CHANGES = _MOVED_TO | _CLOSE_WRITE | _CREATE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
# A deleted directory that somebody still has open sends no DELETE_SELF, so its parent is asked.
_ROOT, _ROOT_CHANGES = "", _MOVED_FROM | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_HIDDEN = ord(".")

_SYSCTL = Path("/proc/sys/fs/inotify")


class WatchUnavailable(Exception):
    """This kind of watch cannot be had here; the message says why and what to do."""


class WatchLost(Exception):
    """A running watch cannot go on: a directory was replaced or unmounted, so nothing opened in it is valid either."""


class Watch(Protocol):
    """A source of hints; `why` says what `auto` preferred and could not have, or is empty."""

    kind: str
    why: str
    ready: asyncio.Event

    async def run(self, on_seen: Callable[[Seen], None]) -> None:
        """Call `on_seen` with each batch of changes, until cancelled; scan once after `ready` is set.

        Runs once. Raises WatchLost, and what `on_seen` raises.
        """


def choose(kind: Kind, root: Path) -> Watch:
    """Return the named watch of a root's four directories; `auto` is inotify, else watchfiles, else scan.

    inotify collects from this call on, not from `run` on. Raises WatchUnavailable, but not for `auto`.
    """
    match kind:
        case "scan":
            return Scan()
        case "watchfiles":
            return Watchfiles(root)
        case "inotify":
            return Inotify(root)
        case "auto":
            return _best(root)


def inotify_refusal(root: Path) -> str:
    """Return why no inotify watch of a root can be had now, empty if one can; nothing stays open."""
    try:
        Inotify(root).close()
    except WatchUnavailable as error:
        return str(error)
    return ""


def _best(root: Path) -> Watch:
    reasons: list[str] = []
    for candidate in (Inotify, Watchfiles):
        try:
            watch = candidate(root)
        except WatchUnavailable as error:
            reasons.append(f"no {candidate.kind}: {error}")
        else:
            watch.why = "; ".join(reasons)
            return watch
    return Scan("; ".join(reasons))


class Scan:
    """No events: the daemon's tick finds everything."""

    kind = "scan"

    def __init__(self, why: str = "") -> None:
        self.why = why
        self.ready = asyncio.Event()

    async def run(self, on_seen: Callable[[Seen], None]) -> None:
        """Tell nothing, until cancelled."""
        self.ready.set()
        await asyncio.get_running_loop().create_future()


class Inotify:
    """Kernel events, told from within the read: no timer, no poll, no task switch on the way.

    asyncinotify brings the descriptor and the watches. Its iteration is left aside: it builds a path, an enum and a
    weak reference per event (measured 5.5 us, here 0.5 us) and registers with the loop anew for each batch.
    """

    kind = "inotify"

    def __init__(self, root: Path) -> None:
        try:
            import asyncinotify  # noqa: PLC0415 - only the kind in use is loaded
        except (ImportError, RuntimeError, OSError) as error:  # it looks for libc while being imported
            raise WatchUnavailable(f"asyncinotify does not load: {error}") from error
        self.why = ""
        self.ready = asyncio.Event()
        self._root = root
        try:
            self._source = asyncinotify.Inotify()
            # asyncinotify 4.4.4 spells NONBLOCK as O_CLOEXEC: a wake-up without an event would freeze the loop.
            os.set_blocking(self._source.fd, False)
            watches = [(_ROOT, _ROOT_CHANGES), *((name, _CHANGES) for name in AGENTS_DIRECTORIES)]
            self._directories = {
                self._source.add_watch(root / name, asyncinotify.Mask(mask)).wd: name for name, mask in watches
            }
        except OSError as error:
            raise WatchUnavailable(_refusal(error)) from error

    def close(self) -> None:
        """Give the descriptor back without having run."""
        self._source.close()

    async def run(self, on_seen: Callable[[Seen], None]) -> None:
        """Tell each readable batch at once, until cancelled. Raises WatchLost, and what `on_seen` raises."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            try:
                if seen := self._read():
                    on_seen(seen)
            except Exception as error:  # the loop would only log it; whoever awaits `run` has to know
                loop.remove_reader(self._source.fd)
                if not end.done():
                    end.set_exception(error)

        with self._source:
            loop.add_reader(self._source.fd, tell)
            self.ready.set()
            try:
                await end
            finally:
                loop.remove_reader(self._source.fd)

    def _read(self) -> Seen:
        try:
            batch = os.read(self._source.fd, READ_BYTES)
        except BlockingIOError:
            return {}
        seen: Seen = {}
        overflow = False
        for watch, mask, name in _events(batch):
            if mask & _OVERFLOW:
                overflow = True
            elif self._is_hint(directory := self._directories[watch], mask, name):
                seen.setdefault(directory, set()).add(name)
        # Only now, because the end of the watch may stand behind an overflow.
        return {directory: set() for directory in AGENTS_DIRECTORIES} if overflow else seen

    def _is_hint(self, directory: str, mask: int, name: str) -> bool:
        if mask & _END or (directory == _ROOT and name in AGENTS_DIRECTORIES):
            raise _lost(self._root / directory / name)
        return bool(name and directory) and (not mask & _CREATE or self._has_bytes(directory, name))

    def _has_bytes(self, directory: str, name: str) -> bool:
        # A hard link to a finished file is never closed after writing, so it counts now; an empty file counts later.
        try:
            return os.lstat(self._root / directory / name).st_size > 0
        except OSError:
            return False


class Watchfiles:
    """The second watcher: some milliseconds late, never idle, silent about overflows."""

    kind = "watchfiles"

    def __init__(self, root: Path) -> None:
        try:
            import watchfiles  # noqa: PLC0415 - only the kind in use is loaded
        except (ImportError, OSError) as error:
            raise WatchUnavailable(f"watchfiles does not load: {error}") from error
        self.why = ""
        self.ready = asyncio.Event()
        self._watchfiles = watchfiles
        self._directories = {os.fspath((root / name).absolute()): name for name in AGENTS_DIRECTORIES}
        # The root for the same reason as above: it tells of a deleted directory that somebody still has open.
        self._watched = (os.fspath(root.absolute()), *self._directories)
        try:
            # Its watcher is made and dropped once, for `auto` to know now whether it works: it needs inotify as well.
            with contextlib.closing(
                watchfiles.watch(
                    *self._watched,
                    recursive=False,
                    force_polling=False,
                    rust_timeout=1,
                    step=1,
                    yield_on_timeout=True,
                )
            ) as probe:
                next(probe)
        except (OSError, RuntimeError) as error:
            raise WatchUnavailable(f"watchfiles found no watcher: {error}") from error

    async def run(self, on_seen: Callable[[Seen], None]) -> None:
        """Tell changes within `STEP_MS`, until cancelled. Raises WatchLost, and what `on_seen` raises."""
        # awatch makes its watcher before it first waits, so this is called when the watcher is live.
        asyncio.get_running_loop().call_soon(self.ready.set)
        batches = self._watchfiles.awatch(
            *self._watched,
            watch_filter=None,
            recursive=False,
            force_polling=False,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
        )
        async for batch in batches:
            if seen := self._hints(batch):
                on_seen(seen)

    def _hints(self, batch: "set[FileChange]") -> Seen:
        seen: Seen = {}
        for change, path in batch:
            gone = change is self._watchfiles.Change.deleted
            if gone and path in self._watched:
                raise _lost(path)
            parent, name = os.path.split(path)
            if not gone and parent in self._directories and not name.startswith("."):
                seen.setdefault(self._directories[parent], set()).add(name)
        return seen


def _events(batch: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield watch, mask and name of each event that has no hidden name."""
    at, end = 0, len(batch)
    while at < end:
        watch, mask, _cookie, length = _EVENT.unpack_from(batch, at)
        at += _EVENT.size
        if not length:
            yield watch, mask, ""
        elif batch[at] != _HIDDEN:
            yield watch, mask, os.fsdecode(batch[at : at + length].rstrip(b"\0"))
        at += length


def _lost(path: Path | str) -> WatchLost:
    return WatchLost(
        f"{path} was moved, deleted or unmounted while in use; put it back, or make it again, and restart handoffd"
    )


def _refusal(error: OSError) -> str:
    match error.errno:
        case errno.EMFILE:
            return f"no inotify instance is left: raise {_sysctl('max_user_instances')}, or LimitNOFILE of this service"
        case errno.ENOSPC:
            return f"no inotify watch is left: raise {_sysctl('max_user_watches')}"
        case _:
            return f"{error.filename or 'inotify'}: {error.strerror}"


def _sysctl(name: str) -> str:
    try:
        value = (_SYSCTL / name).read_text().strip()
    except OSError:
        value = "unknown"
    return f"the sysctl fs.inotify.{name} (now {value})"
