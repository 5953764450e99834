"""A hub's HTTP interface as an agent uses it: start, poll, accept, complete, reject, look up (docs/http-agents.md).

It owns one connection and what its answers mean; it stands on the standard library alone. The rules that must stay
true: no token leaves before the hub has proved who it is, and a call is repeated only because every repetition of it
has the same effect (T, the nonce and the final state make it so).
"""

import contextlib
import hashlib
import http.client
import json
import random
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from handoffd.agent.address import address_of, context_for, digest_of
from handoffd.protocol.name import TransferId, is_transfer_id

CALL_S = 10.0
"""For one request and its answer; existing agents wait as long."""
POLL_S = 25.0
"""One long poll; hubs cut longer ones to 30 s."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.25, 5.0
ANSWER_LIMIT_BYTES = 4 << 20
"""Above the largest payload (1 MiB) and any record."""
_AGAIN = frozenset({429, 500, 502, 503, 504})


class Unreachable(Exception):
    """No answer from the hub, or none that says what became of the call (429, 5xx); the message says why."""


class Untrusted(Exception):
    """Whoever answered is not the hub that was named."""


class Refused(Exception):
    """The hub refused; `status` and `reason` are its own (docs/http-api.md), `words` for a person."""

    def __init__(self, status: int, reason: str, words: str) -> None:
        super().__init__(words)
        self.status, self.reason, self.words = status, reason, words


@dataclass(frozen=True, slots=True)
class Offered:
    """A payload as the hub showed it or handed it out: its exact bytes."""

    tid: TransferId
    data: bytes


class Hub:
    """One hub, as one agent. Not for several threads, but `abort`."""

    def __init__(self, url: str, token: str, *, ca: Path | None = None, fingerprint: str | None = None) -> None:
        """`ca`: PEM file to trust instead of the system's; `fingerprint`: the one certificate to accept.

        Raises BadAddress, OSError.
        """
        self._token = token
        self._address = address_of(url)
        self.name = f"{self._address.hostname}:{self._address.port}"
        self._pin = None if fingerprint is None else digest_of(fingerprint)
        self._context = context_for(self._address.scheme, ca, self._pin)
        self._connection: http.client.HTTPConnection | None = None
        self._is_polling = False
        self._polls_no_more = False

    # ------------------------------------------------------------ the calls

    def start(self, data: bytes, tid: TransferId, patience_s: float) -> dict[str, Any]:
        """Hand in a payload. Raises Unreachable, Refused; after Unreachable it may or may not be there."""
        headers = {"Idempotency-Key": tid, "Content-Type": "application/json"}
        return self._told(self._ask("POST", "start", data, headers, patience_s=patience_s))

    def poll(self, wait_s: float, patience_s: float = 0.0, agent: str | None = None) -> Offered | None:
        """Return the oldest payload that waits for this agent, None if none came. Seeing is not claiming.

        `agent`: the one that the token must be of. Raises Unreachable, Refused (403 for another one's token).
        """
        named = {} if agent is None else {"agent": agent}
        path = f"poll?{urlencode({'wait': f'{wait_s:g}', **named})}"
        self._is_polling = True
        try:
            answer, data = self._ask("GET", path, limit_s=wait_s + CALL_S, patience_s=patience_s)
        finally:
            self._is_polling = False
        return None if answer.status == http.client.NO_CONTENT else self._offered(answer, data)

    def accept(self, ident: str, nonce: str, patience_s: float) -> Offered:
        """Claim: the winner gets the exact bytes, the same nonce gets them again. Raises Refused (409, 410)."""
        body = json.dumps({"nonce": nonce}).encode()
        return self._offered(*self._ask("POST", f"{_segment(ident)}/accept", body, patience_s=patience_s))

    def complete(self, ident: str, final: bytes | None, patience_s: float) -> dict[str, Any]:
        """End a claim well; `final` are its last bytes, if they are others than the payload's."""
        return self._told(self._ask("POST", f"{_segment(ident)}/complete", final, patience_s=patience_s))

    def reject(self, ident: str, words: str, patience_s: float) -> dict[str, Any]:
        """End a claim badly, with the reason in words."""
        body = json.dumps({"reason": words}).encode()
        return self._told(self._ask("POST", f"{_segment(ident)}/reject", body, patience_s=patience_s))

    def get(self, ident: str, patience_s: float) -> dict[str, Any]:
        """Return what the hub knows of a handoff."""
        return self._told(self._ask("GET", _segment(ident), patience_s=patience_s))

    def abort(self) -> None:
        """End the poll that is under way, and every later one, from a signal handler too; they raise Unreachable."""
        self._polls_no_more = True
        sock = None if self._connection is None else self._connection.sock
        if sock is not None and self._is_polling:
            with contextlib.suppress(OSError):
                # The plain socket's: TLS would take its state down under the reader's feet.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------ one call

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit_s: float = CALL_S,
        patience_s: float,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        until, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
        while True:
            try:
                answer, data = self._try(method, path, body, headers or {}, limit_s)
                if answer.status < http.client.MULTIPLE_CHOICES:
                    return answer, data
                refused = _refusal(answer, data)
                if answer.status not in _AGAIN:
                    raise refused
                trouble = Unreachable(f"{self.name}: {refused.words} ({answer.status})")
            except Unreachable as error:
                trouble = error
            if self._is_over() or time.monotonic() + pause_s > until:
                raise trouble
            time.sleep(pause_s * random.uniform(0.8, 1.2))
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _try(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], limit_s: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        sent = {"Authorization": f"Bearer {self._token}", **headers}
        fresh = self._connection is None
        try:
            connection = self._connected(limit_s)
            connection.request(method, f"/api/v1/handoffs/{path}", body, sent)
            answer = connection.getresponse()
            data = answer.read(ANSWER_LIMIT_BYTES)
        except Untrusted:
            self.close()
            raise
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Untrusted(f"{self.name}: {error.verify_message}; give its --fingerprint or --ca") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not fresh and not self._is_over():  # an idle connection that the hub has closed meanwhile
                return self._try(method, path, body, headers, limit_s)
            raise Unreachable(f"{self.name}: {_words(error)}{self._hint(error)}") from None
        if answer.will_close:
            self.close()
        return answer, data

    def _connected(self, limit_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = str(self._address.hostname), self._address.port
            if self._context is None:
                connection = http.client.HTTPConnection(host, port, timeout=CALL_S)
            else:
                connection = http.client.HTTPSConnection(host, port, timeout=CALL_S, context=self._context)
            connection.connect()
            self._connection = connection
            self._check_pin(connection.sock)
        self._connection.sock.settimeout(limit_s)
        if self._is_over():  # the signal came before there was a socket that it could end
            raise Unreachable(f"{self.name}: stopped")
        return self._connection

    def _hint(self, error: Exception) -> str:
        if isinstance(error, ConnectionRefusedError):
            return "; does the daemon run there, and listen on this port?"
        if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
            return "; that port speaks no TLS: name the one that does"
        plain = self._context is None and isinstance(error, http.client.HTTPException | ConnectionResetError)
        return "; if that port speaks TLS, write https://" if plain else ""

    def _is_over(self) -> bool:
        return self._is_polling and self._polls_no_more

    def _check_pin(self, sock: socket.socket) -> None:
        if self._pin is None or not isinstance(sock, ssl.SSLSocket):
            return
        shown = hashlib.sha256(sock.getpeercert(binary_form=True) or b"").digest()
        if shown != self._pin:
            words = f"shows the certificate SHA256:{shown.hex(':').upper()}, not the one named by --fingerprint"
            raise Untrusted(f"{self.name} {words}")

    def _told(self, answered: tuple[http.client.HTTPResponse, bytes]) -> dict[str, Any]:
        told = _object(answered[1])
        if "tid" not in told:
            raise Unreachable(f"{self.name}: the answer is not a hub's; is this the right address?")
        return told

    def _offered(self, answer: http.client.HTTPResponse, data: bytes) -> Offered:
        tid = TransferId(hashlib.sha256(data).hexdigest())
        if answer.headers.get("Handoffd-Tid") != tid or not is_transfer_id(tid):
            raise Unreachable(f"{self.name}: the bytes that came are not those of its Handoffd-Tid")
        return Offered(tid, data)


def _words(error: Exception) -> str:
    """Return what went wrong, without the number that some errors carry."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _segment(ident: str) -> str:
    return quote(ident, safe="")


def _object(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _refusal(answer: http.client.HTTPResponse, data: bytes) -> Refused:
    told = _object(data)
    words = str(told.get("detail") or answer.reason)
    return Refused(answer.status, str(told.get("reason", "")), words)
