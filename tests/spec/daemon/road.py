"""What lies between two daemons and can go away, and a host that sleeps: nothing of either is real but its effect.

A `Road` is a TCP proxy on loopback. A sleep is SIGSTOP, and clocks that say afterwards how long it was: the wall clock
and CLOCK_BOOTTIME have gone on, CLOCK_MONOTONIC has not, as the kernel keeps them.
"""

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

from tests.spec.daemon.rig import Host

_CLOCKS = """
import os, time

_wall, _clock = time.time, time.clock_gettime


def _slept_s():
    with open(os.environ["TEST_SLEPT_FILE"]) as file:
        return float(file.read())


time.time = lambda: _wall() + _slept_s()
time.clock_gettime = lambda which: _clock(which) + (_slept_s() if which == time.CLOCK_BOOTTIME else 0.0)
"""


class Sleeper:
    """A host's daemon that can be put to sleep for hours in a moment."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._place = host.directory / "sleep"
        self._file = self._place / "slept_s"
        self._place.mkdir()
        (self._place / "sitecustomize.py").write_text(_CLOCKS)
        self._say(0.0)

    def start(self) -> None:
        self.host.start(env={"PYTHONPATH": str(self._place), "TEST_SLEPT_FILE": str(self._file)})

    def fall_asleep(self) -> None:
        self.host.freeze()

    def wake(self, after_s: float) -> None:
        self._say(after_s)
        self.host.signal(signal.SIGCONT)

    def _say(self, slept_s: float) -> None:
        part = Path(f"{self._file}.new")
        part.write_text(str(slept_s))
        os.replace(part, self._file)


class Road:
    """Passes connections on to a port. Blocked, it takes none; those it had lead nowhere, for good."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._free = threading.Event()
        self._free.set()
        self._told = False
        self._guard = threading.Lock()
        self._passages: list[_Passage] = []
        self._door = threading.Thread(target=self._accept)
        self._door.start()

    def __enter__(self) -> "Road":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake a thread that accepts
        self._free.set()
        self._door.join()
        self._listener.close()
        for passage in self._passages:
            passage.close()

    def block(self, *, told: bool = False) -> None:
        """Let nothing pass; `told`: whoever has a connection hears that it is gone."""
        with self._guard:
            self._free.clear()
            self._told = told
            for passage in self._passages:
                passage.lose(told=told)

    def clear(self) -> None:
        """Let new connections pass."""
        self._free.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._free.wait()  # as if it were still on its way, until there is a way
                self._pass(client)

    def _pass(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
        else:
            with self._guard:
                passage = _Passage(client, server)
                self._passages.append(passage)
                if not self._free.is_set():  # blocked since it was let in
                    passage.lose(told=self._told)


class _Passage:
    """Two sockets, and what one says goes to the other until the end."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._ends = (client, server)
        self._lost = threading.Event()
        self._ways = [threading.Thread(target=self._pump, args=pair) for pair in ((client, server), (server, client))]
        for way in self._ways:
            way.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._lost.is_set():
                    target.sendall(data)
        if not self._lost.is_set():
            self._shut()

    def lose(self, *, told: bool) -> None:
        self._lost.set()
        if told:
            self._shut()

    def close(self) -> None:
        self._shut()
        for way in self._ways:
            way.join()
        for end in self._ends:
            end.close()

    def _shut(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
