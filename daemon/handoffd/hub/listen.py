"""Listening: sockets, TLS handshakes, how many connections there are, and the end of it all.

It owns sockets and knows no route; how many may come in is crowd.py's. The rules that must stay true: nothing but
loopback is listened on without TLS; a connection is counted from the moment it is accepted, handshake included, until
it is gone.

asyncio's own server counts no handshakes and cannot turn a client away, so sockets are accepted here.
"""

import asyncio
import errno
import ipaddress
import os
import resource
import socket
import ssl
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp.web import Response, Server

from handoffd.hub.call import Hub
from handoffd.hub.connection import Connection, has_fast_parser
from handoffd.hub.crowd import Crowd, Place, Reach, Room
from handoffd.hub.dispatch import Dispatcher
from handoffd.hub.refusal import SENTENCE
from handoffd.hub.settings import Directory, HubSettings, Patience
from handoffd.hub.table import ROUTES
from handoffd.protocol.reason import PROBLEM_STATUS, Problem

BACKLOG: Final = 512
AT_ONCE: Final = 64
"""Clients accepted in one turn of the loop, so that a flood of them does not starve those who are in."""
SHORTAGE_PAUSE_S: Final = 1.0
"""Out of descriptors or memory: accepting again at once would only spin."""
FAREWELL_S: Final = 2.0
"""After the grace of `close`: for TLS and TCP to say goodbye before the loop ends."""
SPARE_DESCRIPTORS: Final = 256
"""Left to custody, links and watch whatever strangers do: it needs about 40, and a few for each peer."""
SOCKET_PATH_BYTES: Final = 107
"""sun_path of unix(7), without its closing NUL."""

_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TURNED_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. `address` is an IP address or `localhost`; port 0 lets the kernel choose."""

    address: str
    port: int
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class _Gate:
    socket: socket.socket
    reach: Reach
    tls: ssl.SSLContext | None = None


class Listener:
    """A server that listens. `ports` are the bound ones, in the order of what was asked for."""

    def __init__(self, hub: Hub, gates: list[_Gate], socket_path: Path | None, group: asyncio.TaskGroup) -> None:
        self.ports = tuple(gate.socket.getsockname()[1] for gate in gates if gate.reach is not Reach.SOCKET)
        self._hub = hub
        self._patience = hub.settings.patience
        self._dispatcher = Dispatcher(hub, ROUTES)
        self._server = Server(self._dispatcher.handle)
        self._gates = gates
        self._socket_path = socket_path
        self._group = group
        self._crowd = Crowd(_room(self._patience))
        self._empty = asyncio.Event()
        for gate in gates:
            self._listen(gate)

    def reload(self, settings: HubSettings, directory: Directory) -> None:
        """Serve from now on with these; what is open stays open, and patience stays as it was at start."""
        self._dispatcher.reload(settings, directory)

    async def close(self, grace_s: float) -> None:
        """Accept no more, let what is being served end for at most about `grace_s`, then cut the rest off."""
        for gate in self._gates:
            asyncio.get_running_loop().remove_reader(gate.socket)
            gate.socket.close()
        self._gates = []
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)
        self._hub.notifier.close()
        self._server.pre_shutdown()
        await self._server.shutdown(grace_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S if self._crowd else None):
                await self._until_empty()

    async def _until_empty(self) -> None:
        while self._crowd:
            self._empty.clear()
            await self._empty.wait()

    def _listen(self, gate: _Gate) -> None:
        if gate.socket.fileno() >= 0:
            asyncio.get_running_loop().add_reader(gate.socket, self._accept, gate)

    def _accept(self, gate: _Gate) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            try:
                client, address = gate.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:  # else ECONNABORTED and its like: that client is gone, the next may come
                if error.errno in _SHORTAGE:
                    loop.remove_reader(gate.socket)
                    loop.call_later(SHORTAGE_PAUSE_S, self._listen, gate)
                    return
                continue
            self._admit(client, address, gate)

    def _admit(self, client: socket.socket, address: object, gate: _Gate) -> None:
        client.setblocking(False)
        place = self._crowd.enter(gate.reach, address)
        self._count()
        if place is None:
            self._turn_away(client, gate)
        else:
            self._begin(client, gate, place)

    def _begin(self, client: socket.socket, gate: _Gate, place: Place) -> None:
        greeting = self._greet(client, gate, place)
        try:
            self._group.create_task(greeting, name="greet")
        except RuntimeError:  # another part has died, and all of it is ending: nobody is greeted any more
            greeting.close()
            client.close()
            self._leave(place)

    async def _greet(self, client: socket.socket, gate: _Gate, place: Place) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(
                    self._server,
                    self._patience,
                    gate.reach is Reach.SOCKET,
                    self._complain,
                    lambda: self._leave(place),
                ),
                client,
                ssl=gate.tls,
                ssl_handshake_timeout=self._patience.head_s if gate.tls else None,
            )
        except OSError:  # the handshake failed, or took too long: a stranger's doing
            client.close()
            self._leave(place)

    def _leave(self, place: Place) -> None:
        self._crowd.leave(place)
        self._count()
        self._empty.set()

    def _count(self) -> None:
        self._hub.metrics.connections.set(len(self._crowd))

    def _turn_away(self, client: socket.socket, gate: _Gate) -> None:
        self._hub.metrics.turned_away.inc()
        if gate.tls is None:
            with suppress(OSError):
                client.send(_TURNED_AWAY)
        client.close()

    def _complain(self, words: str) -> Response:
        detail = f"{SENTENCE[Problem.BAD_REQUEST]} {words}"
        return self._hub.stamp_for_stranger(None).problem(
            Problem.BAD_REQUEST, PROBLEM_STATUS[Problem.BAD_REQUEST], detail
        )


async def serve(hub: Hub, listens: Iterable[Listen], socket_path: Path | None, group: asyncio.TaskGroup) -> Listener:
    """Listen everywhere, and on a unix socket of mode 0600 for the operator; return when all of it is bound.

    Raises ValueError for what may not be listened on, OSError (naming the place) for what cannot be.
    """
    if not has_fast_parser():
        raise ValueError("aiohttp was installed without its C parser; install a wheel of it, or a compiler, and again")
    listens = list(listens)
    for listen in listens:
        _check(listen)
    gates: list[_Gate] = []
    try:
        gates.extend(_Gate(_bind(listen), _reach(listen), listen.tls) for listen in listens)
        if socket_path is not None:
            gates.append(_Gate(_bind_unix(socket_path), Reach.SOCKET))
    except BaseException:
        for gate in gates:
            gate.socket.close()
        raise
    return Listener(hub, gates, socket_path, group)


def _room(patience: Patience) -> Room:
    """Share out the connections: a quarter, at most `near_connections`, is kept for loopback."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = patience.connections if soft == resource.RLIM_INFINITY else soft - SPARE_DESCRIPTORS
    most = min(patience.connections, free)
    near = max(1, min(patience.near_connections, most // 4))
    return Room(near=near, far=max(1, most - near), for_one=patience.connections_from_one)


def _reach(listen: Listen) -> Reach:
    return Reach.NEAR if _address(listen.address).is_loopback else Reach.FAR


def _check(listen: Listen) -> None:
    if listen.tls is None and not _address(listen.address).is_loopback:
        raise ValueError(
            f"{listen.address}:{listen.port} is not loopback and has no TLS: set `tls: true` or listen on 127.0.0.1"
        )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address to listen on; write one, such as 0.0.0.0 or ::1") from None


def _bind(listen: Listen) -> socket.socket:
    address = _address(listen.address)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        bound = socket.create_server((str(address), listen.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {_refused(listen, error)}") from None
    bound.setblocking(False)
    return bound


def _refused(listen: Listen, error: OSError) -> str:
    """Return where a listener cannot be, why, and what to do."""
    words = f"{listen.address}:{listen.port}: {os.strerror(error.errno or 0)}"
    remedy = {
        errno.EADDRINUSE: f"`ss -ltnp 'sport = :{listen.port}'` shows who has it; end that, or write another port",
        errno.EADDRNOTAVAIL: "this host has no such address (`ip -brief address` lists them); write another one",
        errno.EACCES: "a port below 1024 takes a right of its own (CAP_NET_BIND_SERVICE); write a higher one",
    }.get(error.errno or 0)
    return f"{words}; {remedy} under `listen`" if remedy else words


def _bind_unix(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise ValueError(f"{path} is longer than the {SOCKET_PATH_BYTES} bytes a unix socket may have; shorten `root`")
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()  # a crash left it; the lock on the tree says that nobody listens there
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)  # before listen: until then nobody can connect
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror}") from None
    bound.setblocking(False)
    return bound
