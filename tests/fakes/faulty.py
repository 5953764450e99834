"""The filesystem port with a finger on it: every verb is counted, and any call can be the last one or can fail.

A crash is a `Crash` raised after a verb was done; nothing is done by that instance any more, not even in a `finally`.
A failure is an OSError instead of the verb, or, for the flush of a directory, a FlushFailed. A group of files so large
that one flush of the file system serves it is done at once, and counted as a call for each file.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from handoffd.custody import layout
from handoffd.custody.filesystem import SYNCFS_FROM, Filesystem, FlushFailed, NewFile, Stat
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES

CHANGES = frozenset({"make_directory", "prepare", "create", "move", "exchange", "link", "unlink"})
"""Verbs after which the disk is another one: only between these does the place of a crash make a difference."""
STEPS = CHANGES | {"sync_files", "sync_directories", "sync_all"}
"""Verbs between which the place of a power cut makes a difference."""


class Crash(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Failing:
    """Calls number `first` to `last` of these verbs fail with this errno."""

    verbs: frozenset[str]
    first: int
    last: int
    code: int


@dataclass
class Faults:
    """What goes wrong at one host, through all its restarts.

    `changes` counts what a crash can fall between, `steps` what a power cut can. `meanwhile` is called after each step:
    what other programs do to the same disk.
    """

    crash_after: set[int] = field(default_factory=set)
    cut_before: set[int] = field(default_factory=set)
    meanwhile: Callable[[], None] | None = None
    failing: Failing | None = None
    changes: int = 0
    steps: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    fallible: int = 0
    stamps: dict[int, int] = field(default_factory=dict)
    flushes: Counter[str] = field(default_factory=Counter)

    def rest(self) -> None:
        """Let nothing go wrong any more, and count anew."""
        self.crash_after, self.cut_before, self.failing = set(), set(), None
        self.changes = self.steps = self.fallible = 0
        self.calls.clear()
        self.trace.clear()

    def fails(self, verb: str) -> int | None:
        plan = self.failing
        if plan is None or verb not in plan.verbs:
            return None
        self.fallible += 1
        return plan.code if plan.first <= self.fallible <= plan.last else None


class FaultyFilesystem:
    """A Filesystem in front of a real one. `ahead_ns`: how far the test's clock is ahead of the kernel's."""

    def __init__(self, inner: Filesystem, faults: Faults, ahead_ns: Callable[[], int] = lambda: 0) -> None:
        self.inner, self.faults, self._ahead_ns = inner, faults, ahead_ns
        self.dead = False

    def _do(self, verb: str, act: Callable[[], Any], *names: str) -> Any:
        if self.dead:
            raise Crash
        self.faults.calls[verb] += 1
        probing = any(name.startswith(layout.PROBE) for name in names)
        code = None if probing else self.faults.fails(verb)
        if code is not None:
            self.faults.trace.append(f"{verb} {' '.join(names)}: {os.strerror(code)}")
            raise OSError(code, os.strerror(code), "/".join(names))
        if verb in STEPS:
            self._step(verb, names)
        result = act()
        if verb in STEPS and self.faults.meanwhile is not None:
            self.faults.meanwhile()
        if verb in CHANGES and not probing:
            self._changed(verb, names)
        return result

    def _step(self, verb: str, names: tuple[str, ...]) -> None:
        self.faults.steps += 1
        if self.faults.steps in self.faults.cut_before:
            self.faults.trace.append(f"cut before {verb} {' '.join(names)}")
            self.dead = True
            raise Crash

    def _changed(self, verb: str, names: tuple[str, ...]) -> None:
        self.faults.changes += 1
        self.faults.trace.append(f"{self.faults.changes} {verb} {' '.join(names)}")
        if self.faults.changes in self.faults.crash_after:
            self.faults.trace.append("crash")
            self.dead = True
            raise Crash

    def close(self) -> None:
        self.inner.close()  # type: ignore[attr-defined]

    def make_directory(self, directory: str, mode: int) -> None:
        self._do("make_directory", lambda: self.inner.make_directory(directory, mode), directory)

    def names(self, directory: str) -> list[str]:
        return list(self._do("names", lambda: self.inner.names(directory), directory))

    def stat(self, directory: str, name: str) -> Stat | None:
        found: Stat | None = self._do("stat", lambda: self.inner.stat(directory, name), directory, name)
        return found and self._shifted(found)

    def read(
        self, directory: str, name: str, limit_bytes: int = ROUTE_LIMIT_BYTES, *, flush_soon: bool = False
    ) -> tuple[bytes, Stat]:
        data, found = self._do("read", lambda: self.inner.read(directory, name, limit_bytes), directory, name)
        return data, self._shifted(found)

    def _shifted(self, found: Stat) -> Stat:
        # The kernel stamps files with its own time; the engine compares them with the test's.
        return found._replace(mtime_ns=self._stamp(found.mtime_ns), ctime_ns=self._stamp(found.ctime_ns))

    def _stamp(self, real_ns: int) -> int:
        return self.faults.stamps.setdefault(real_ns, real_ns + self._ahead_ns())

    def prepare(self, directory: str, name: str) -> None:
        with contextlib.suppress(OSError):
            self._do("prepare", lambda: self.inner.prepare(directory, name), directory, name)

    def create(self, files: Sequence[NewFile], *, durable: bool = True) -> list[OSError | None]:
        if len(files) < SYNCFS_FROM:
            return [answer for file in files for answer in self._create([file], durable)]
        return self._create(files, durable)

    def _create(self, files: Sequence[NewFile], durable: bool) -> list[OSError | None]:
        def act() -> list[OSError | None]:
            made = self.inner.create(files, durable=durable)
            for file in files:
                if (found := self.inner.stat(file.directory, file.name)) is not None:
                    self._shifted(found)  # its age counts from now
            return made

        self.faults.calls["create"] += len(files) - 1
        try:
            return list(self._do("create", act, files[0].directory, files[0].name))
        except OSError as error:
            return [error] * len(files)

    def sync_files(self, names: Sequence[tuple[str, str]]) -> list[OSError | None]:
        if len(names) < SYNCFS_FROM:
            return [answer for name in names for answer in self._sync_files([name])]
        return self._sync_files(names)

    def _sync_files(self, names: Sequence[tuple[str, str]]) -> list[OSError | None]:
        self.faults.calls["sync_files"] += len(names) - 1
        try:
            return list(self._do("sync_files", lambda: self.inner.sync_files(names), *names[0]))
        except OSError as error:
            return [error] * len(names)

    def sync_directories(self, directories: Iterable[str]) -> None:
        for directory in dict.fromkeys(directories):
            self._flush("sync_directories", lambda one=directory: self.inner.sync_directories([one]), directory)

    def sync_all(self) -> None:
        self._flush("sync_all", self.inner.sync_all, "")

    def _flush(self, verb: str, act: Callable[[], None], name: str) -> None:
        try:
            self._do(verb, act, name)
            self.faults.flushes[name] += 1
        except OSError as error:
            self.dead = True  # nothing may follow a failed flush (R7)
            raise FlushFailed(f"fsync of {name} failed: {error.strerror}") from error

    def move(self, source: str, name: str, target: str, new_name: str) -> None:
        self._do("move", lambda: self.inner.move(source, name, target, new_name), source, name, target, new_name)

    def exchange(self, source: str, name: str, target: str, new_name: str) -> None:
        act = lambda: self.inner.exchange(source, name, target, new_name)  # noqa: E731
        self._do("exchange", act, source, name, target, new_name)

    def link(self, source: str, name: str, target: str, new_name: str) -> None:
        self._do("link", lambda: self.inner.link(source, name, target, new_name), source, name, target, new_name)

    def unlink(self, directory: str, name: str) -> None:
        self._do("unlink", lambda: self.inner.unlink(directory, name), directory, name)
