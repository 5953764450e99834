"""A TCP wire between two hosts that a test can cut, hold, make deaf in one direction, or reset after so many bytes.

It sees bytes, not requests: what it carries is TLS. Threads carry the bytes, two for each connection, and end with it.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from enum import StrEnum

CHUNK = 1 << 16
PATIENCE_S = 0.2


class Way(StrEnum):
    """A direction of bytes on one connection, seen from whoever called."""

    THERE = "there"
    BACK = "back"


class Link:
    """One connection of the caller, and the one from here to the host it called."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.held = threading.Event()
        self.over = False
        """Whether one of its directions has ended."""

    def close(self) -> None:
        """Give the descriptors back."""
        for end in (self.near, self.far):
            end.close()

    def reset(self) -> None:
        """End both with RST: whoever waits on them is told at once, and what was under way is gone."""
        for end in (self.near, self.far):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                end.close()


class Wire:
    """Carries connections to a port of this machine. `carried`: bytes in each direction since the start."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.carried = dict.fromkeys(Way, 0)
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self._deaf: set[Way] = set()
        self._left: dict[Way, int] = {}
        self._ends = threading.Event()
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(PATIENCE_S)
        self.port: int = self._door.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End everything."""
        self._ends.set()
        self._door.close()
        self._reset_all()
        for thread in self._threads:
            thread.join(10.0)

    # ------------------------------------------------------------ what can happen to it

    def cut(self) -> None:
        """Reset every connection and refuse new ones, until `heal`."""
        self._is_cut = True
        self._reset_all()

    def swallow(self, *ways: Way) -> None:
        """Let bytes vanish in these directions, on connections that stay open, until `heal`."""
        self._deaf = set(ways)

    def reset_after(self, way: Way, count: int) -> None:
        """Let so many more bytes pass in a direction, then reset the connection that carries the next one. Once."""
        with self._lock:
            self._left = {way: count}

    @property
    def is_due(self) -> bool:
        """Whether a reset has been asked for and has not come yet."""
        return bool(self._left)

    def hold(self) -> None:
        """Keep what comes on the connections there are, until `release`; new connections pass."""
        for link in self._open():
            link.held.set()

    def release(self) -> None:
        """Let out what was held."""
        for link in self._open():
            link.held.clear()

    def heal(self) -> None:
        """Carry everything again. What was swallowed is lost, so connections that missed bytes are reset."""
        missed, self._is_cut, self._deaf, self._left = bool(self._deaf), False, set(), {}
        if missed:
            self._reset_all()
        self.release()

    # ------------------------------------------------------------ carrying

    def _open(self) -> list[Link]:
        with self._lock:
            return list(self._links)

    def _reset_all(self) -> None:
        for link in self._open():
            link.reset()

    def _serve(self) -> None:
        while not self._ends.is_set():
            try:
                near, _ = self._door.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        if self._is_cut:
            Link(near, near).reset()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target_port), timeout=5.0)
        except OSError:
            Link(near, near).reset()
            return
        for end in (near, far):
            end.settimeout(PATIENCE_S)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(near, far)
        with self._lock:
            self._links.add(link)
        for way in Way:
            thread = threading.Thread(target=self._carry, args=(link, way), daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def _carry(self, link: Link, way: Way) -> None:
        source, sink = (link.near, link.far) if way is Way.THERE else (link.far, link.near)
        try:
            for data in self._received(source):
                while link.held.is_set() and not self._ends.is_set():
                    self._ends.wait(0.01)
                self._pass_on(link, way, sink, data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            link.reset()
        finally:
            with self._lock:
                is_over, link.over = link.over, True
                if is_over:
                    self._links.discard(link)
            if is_over:
                link.close()

    def _received(self, source: socket.socket) -> Iterator[bytes]:
        while not self._ends.is_set():
            try:
                data = source.recv(CHUNK)
            except TimeoutError:
                continue
            if not data:
                return
            yield data

    def _pass_on(self, link: Link, way: Way, sink: socket.socket, data: bytes) -> None:
        if way in self._deaf:
            return
        with self._lock:
            left = self._left.get(way)
            is_last = left is not None and len(data) > left
            if is_last:
                data, self._left = data[:left], {}
            elif left is not None:
                self._left[way] = left - len(data)
            self.carried[way] += len(data)
        sink.sendall(data)
        if is_last:
            link.reset()
