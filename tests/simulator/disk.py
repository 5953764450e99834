"""A simulated disk: what is visible now, what a power cut would leave, and the filesystem port over both.

It owns names, bytes and flushes and knows nothing of handoffs. The layers follow docs/custody.md R8 and the protocol
model: a directory's changes become durable in its own order, each directory in its own time, so that a cut leaves of
every directory any beginning of what it has not flushed; a move between two directories leaves the old name or the
new one, and where moves are split also both, but never none.
"""

import errno
import os
from collections.abc import Callable, Iterable, Sequence

from handoffd.custody.filesystem import FlushFailed, NewFile, Stat
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES

Choose = Callable[[int], int]
"""`choose(n)` returns a number from 0 to n - 1."""


class Crash(BaseException):
    """The process that used the disk is gone."""


class Node:
    """A file's bytes. `kept`: those that a power cut leaves, None when none were flushed."""

    __slots__ = ("ctime_ns", "data", "kept", "links", "mtime_ns", "number", "seen")

    def __init__(self, number: int, data: bytes, at_ns: int) -> None:
        self.number, self.data, self.links = number, data, 0
        self.kept: bytes | None = None
        self.mtime_ns = self.ctime_ns = at_ns
        self.seen: Stat | None = None

    def renamed(self, links: int, at_ns: int) -> None:
        """Note that it has so many more names now, or another one."""
        self.links += links
        self.ctime_ns = at_ns
        self.seen = None

    def stat(self) -> Stat:
        """Return what stat(2) shows; the same object as long as nothing changes."""
        if self.seen is None:
            self.seen = Stat(self.number, self.links, len(self.data), self.mtime_ns, self.ctime_ns, True)
        return self.seen


class Change:
    """One change of a directory that is not flushed: names to put and a name to drop. `after` must be durable first."""

    __slots__ = ("after", "done", "drop", "folder", "put")

    def __init__(
        self, folder: "Folder", put: tuple[tuple[str, Node], ...], drop: str | None, after: "Change | None" = None
    ) -> None:
        self.folder, self.put, self.drop, self.after = folder, put, drop, after
        self.done = False


class Tally:
    """Counts the changes of some directories, so that whoever watches them looks only when there is something new."""

    __slots__ = ("changes",)

    def __init__(self) -> None:
        self.changes = 0


class Folder:
    """One directory: its names now, its names after a power cut, and the changes between."""

    __slots__ = ("kept", "now", "pending", "tallies")

    def __init__(self, tally: Tally) -> None:
        self.now: dict[str, Node] = {}
        self.kept: dict[str, Node] = {}
        self.pending: list[Change] = []
        self.tallies = [tally]

    def change(self, put: tuple[tuple[str, Node], ...], drop: str | None, after: Change | None = None) -> Change:
        """Note a change that `now` shows already."""
        made = Change(self, put, drop, after)
        self.pending.append(made)
        self.count()
        return made

    def count(self) -> None:
        """Let everybody who watches this directory look again."""
        for tally in self.tallies:
            tally.changes += 1

    def flush_all(self) -> None:
        """Make all of it durable."""
        if self.pending:
            self.flush(len(self.pending))

    def flush(self, count: int) -> None:
        """Make the first `count` changes durable, and what they need elsewhere before."""
        head, self.pending = self.pending[:count], self.pending[count:]
        for change in head:
            change.done = True
        for change in head:
            needed = change.after
            if needed is not None and not needed.done:
                needed.folder.flush(needed.folder.pending.index(needed) + 1)
            if change.drop is not None:
                self.kept.pop(change.drop, None)
            for name, node in change.put:
                self.kept[name] = node
            change.after = None

    def drop(self) -> None:
        """Forget what is not durable yet."""
        for change in self.pending:
            change.done, change.after = True, None
        self.pending.clear()


class Disk:
    """Directories by their path below the root. `now_ns` stamps files; `tally` counts every change of a name."""

    def __init__(self, now_ns: Callable[[], int], tally: Tally | None = None) -> None:
        self.folders: dict[str, Folder] = {}
        self.below: dict[str, list[str]] = {}
        self.splits_moves = False
        self.tally = tally or Tally()
        self._now_ns = now_ns
        self._numbers = 0

    def make(self, directory: str) -> None:
        """Make a directory, durable at once: the port flushes its parent."""
        if directory not in self.folders:
            self.folders[directory] = Folder(self.tally)
            parent, _, name = directory.rpartition("/")
            self.below.setdefault(parent, []).append(name)

    # ------------------------------------------------------------ what agents do too

    def write(self, directory: str, name: str, data: bytes) -> None:
        """Write and replace, as an agent does: nothing is flushed."""
        self.put(directory, name, self.node(data))

    def rewrite(self, directory: str, name: str, data: bytes) -> None:
        """Write other bytes into the same file, as an agent may: all its names show them, and nothing is flushed."""
        node = self.folders[directory].now[name]
        node.data, node.kept = data, None
        node.mtime_ns = self._now_ns()
        node.renamed(0, node.mtime_ns)
        self.folders[directory].count()

    def rename(self, source: str, name: str, target: str, new_name: str) -> None:
        """Rename as rename(2) does, replacing. Raises FileNotFoundError."""
        node = self.folders[source].now.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "gone", name)
        old = self.folders[target].now.get(new_name)
        if old is node:
            return
        if old is not None:
            old.renamed(-1, old.ctime_ns)
        self.move(source, name, target, new_name, node)

    def remove(self, directory: str, name: str) -> bool:
        """Remove a name; tell whether it was there."""
        folder = self.folders[directory]
        node = folder.now.pop(name, None)
        if node is None:
            return False
        node.renamed(-1, self._now_ns())
        folder.change((), name)
        return True

    def hard_link(self, source: str, name: str, target: str, new_name: str) -> None:
        """Give a file a second name. Raises FileNotFoundError, FileExistsError."""
        node = self.folders[source].now.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "gone", name)
        if new_name in self.folders[target].now:
            raise FileExistsError(errno.EEXIST, "taken", new_name)
        self.put(target, new_name, node)

    # ------------------------------------------------------------ parts

    def node(self, data: bytes) -> Node:
        """Return a new file without a name."""
        self._numbers += 1
        return Node(self._numbers, data, self._now_ns())

    def put(self, directory: str, name: str, node: Node) -> None:
        """Give a file a name, replacing."""
        folder = self.folders[directory]
        old = folder.now.get(name)
        if old is not None:
            old.renamed(-1, old.ctime_ns)
        folder.now[name] = node
        node.renamed(1, self._now_ns())
        folder.change(((name, node),), None)

    def move(self, source: str, name: str, target: str, new_name: str, node: Node) -> None:
        """Take a file's name away and give it another one, as one change."""
        origin, goal = self.folders[source], self.folders[target]
        del origin.now[name]
        goal.now[new_name] = node
        node.renamed(0, self._now_ns())
        if origin is goal:
            goal.change(((new_name, node),), name)
        else:
            there = goal.change(((new_name, node),), None)
            here = origin.change((), name, there)
            if not self.splits_moves:
                there.after = here

    def flush_bytes(self) -> None:
        """Make the bytes of all files durable, and no name of theirs."""
        for folder in self.folders.values():
            for node in folder.now.values():
                node.kept = node.data

    def back_up(self, top: str) -> dict[str, dict[str, Node]]:
        """Return a copy of all files below a directory; what are two names of one file stay that."""
        copies: dict[Node, Node] = {}
        found = {}
        for path, folder in self._below(top):
            for node in folder.now.values():
                if node not in copies:
                    copies[node] = self.node(node.data)
            found[path] = {name: copies[node] for name, node in folder.now.items()}
        return found

    def replace(self, top: str, backup: dict[str, dict[str, Node]]) -> None:
        """Have nothing below a directory but what was backed up, durable."""
        for path, folder in self._below(top):
            for node in folder.now.values():
                node.renamed(-1, node.ctime_ns)
            folder.drop()
            folder.now = dict(backup.get(path, {}))
            folder.kept = dict(folder.now)
            for node in folder.now.values():
                node.kept = node.data
                node.renamed(1, node.ctime_ns)
            folder.count()

    def close(self) -> None:
        """Nothing is read here any more."""
        for folder in self.folders.values():
            folder.drop()

    def _below(self, top: str) -> list[tuple[str, Folder]]:
        return [item for item in self.folders.items() if item[0] == top or item[0].startswith(f"{top}/")]

    def cut_power(self, choose: Choose) -> bool:
        """Leave what a power cut leaves: of every directory a beginning of its changes, of unflushed bytes any part.

        Tell whether any change was undone.
        """
        for folder in self.folders.values():
            if folder.pending:
                folder.flush(choose(len(folder.pending) + 1))
        lost = any(folder.pending for folder in self.folders.values())
        for folder in self.folders.values():
            folder.drop()
            folder.now = dict(folder.kept)
            folder.count()
        nodes = [node for folder in self.folders.values() for node in folder.now.values()]
        for node in nodes:
            node.links = 0
        for node in nodes:
            node.renamed(1, node.ctime_ns)
            if node.kept is None:
                node.kept = (node.data, b"", node.data[: len(node.data) // 2])[choose(3)]
            node.data = node.kept
        return lost


class Faults:
    """What goes wrong for one process: `crash_in` changes from now it is gone, `failing` calls from now on fail.

    `cuts_power`: what ends it then is not a kill but the power. `meddle` is called `meddle_in` calls from now, before
    the disk does what it is asked.
    """

    __slots__ = ("code", "crash_in", "cuts_power", "failing", "meddle", "meddle_in")

    def __init__(self) -> None:
        self.crash_in = 0
        self.cuts_power = False
        self.failing = 0
        self.code = 0
        self.meddle_in = 0
        self.meddle: Callable[[], None] | None = None

    def power_is_off(self) -> bool:
        """Tell whether the change has come at which the power was to fail."""
        return self.cuts_power and not self.crash_in

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self.crash_in = self.failing = self.meddle_in = 0
        self.cuts_power = False

    def come_nearer(self) -> None:
        """A call is made, and somebody waits for one of the next."""
        self.meddle_in -= 1
        if not self.meddle_in and self.meddle is not None:
            self.meddle()


def _unseen(directory: str, name: str) -> None:
    """Nobody watches."""


class View:
    """The filesystem port of one process on a disk; `moved` hears of each move where it went, and the name there."""

    __slots__ = ("_disk", "_faults", "_folders", "_moved", "dead", "flush_failed")

    def __init__(self, disk: Disk, faults: Faults, moved: Callable[[str, str], None] = _unseen) -> None:
        self._disk, self._faults, self._folders, self._moved = disk, faults, disk.folders, moved
        self.dead = self.flush_failed = False

    def _enter(self) -> None:
        if self.dead:
            raise Crash
        if self._faults.meddle_in:
            self._faults.come_nearer()

    def _fail(self) -> OSError | None:
        """Tell whether the disk refuses this call."""
        self._enter()
        faults = self._faults
        if not faults.failing:
            return None
        faults.failing -= 1
        return OSError(faults.code, os.strerror(faults.code))

    def _may_change(self) -> None:
        error = self._fail()
        if error is not None:
            raise error

    def _changed(self) -> None:
        faults = self._faults
        if faults.crash_in:
            faults.crash_in -= 1
            if not faults.crash_in:
                self.dead = True
                raise Crash

    # ------------------------------------------------------------ the verbs

    def make_directory(self, directory: str, mode: int) -> None:
        self._enter()
        self._disk.make(directory)

    def names(self, directory: str) -> list[str]:
        self._enter()
        return [*self._folders[directory].now, *self._disk.below.get(directory, ())]

    def stat(self, directory: str, name: str) -> Stat | None:
        self._enter()
        node = self._folders[directory].now.get(name)
        return None if node is None else node.stat()

    def read(
        self, directory: str, name: str, limit_bytes: int = ROUTE_LIMIT_BYTES, *, flush_soon: bool = False
    ) -> tuple[bytes, Stat]:
        self._enter()
        node = self._folders[directory].now.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return node.data[: limit_bytes + 1], node.stat()

    def prepare(self, directory: str, name: str) -> None:
        self._enter()  # the port allows to do nothing

    def create(self, files: Sequence[NewFile], *, durable: bool = True) -> list[OSError | None]:
        return [self._create(file, durable) for file in files]

    def _create(self, file: NewFile, durable: bool) -> OSError | None:
        error = self._fail()
        if error is not None:
            return error
        if file.name in self._folders[file.directory].now:
            return FileExistsError(errno.EEXIST, "taken", file.name)
        node = self._disk.node(file.data)
        if durable:
            node.kept = file.data
        self._disk.put(file.directory, file.name, node)
        self._changed()
        return None

    def sync_files(self, names: Sequence[tuple[str, str]]) -> list[OSError | None]:
        return [self._sync_file(*name) for name in names]

    def _sync_file(self, directory: str, name: str) -> OSError | None:
        error = self._fail()
        if error is not None:
            return error
        node = self._folders[directory].now.get(name)
        if node is None:
            return FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        node.kept = node.data
        return None

    def sync_directories(self, directories: Iterable[str]) -> None:
        for directory in dict.fromkeys(directories):
            error = self._fail()
            if error is not None:
                self.flush_failed = True
                raise FlushFailed(f"fsync of {directory} failed: {error.strerror}")
            self._folders[directory].flush_all()

    def sync_all(self) -> None:
        error = self._fail()
        if error is not None:
            self.flush_failed = True
            raise FlushFailed(f"syncfs failed: {error.strerror}")
        for folder in self._folders.values():
            folder.flush_all()
            for node in folder.now.values():
                node.kept = node.data

    def move(self, source: str, name: str, target: str, new_name: str) -> None:
        self._may_change()
        node = self._folders[source].now.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        if new_name in self._folders[target].now:
            raise FileExistsError(errno.EEXIST, "File exists", new_name)
        self._disk.move(source, name, target, new_name, node)
        self._moved(target, new_name)
        self._changed()

    def exchange(self, source: str, name: str, target: str, new_name: str) -> None:
        self._may_change()
        origin, goal = self._folders[source], self._folders[target]
        if name not in origin.now or new_name not in goal.now:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        first, second = origin.now[name], goal.now[new_name]
        origin.now[name], goal.now[new_name] = second, first
        if origin is goal:
            origin.change(((name, second), (new_name, first)), None)
        else:
            # Atomic on the systems we accept: both names are durable together.
            origin.change(((name, second),), None, after=goal.change(((new_name, first),), None))
        self._changed()

    def link(self, source: str, name: str, target: str, new_name: str) -> None:
        self._may_change()
        self._disk.hard_link(source, name, target, new_name)
        self._changed()

    def unlink(self, directory: str, name: str) -> None:
        self._may_change()
        if self._disk.remove(directory, name):
            self._changed()
