"""A test's host whose engine runs in a process of its own, where calls can fail and be the last.

The story, the other host and the witness stay in the test. What the process does not live to answer is a `Crash`
here, as with the fake port, and the story goes on with a restart: another process.
"""

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.faulty import Crash
from tests.fault.calls.channel import Asked, Channel, Opening, Told
from tests.fault.calls.tracer import Blow, Tracer
from tests.unit.custody.pair import Host

PROJECT = Path(__file__).parents[3]
ENDS_WITHIN_S = 60.0


class Nursery:
    """The loaded process that makes a child for each socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [sys.executable, "-m", "tests.fault.calls.process", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=PROJECT, pass_fds=[theirs.fileno()])
        theirs.close()
        self._control = ours

    def child(self) -> tuple[int, Channel]:
        """Return the id of a new process and the way to lead it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        socket.send_fds(self._control, [b"!"], [theirs.fileno()])
        theirs.close()
        pid = int.from_bytes(self._control.recv(4, socket.MSG_WAITALL), "big")
        return pid, Channel(ours)

    def close(self) -> None:
        self._control.close()
        self._process.wait(ENDS_WITHIN_S)


class Remote:
    """Stands for the engine and for the port: methods are called there, the epoch is as last heard of."""

    def __init__(self, host: Host, channel: Channel, tracer: Tracer | None) -> None:
        self._host, self._channel = host, channel
        self.tracer = tracer
        self.epoch = ""
        self._base = host.faults.changes
        channel.send(Opening(host.root, host.settings, host.faults.stamps))

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments: self._ask(method, arguments)

    def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        clock = self._host.clock
        told = self._exchange(Asked(method, arguments, clock.wall_s, clock.boot_s))
        if told is None:
            raise self._death(method)
        self.epoch = told.epoch
        faults = self._host.faults
        faults.changes = self._base + told.changes
        faults.trace += told.trace
        self._host.journal.lines += told.lines
        faults.stamps.update(told.stamps)
        if told.error is not None:
            raise told.error
        return told.result

    def _exchange(self, asked: Asked) -> Told | None:
        try:
            self._channel.send(asked)
        except BrokenPipeError:
            return None
        told: Told | None = self._channel.receive()
        return told

    def _death(self, method: str) -> BaseException:
        """Only a blow may end it: anything else is a mistake of these tests, or of the engine."""
        self._host.faults.changes += 1  # as far as anybody knows
        if self.tracer is not None:
            self.tracer.finish()
            if self.tracer.struck:
                self._host.faults.trace.append(f"killed in {method}")
                return Crash()
        return RuntimeError(f"the process ended in {method}, and nobody killed it")

    def close(self) -> None:
        """Let the process end; wait for its tracer, so that all calls are written down."""
        self._channel.close()
        if self.tracer is not None:
            self.tracer.finish()


class Processes:
    """The processes of one host, one after the other. `blows`: what befalls the n-th; `watch`: trace them all.

    The first is traced from its start's end on, when `trace_first` is called: what it does before is not the story's.
    """

    def __init__(
        self, nursery: Nursery, directory: Path, *, blows: Mapping[int, Blow] = {}, watch: bool = False
    ) -> None:
        self._nursery, self._directory, self._blows, self._watch = nursery, directory, dict(blows), watch
        self._opened = itertools.count()
        self.tracers: dict[int, Tracer] = {}
        self._first: tuple[Remote, int] | None = None

    def __call__(self, host: Host) -> tuple[Remote, Remote]:
        number = next(self._opened)
        pid, channel = self._nursery.child()
        remote = Remote(host, channel, self._tracer(number, pid) if number else None)
        if number == 0:
            self._first = remote, pid
        return remote, remote

    def trace_first(self) -> None:
        assert self._first is not None
        remote, pid = self._first
        remote.tracer = self._tracer(0, pid)

    def _tracer(self, number: int, pid: int) -> Tracer | None:
        blow = self._blows.get(number)
        if blow is None and not self._watch:
            return None
        self.tracers[number] = Tracer(pid, self._directory / f"calls-{os.getpid()}-{number}", blow)
        return self.tracers[number]

    @property
    def struck(self) -> bool:
        """Whether every blow fell."""
        return all(number in self.tracers and self.tracers[number].struck for number in self._blows)
