"""The process under torment: a real engine over a real root, led over a socket.

    python -m tests.fault.calls.process FD

It loads everything once, then makes a child for every socket that is handed to it over FD. A child opens an engine
and does what it is asked; it is the child that gets traced, killed, and its calls that fail.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from tests.fakes.faulty import Faults, FaultyFilesystem
from tests.fault.calls.channel import Asked, Channel, Opening, Told
from tests.unit.custody.pair import ManualClock, MemoryJournal, ahead_ns

from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem, NewFile, Stat
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES


class InLine(Executor):
    """Does at once, in the calling thread, what it is given: so that calls have one order."""

    def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(act(*args, **kwargs))
        return done


class Watched(FaultyFilesystem):
    """Counts and notes, and hands groups on as groups: nothing comes between the engine and the real port."""

    def _do(self, verb: str, act: Callable[[], Any], *names: str) -> Any:
        try:
            return super()._do(verb, act, *names)
        except OSError as error:
            self.faults.trace.append(f"{verb} {' '.join(names)}: {error.strerror}")
            raise

    def read(
        self, directory: str, name: str, limit_bytes: int = ROUTE_LIMIT_BYTES, *, flush_soon: bool = False
    ) -> tuple[bytes, Stat]:
        act = lambda: self.inner.read(directory, name, limit_bytes, flush_soon=flush_soon)  # noqa: E731
        data, found = self._do("read", act, directory, name)
        return data, self._shifted(found)

    def create(self, files: Sequence[NewFile], *, durable: bool = True) -> list[OSError | None]:
        names = [f"{file.directory}/{file.name}" for file in files]
        made: list[OSError | None] = self._do("create", lambda: self.inner.create(files, durable=durable), *names)
        for file in files:
            self.stat(file.directory, file.name)  # its age counts from now
        return made

    def sync_files(self, names: Sequence[tuple[str, str]]) -> list[OSError | None]:
        return list(self._do("sync_files", lambda: self.inner.sync_files(names), *map("/".join, names)))

    def sync_directories(self, directories: Iterable[str]) -> None:
        self._do("sync_directories", lambda: self.inner.sync_directories(directories))

    def sync_all(self) -> None:
        self._do("sync_all", self.inner.sync_all)


class Served:
    """One engine, doing what it is asked until the other end is closed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        opening: Opening = channel.receive()
        self._clock, self._faults = ManualClock(), Faults(stamps=dict(opening.stamps))
        self._known = set(opening.stamps)
        inner = LinuxFilesystem(opening.root, pool=InLine())
        fs = Watched(inner, self._faults, lambda: ahead_ns(self._clock))
        self._journal = MemoryJournal()
        self._engine = Engine(fs, self._clock, opening.settings, self._journal, chance=lambda: 0.5)

    def run(self) -> None:
        while (asked := self._channel.receive()) is not None:
            self._channel.send(self._answer(asked))

    def _answer(self, asked: Asked) -> Told:
        result, failure = None, None
        self._clock.wall_s, self._clock.boot_s = asked.wall_s, asked.boot_s
        try:
            result = getattr(self._engine, asked.method)(*asked.arguments)
        except Exception as error:
            failure = error
        if asked.method == "start":
            os.getsid(0)  # the mark of tracer.MARK: here ends the start
        return self._told(result, failure)

    def _told(self, result: Any, failure: Exception | None) -> Told:
        faults = self._faults
        stamps = {real: ours for real, ours in faults.stamps.items() if real not in self._known}
        self._known |= set(stamps)
        trace, lines = faults.trace[:], self._journal.lines[:]
        faults.trace.clear()
        self._journal.lines.clear()
        return Told(result, failure, self._engine.epoch, faults.changes, trace, lines, stamps)


def serve(control: socket.socket) -> None:
    """Make a child for each socket that comes, and say its process id."""
    logging.disable(logging.CRITICAL)  # engines tell of every call that fails, and that is a `write`
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the kernel may clear them away
    while True:
        _, ends, _, _ = socket.recv_fds(control, 1, 1)
        if not ends:
            return
        child = os.fork()
        if child == 0:
            control.close()
            Served(Channel(socket.socket(fileno=ends[0]))).run()
            os._exit(0)
        os.close(ends[0])
        control.send(child.to_bytes(4, "big"))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
