"""The connections to a peer: a request goes out in one piece, and its whole answer comes back.

It owns connections, their time-outs, and the limits of an answer. It knows neither what is asked nor what an answer
means. The rule that must stay true: `NotSent` is raised only when no byte of the request can have left this host;
whatever else goes wrong is `NoAnswer`, and a POST is never repeated here.

aiohttp brings the connector (connections that are kept) and the protocol with its parser in C. Its session is left
aside, which prepares each request for cookies, redirects, forms and streams (docs/adr/0013).
"""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from handoffd.link.race import first_of

KEEPALIVE_S: Final = 28.0
"""An idle connection is dropped before proxies and firewalls on the way (30 s and more) forget it without a word, and
the server (75 s) drops it under a request of ours. Longer than the gate's pulse, which keeps one open."""
CONNECTIONS: Final = 18
"""More than the link ever uses at once (4 senders, 4 leases, 4 artefacts, 2 polls, a telling, debts, hello): no request
waits for another."""
_INTERIM: Final = range(100, 200)


class NotSent(Exception):
    """No byte of the request left this host. `kind`: unreachable, tls_failed or wrong_certificate."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class NoAnswer(Exception):
    """The request may have reached the peer, and no complete answer came back."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer: nothing of it is decompressed, followed or kept."""

    status: int
    data: bytes
    retry_after: str | None


class Opening:
    """A POST whose head has left and whose body has not: `send` it once, or `close` the connection."""

    def __init__(self, lane: "Lane", connection: Connection) -> None:
        self.lane, self.connection = lane, connection
        self.sent_s = 0.0
        """When the body went, by the loop's clock."""

    @property
    def alive(self) -> bool:
        """Whether a body would still find the peer there and waiting for it, as far as is known here."""
        transport, protocol = self.connection.transport, self.connection.protocol
        if transport is None or protocol is None:
            return False
        return not (transport.is_closing() or protocol.should_close)

    def send(self, data: bytes) -> None:
        """Write the body; `Lane.finish` has the answer."""
        transport = self.connection.transport
        assert transport is not None
        transport.write(data)
        self.sent_s = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Let it be."""
        self.connection.close()
        await self.lane.leave()


class Lane:
    """The connections to one address, made as they are needed. Needs a running loop.

    Closed when it is retired and its last request has ended: closing it earlier would cancel what another task waits
    for, which looks like a cancelled task.
    """

    def __init__(self, url: URL, ssl_context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        trust = ssl_context if ssl_context is not None else True
        self._connector = _Connector(limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_S)
        self._place = aiohttp.ClientRequest("GET", url, loop=loop, ssl=trust)
        self._host = f"Host: {url.host_port_subcomponent}\r\n"
        self._busy = 0
        self._retired = False

    @property
    def closed(self) -> bool:
        """Whether its connections are gone for good."""
        return self._connector.closed

    async def retire(self) -> None:
        """Close as soon as nobody waits for an answer."""
        self._retired = True
        await self._close_if_over()

    async def close(self) -> None:
        """Drop every connection now."""
        await self._connector.close(abort_ssl=True)

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], data: bytes, connect_s: float, limit_bytes: int
    ) -> Answered:
        """Send one request and return its answer, at most `limit_bytes` long. Raises NotSent, NoAnswer."""
        request = self._head(method, target, headers, len(data)) + data
        async with self._under_way():
            if method == "GET":
                # A kept connection may have ended at the peer a moment ago; asking twice changes nothing there.
                with contextlib.suppress(aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    return await self._once(request, connect_s, limit_bytes)
            return await self._once(request, connect_s, limit_bytes)

    async def begin(self, target: str, headers: Mapping[str, str], length: int, connect_s: float) -> Opening:
        """Send the head of a POST whose body will have so many bytes. Raises NotSent, NoAnswer."""
        head = self._head("POST", target, headers, length)
        async with self._under_way():
            connection = await self._connect(connect_s)
            _write(connection, head)
            self._busy += 1  # until it is finished or closed
            return Opening(self, connection)

    async def finish(self, opening: Opening, limit_bytes: int) -> Answered:
        """Return the answer to what was begun and sent here, at most `limit_bytes` long. Raises NoAnswer."""
        async with self._under_way():
            self._busy -= 1
            return await _answer(opening.connection, limit_bytes)

    async def leave(self) -> None:
        """Hear that what was begun here is not gone on with."""
        self._busy -= 1
        await self._close_if_over()

    @contextlib.asynccontextmanager
    async def _under_way(self) -> AsyncIterator[None]:
        self._busy += 1
        try:
            yield
        except HttpProcessingError as error:
            raise NoAnswer(f"no answer in HTTP: {' '.join(error.message.split())}") from None
        except (aiohttp.ClientError, aiohttp.EofStream) as error:
            raise NoAnswer(str(error) or type(error).__name__) from None
        finally:
            self._busy -= 1
            await self._close_if_over()

    def _head(self, method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
        values = "".join((target, *headers.values()))
        if not (values.isascii() and values.isprintable()):  # whoever takes words from a peer checks them before
            raise ValueError("a header holds a character that could end it")
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        framing = f"Content-Type: application/json\r\nContent-Length: {length}\r\n" if method == "POST" else ""
        return f"{method} {target} HTTP/1.1\r\n{self._host}{fields}{framing}\r\n".encode("ascii")

    async def _once(self, request: bytes, connect_s: float, limit_bytes: int) -> Answered:
        connection = await self._connect(connect_s)
        _write(connection, request)  # in one piece: one TLS record, and the peer wakes up once for it
        return await _answer(connection, limit_bytes)

    async def _connect(self, connect_s: float) -> Connection:
        # `connect` bears the wait for a free connection too, and is longer: it knows of no address that has failed.
        timeout = aiohttp.ClientTimeout(connect=2 * connect_s, sock_connect=connect_s)
        try:
            while True:
                connection = await self._connector.connect(self._place, [], timeout)
                protocol = cast("_Protocol | None", connection.protocol)
                if protocol is None or not protocol.should_close:
                    return connection
                connection.close()
                if protocol.is_new:
                    raise NotSent("unreachable", "it ends each connection at once, or speaks before it is asked")
                # Something came on a connection that was kept: an answer that nobody asked for.
        except TimeoutError:
            raise NotSent("unreachable", f"no connection within {connect_s:g} s") from None
        except _NoConnection as error:
            raise NotSent(*_unsent(error.cause)) from None

    async def _close_if_over(self) -> None:
        if self._retired and not self._busy:
            await self._connector.close(abort_ssl=True)


def _write(connection: Connection, data: bytes) -> None:
    """Begin a request. Raises ServerDisconnectedError if the connection has ended since it was made."""
    transport, protocol = connection.transport, connection.protocol
    if transport is None or protocol is None:
        connection.close()
        raise aiohttp.ServerDisconnectedError
    transport.write(data)
    protocol.set_response_params(auto_decompress=False, read_until_eof=True)


async def _answer(connection: Connection, limit_bytes: int) -> Answered:
    """Return the answer and keep the connection; whatever goes wrong ends it."""
    try:
        if connection.protocol is None:
            raise aiohttp.ServerDisconnectedError
        answered = await _read(cast("_Protocol", connection.protocol), limit_bytes)
    except BaseException:
        connection.close()
        raise
    connection.release()
    return answered


class _Protocol(ResponseHandler):
    """Ends the body that is being read when no more of it can come.

    aiohttp's own leaves whoever reads it waiting where a later chunk cannot be parsed.
    """

    _body: aiohttp.StreamReader | None = None

    @property
    def is_new(self) -> bool:
        """Whether no answer has come on it yet."""
        return self._body is None

    def ends_with(self, body: aiohttp.StreamReader) -> None:
        """Let this body end with an error that comes, or has come since its head was read."""
        self._body = body
        self._end_body()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Hear of the error."""
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        self._end_body()

    def _end_body(self) -> None:
        body, error = self._body, self.exception()
        if error is not None and body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(error)


async def _read(protocol: _Protocol, limit_bytes: int) -> Answered:
    """Return the answer. Raises NoAnswer if it is longer than the limit, and what aiohttp raises."""
    message, content = await protocol.read()
    while message.code in _INTERIM:
        message, content = await protocol.read()
    protocol.ends_with(content)
    parts, size = [], 0
    async for part in content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            raise NoAnswer(f"the answer is longer than {limit_bytes} bytes")
    return Answered(message.code, b"".join(parts), message.headers.get("Retry-After"))


def _unsent(error: OSError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "wrong_certificate", str(error)
    if isinstance(error, ssl.SSLError):
        return "tls_failed", error.strerror or str(error)
    return "unreachable", error.strerror or str(error) or type(error).__name__


class _NoConnection(Exception):
    """No address of the peer could be connected to; `cause` is what the last one said."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause


class _Connector(aiohttp.BaseConnector):
    """Makes connections whose descriptors the event loop alone owns.

    aiohttp's own connector hands a connected socket to the loop. Where a peer resets a connection in the middle of the
    TLS handshake, uvloop 0.23 closes its descriptor and the socket object closes it once more when it is collected:
    by then it may be a file of custody's (https://github.com/MagicStack/uvloop/issues/645 and 738 are of that kind).
    """

    async def _create_connection(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> ResponseHandler:
        url, trust = req.url, req.ssl if req.is_ssl() else None
        until_s = self._loop.time() + timeout.sock_connect if timeout.sock_connect is not None else None
        async with asyncio.timeout_at(until_s):
            addresses = await self._addresses(url)
        connects = [
            functools.partial(
                self._loop.create_connection,
                functools.partial(_Protocol, self._loop),
                address,
                url.port,
                ssl=trust,
                server_hostname=url.raw_host if trust else None,
            )
            for address in addresses
        ]
        try:
            made: tuple[asyncio.Transport, _Protocol] = await first_of(connects, lambda made: made[0].abort(), until_s)
        except TimeoutError:
            raise
        except OSError as error:
            raise _NoConnection(error) from None
        return made[1]

    async def _addresses(self, url: URL) -> list[str]:
        try:
            found = await self._loop.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise _NoConnection(OSError(f"{url.raw_host} is no name of a host")) from None
        except OSError as error:
            raise _NoConnection(error) from None
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
