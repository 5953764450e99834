"""The door to a peer's HTTP interface: requests go out once, complete answers come back.

It owns the connections and their time-outs. It does not know what an answer means (`answer`), nor when to ask again.
The rule that must stay true: `NotSent` is raised only when no byte of the request can have left this host; whatever
else goes wrong is `NoAnswer`, and a POST is never repeated here.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from handoffd.custody.message import Offer
from handoffd.identity import BadCertificate, fingerprint
from handoffd.link.answer import Body, read_body
from handoffd.link.wire import batch_body, states_body, tids_body
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import State
from handoffd.protocol.timing import CONNECT_S, PAYLOAD_LIMIT_BYTES, REQUEST_TOTAL_S

KEEPALIVE_S: Final = 60.0
"""An idle connection is dropped before the server, which waits 75 s, can drop it under a request of ours."""
HELLO_TOTAL_S: Final = 5.0
"""A peer that does not answer /hello in this time is down: it is the smallest request there is."""
ANSWER_LIMIT_BYTES: Final = 4 << 20
"""Largest answer read. 1,000 records of states are below 1 MiB; the artefact has its own limit."""
CONNECTIONS: Final = 16
"""More than the link ever uses at once (4 senders, states, debts, artefacts, hello): no request waits for another."""
_SKIPPED: Final = ("Accept-Encoding", "Accept")
"""Not sent: an answer is never compressed, so a small one cannot become a large one."""


class NotSent(Exception):
    """No byte of the request left this host. `kind`: unreachable, tls_failed or wrong_certificate."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class NoAnswer(Exception):
    """The request may have reached the peer, and no complete answer came back."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer; `body` is None when it is no JSON object. `round_trip_s` includes the peer's work."""

    status: int
    data: bytes
    body: Body | None
    retry_after: str | None
    round_trip_s: float


class PeerClient:
    """One peer's address, our token there, and the open connections. Needs a running loop; end it with `close`."""

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None, token: str, host: HostName, version: str) -> None:
        self._base = url.rstrip("/")
        self._ssl = ssl_context
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": f"handoffd/{version} ({host})"}
        self._path = host
        self._lane = self._open()

    @property
    def url(self) -> str:
        """The peer's address as configured."""
        return self._base

    async def hello(self) -> Reply:
        """Ask who the peer is now. Raises NotSent, NoAnswer."""
        return await self._ask("GET", "hello", None, {}, HELLO_TOTAL_S)

    async def start(self, offer: Offer, epoch: str) -> Reply:
        """Send one payload, its exact bytes. Raises NotSent, NoAnswer."""
        headers = {"Idempotency-Key": offer.tid, "Handoffd-Epoch": epoch, "Handoffd-Path": self._path}
        return await self._ask("POST", "handoffs/start", offer.data, headers)

    async def batch(self, items: Sequence[bytes], epoch: str) -> Reply:
        """Send several payloads, each made by `wire.batch_item`. Raises NotSent, NoAnswer."""
        return await self._ask("POST", "handoffs/batch", batch_body(items), {"Handoffd-Epoch": epoch})

    async def states(self, known: Mapping[TransferId, State], since: str | None, wait_s: float, epoch: str) -> Reply:
        """Ask what rose, and hang up to `wait_s` for news. Raises NotSent, NoAnswer."""
        body = states_body(known, since, wait_s)
        return await self._ask("POST", "handoffs/states", body, {"Handoffd-Epoch": epoch}, wait_s + REQUEST_TOTAL_S)

    async def revoke(self, tids: Sequence[TransferId], epoch: str) -> Reply:
        """Ask for an end of these transfers. Raises NotSent, NoAnswer."""
        return await self._ask("POST", "handoffs/revoke", tids_body(tids), {"Handoffd-Epoch": epoch})

    async def forget(self, tids: Sequence[TransferId], epoch: str) -> Reply:
        """Say that we need these outcomes no more. Raises NotSent, NoAnswer."""
        return await self._ask("POST", "handoffs/forget", tids_body(tids), {"Handoffd-Epoch": epoch})

    async def artefact(self, tid: TransferId, epoch: str, limit_bytes: int = PAYLOAD_LIMIT_BYTES) -> Reply:
        """Fetch the final bytes of a transfer. Raises NotSent, NoAnswer, which includes more than `limit_bytes`."""
        headers = {"Handoffd-Epoch": epoch}
        return await self._ask("GET", f"handoffs/{tid}/artefact", None, headers, limit_bytes=limit_bytes)

    async def presented_fingerprint(self) -> str | None:
        """Return the fingerprint of the certificate the peer shows, pinned or not; no token and no request is sent."""
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(*self._address(), ssl=blind)
        except (OSError, TimeoutError):
            return None
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        try:
            return fingerprint(ssl.DER_cert_to_PEM_cert(der)) if der else None
        except BadCertificate:
            return None

    async def renew(self) -> None:
        """Use new connections from now on: the open ones lead into a network that no longer answers."""
        old, self._lane = self._lane, self._open()
        await old.retire()

    async def close(self) -> None:
        """Drop every connection for good."""
        await self._lane.session.close()

    def _open(self) -> "_Lane":
        connector = aiohttp.TCPConnector(
            ssl=self._ssl if self._ssl is not None else True,
            limit=CONNECTIONS,
            keepalive_timeout=KEEPALIVE_S,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_SKIPPED,
            auto_decompress=False,
            trust_env=False,
        )
        return _Lane(session)

    async def _ask(
        self,
        method: str,
        path: str,
        data: bytes | None,
        headers: dict[str, str],
        total_s: float = REQUEST_TOTAL_S,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> Reply:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with (
                self._lane as session,
                session.request(
                    method,
                    self._url(path),
                    data=data,
                    headers=headers,
                    timeout=_timeout(total_s),
                    allow_redirects=False,
                ) as response,
            ):
                answer = await _read(response, limit_bytes)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # aiohttp raises these two from its connector alone, before it writes anything.
            raise NotSent(*_unsent(error)) from None
        except TimeoutError:
            raise NoAnswer(f"no answer within {total_s:g} s") from None
        except aiohttp.ClientError as error:
            raise NoAnswer(str(error) or type(error).__name__) from None
        status, retry_after = response.status, response.headers.get("Retry-After")
        return Reply(status, answer, read_body(answer), retry_after, loop.time() - asked_s)

    def _address(self) -> tuple[str | None, int | None]:
        url = URL(self._base)
        return url.host, url.port

    def _url(self, path: str) -> URL:
        return URL(f"{self._base}/api/v1/{path}")  # yarl remembers what it has parsed


class _Lane:
    """A session with its connections, closed when it is retired and its last request has ended.

    Closing it earlier would cancel what another task waits for, which looks like a cancelled task.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self._busy = 0
        self._retired = False

    async def __aenter__(self) -> aiohttp.ClientSession:
        self._busy += 1
        return self.session

    async def __aexit__(self, *_: object) -> None:
        self._busy -= 1
        await self._close_if_over()

    async def retire(self) -> None:
        self._retired = True
        await self._close_if_over()

    async def _close_if_over(self) -> None:
        if self._retired and not self._busy:
            await self.session.close()


def _timeout(total_s: float) -> aiohttp.ClientTimeout:
    # ceil_threshold: aiohttp otherwise rounds time-outs above 5 s up to whole seconds.
    return aiohttp.ClientTimeout(total=total_s, connect=CONNECT_S, ceil_threshold=total_s + 1)


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return the whole body. Raises NoAnswer if it is longer than the limit."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            raise NoAnswer(f"the answer is longer than {limit_bytes} bytes")
    return b"".join(parts)


def _unsent(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> tuple[str, str]:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "unreachable", f"no connection within {CONNECT_S:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "wrong_certificate", str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "tls_failed", error.os_error.strerror or str(error.os_error)
    return "unreachable", error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
