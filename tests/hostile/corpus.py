"""Requests as an attacker would send them: every route, with broken framing, heads, bodies, or nothing wrong at all."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from tests.property.test_admission_mutations import FRAGMENTS, VALUES, mutant

T = "0123456789abcdef" * 4
ROUTES: Sequence[tuple[str, str]] = (
    *(("POST", f"/api/v1/handoffs/{verb}") for verb in ("start", "batch", "states", "lease", "revoke", "forget")),
    *(("POST", f"/api/v1/handoffs/{T}/{verb}") for verb in ("accept", "complete", "reject", "artefact")),
    *(("GET", path) for path in (f"/api/v1/handoffs/{T}", f"/api/v1/handoffs/{T}/artefact", "/api/v1/hello")),
    *(("GET", path) for path in ("/api/v1/handoffs/poll?agent=alice&wait=0", "/healthz", "/readyz", "/openapi.json")),
    *(("POST", path) for path in ("/api/v1/pair", "/api/v1/peer/certificate", "/operator/status")),
)
ODD_PATHS = (
    *("/", "//", "/api/v1/handoffs/../../../etc/passwd/accept", "/api/v1/handoffs/%2e%2e%2f%2e%2e/accept", "*"),
    *("/api/v1/handoffs/\x00", "http://example.invalid/healthz", "/api/v1/handoffs/" + "a" * 9_000, "/%ff%fe", "/é"),
    *("/api/v1/handoffs/poll?agent=" + "x" * 4_000, "/api/v1/handoffs/poll?wait=1e999&agent=alice", "/healthz#x"),
)
FRAMING = (
    *("Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
    *("Content-Length: -1\r\n", "Content-Length: 99999999999999999999\r\n", "Content-Length: 0x10\r\n"),
    *("Content-Length : 3\r\n", "Content-Length: 3\n", "Transfer-Encoding: chunked, identity\r\n"),
    *("Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""),
)
ODD_HEADERS = (
    *("Idempotency-Key: ../../x\r\n", f"Idempotency-Key: {T}\r\n", "Handoffd-Epoch: x\r\n", "Handoffd-Path: a,b,,\r\n"),
    *("Handoffd-Path: " + "a," * 40 + "\r\n", "X: " + "y" * 9_000 + "\r\n", " folded: line\r\n", "No-Colon\r\n"),
    *("Expect: 100-continue\r\n", "Expect: 200-ok\r\n", "Upgrade: websocket\r\nConnection: Upgrade\r\n", "\x00: 1\r\n"),
    *("Handoffd-Time: NaN\r\n", "Content-Encoding: gzip\r\n", "Range: bytes=0-1\r\n", "Host: evil\r\nHost: other\r\n"),
)
CHUNKED = (b"3\r\nabc\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffffffffff\r\nx", b"3;x=y\r\nabc\r\n0\r\n\r\n", b"-1\r\nx\r\n")
ODD_TOKENS = ("", "x", "Bearer", "Bearer " + "a" * 5_000, "Basic YTpi", "Bearer \x7f", "bearer ..%00")


class Request(NamedTuple):
    """What is sent; `is_whole`: a server that has read it waits for nothing more."""

    data: bytes
    is_whole: bool


def body(chance: random.Random) -> bytes:
    """Return a payload that was changed, the JSON that some call expects with wrong values in it, or garbage."""
    kind = chance.randrange(4)
    if kind == 0:
        return mutant(chance)
    if kind == 1:
        return chance.randbytes(chance.randrange(200))
    value = chance.choice(VALUES)
    key = chance.choice(("tids", "items", "known", "since", "wait", "nonce", "tell", "more", "artefact", "agents"))
    inner = chance.choice((value, f"[{value}]", f'{{"{T}": {value}}}', f'[{{"tid": "{T}", "payload": {value}}}]'))
    text = f'{{"{key}": {inner}, "wait": 0}}'
    return (text if kind == 2 else text[: chance.randrange(len(text))] + chance.choice(FRAGMENTS)).encode()


def request(chance: random.Random, tokens: Sequence[str]) -> Request:
    """Return one request with at most a few things wrong in it."""
    method, path = chance.choice(ROUTES)
    if chance.random() < 0.1:
        path = chance.choice(ODD_PATHS)
    if chance.random() < 0.05:
        method = chance.choice(("PUT", "DELETE", "TRACE", "CONNECT", "get", "", "PO ST", "X" * 100))
    data = body(chance) if method == "POST" else b""
    token = f"Bearer {chance.choice(tokens)}" if chance.random() < 0.85 else chance.choice(ODD_TOKENS)
    head = f"{method} {path} HTTP/{chance.choice(('1.1',) * 9 + ('1.0', '2.0', '9'))}\r\nHost: localhost\r\n"
    head += f"Authorization: {token}\r\n"
    if chance.random() < 0.2:
        head += chance.choice(ODD_HEADERS)
    framing, is_whole = f"Content-Length: {len(data)}\r\n", True
    if chance.random() < 0.15:
        framing, is_whole = chance.choice(FRAMING), False
        data = chance.choice(CHUNKED) if "chunked" in framing else data
    sent = f"{head}{framing}\r\n".encode("utf-8", "surrogateescape") + data
    return Request(sent, is_whole) if chance.random() < 0.95 else Request(sent[: chance.randrange(len(sent))], False)
