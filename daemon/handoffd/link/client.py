"""The door to a peer's HTTP interface: requests go out once, complete answers come back.

It owns what a request says and how long its answer may take and be. It does not know how bytes travel (`lane`), what
an answer means (`answer`), nor when to ask again. The rule that must stay true: `NotSent` and `NoAnswer` pass through
as `lane` raises them.
"""

import asyncio
import ssl
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from yarl import URL

from handoffd.custody.message import Offer
from handoffd.identity import BadCertificate, fingerprint
from handoffd.link.answer import Body, read_body
from handoffd.link.lane import Answered, Lane, NoAnswer, Opening
from handoffd.link.wire import batch_body, states_body, tids_body
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import State
from handoffd.protocol.timing import (
    ANSWER_LIMIT_BYTES,
    BATCH_LIMIT_BYTES,
    CONFLICT_AGENTS,
    CONNECT_S,
    PAYLOAD_LIMIT_BYTES,
    REQUEST_TOTAL_S,
)

HELLO_TOTAL_S: Final = 5.0
"""A peer that does not answer /hello in this time is down: it is the smallest request there is."""
LEASE_ANSWER_LIMIT_BYTES: Final = BATCH_LIMIT_BYTES + (64 << 10)
"""A lease's payloads fill a batch at the most (custody.md section 11.3)."""
_START: Final = "handoffs/start"


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

    def __init__(
        self,
        url: str,
        ssl_context: ssl.SSLContext | None,
        token: str,
        host: HostName,
        version: str,
        own_epoch: str = "",
    ) -> None:
        """`own_epoch`: of our tree, said with every request; to a peer that lends us payloads it is a lease's nonce."""
        self._base = url.rstrip("/")
        self._url = URL(self._base)
        self._prefix = f"{self._url.raw_path.rstrip('/')}/api/v1/"
        self._ssl = ssl_context
        self._headers = {"User-Agent": f"handoffd/{version} ({host})", "Handoffd-From-Epoch": own_epoch}
        self._show(token)
        self._host = host
        self._lane = Lane(self._url, ssl_context)

    @property
    def url(self) -> str:
        """The peer's address as configured."""
        return self._base

    async def hello(
        self, challenge: str = "", connect_s: float = CONNECT_S, clock: str = "", conflict: Collection[str] = ()
    ) -> Reply:
        """Ask who the peer is now; with its challenge, begin a session there. Raises NotSent, NoAnswer.

        `clock`: what it needs to measure ours, see `wire.echo`. `conflict`: agents that it calls local as we do.
        """
        shared = ",".join(sorted(conflict)[:CONFLICT_AGENTS])
        told = {"Handoffd-Challenge": challenge, "Handoffd-Clock": clock, "Handoffd-Conflict": shared}
        headers = {name: value for name, value in told.items() if value}
        return await self._ask("GET", "hello", b"", headers, HELLO_TOTAL_S, connect_s=connect_s)

    async def start(self, offer: Offer, epoch: str) -> Reply:
        """Send one payload, its exact bytes. Raises NotSent, NoAnswer."""
        return await self._ask("POST", _START, offer.data, self._of_payload(offer.tid, epoch, offer.path))

    async def begin(self, tid: TransferId, size: int, epoch: str) -> Opening:
        """Say that a payload of this host, T of so many bytes, will follow. Raises NotSent, NoAnswer."""
        headers = self._headers | self._of_payload(tid, epoch, ())
        return await self._lane.begin(self._prefix + _START, headers, size, CONNECT_S)

    async def finish(self, opening: Opening) -> Reply:
        """Return the answer to a payload that was sent after its beginning. Raises NoAnswer."""
        return await self._hear(opening.lane.finish(opening, ANSWER_LIMIT_BYTES), opening.sent_s, REQUEST_TOTAL_S)

    def _of_payload(self, tid: TransferId, epoch: str, path: Sequence[str]) -> dict[str, str]:
        return {"Idempotency-Key": tid, "Handoffd-Epoch": epoch, "Handoffd-Path": ",".join((*path, self._host))}

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
        return await self._ask("GET", f"handoffs/{tid}/artefact", b"", headers, limit_bytes=limit_bytes)

    async def tell(self, body: bytes, wait_s: float, epoch: str, session: str) -> Reply:
        """Tell what became of leases, and hang up to `wait_s` for what is wanted. Raises NotSent, NoAnswer."""
        headers = {"Handoffd-Epoch": epoch, "Handoffd-Challenge": session}
        return await self._ask("POST", "handoffs/states", body, headers, wait_s + REQUEST_TOTAL_S)

    async def lease(self, tids: Sequence[TransferId], epoch: str) -> Reply:
        """Ask for payloads. Raises NotSent, NoAnswer."""
        headers = {"Handoffd-Epoch": epoch}
        return await self._ask("POST", "handoffs/lease", tids_body(tids), headers, limit_bytes=LEASE_ANSWER_LIMIT_BYTES)

    async def bring(self, tid: TransferId, data: bytes, epoch: str) -> Reply:
        """Send the final bytes of a transfer. Raises NotSent, NoAnswer."""
        return await self._ask("POST", f"handoffs/{tid}/artefact", data, {"Handoffd-Epoch": epoch})

    async def presented_fingerprint(self) -> str | None:
        """Return the fingerprint of the certificate the peer shows, pinned or not; no token and no request is sent."""
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(self._url.host, self._url.port, ssl=blind)
        except (OSError, TimeoutError):
            return None
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        try:
            return fingerprint(ssl.DER_cert_to_PEM_cert(der)) if der else None
        except BadCertificate:
            return None

    async def present(self, token: str, ssl_context: ssl.SSLContext | None) -> None:
        """Show another token and trust these certificates from now on; requests under way end as they began."""
        self._ssl = ssl_context
        self._show(token)
        await self.renew()

    async def renew(self) -> None:
        """Use new connections from now on: the open ones lead into a network that no longer answers."""
        old, self._lane = self._lane, Lane(self._url, self._ssl)
        await old.retire()

    async def close(self) -> None:
        """Drop every connection for good."""
        await self._lane.close()

    def _show(self, token: str) -> None:
        self._headers = {**self._headers, "Authorization": f"Bearer {token}"}

    async def _ask(
        self,
        method: str,
        path: str,
        data: bytes,
        headers: dict[str, str],
        total_s: float = REQUEST_TOTAL_S,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
        connect_s: float = CONNECT_S,
    ) -> Reply:
        asked_s = asyncio.get_running_loop().time()
        target, said = self._prefix + path, self._headers | headers
        exchange = self._lane.exchange(method, target, said, data, connect_s, limit_bytes)
        return await self._hear(exchange, asked_s, total_s)

    async def _hear(self, exchange: Coroutine[None, None, Answered], asked_s: float, total_s: float) -> Reply:
        try:
            async with asyncio.timeout(total_s):
                answered = await exchange
        except TimeoutError:
            raise NoAnswer(f"no answer within {total_s:g} s") from None
        body = read_body(answered.data)
        round_trip_s = asyncio.get_running_loop().time() - asked_s
        return Reply(answered.status, answered.data, body, answered.retry_after, round_trip_s)
