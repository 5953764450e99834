"""Clients that are slow, wrong, too large or gone, over raw sockets."""

import asyncio
import itertools
import json
import re
from contextlib import suppress
from typing import Any

import pytest
from tests.unit.hub.harness import DEADLINE_S, Running, impatient, payload, running, talk, until, wire

HEAD = b"POST /api/v1/handoffs/start HTTP/1.1\r\nHost: hub-vm\r\nAuthorization: Bearer token-of-bob-vm\r\n"
POLL = b"GET /api/v1/handoffs/poll?wait=30 HTTP/1.1\r\nHost: hub-vm\r\nAuthorization: Bearer token-of-alice\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: hub-vm\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: hub-vm\r\n\r\n"


def problem(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)


async def test_a_client_that_sends_nothing_is_cut_off() -> None:
    async with running(impatient()) as here:
        assert await talk(here.port) == b""


@pytest.mark.parametrize("part", [b"G", b"GET /healthz HTTP/1.1\r\nHost: hub-vm\r\nX: ", HEALTH[:-2], b"\r\n"])
async def test_a_client_that_never_ends_its_headers_is_cut_off(part: bytes) -> None:
    async with running(impatient(idle_s=60.0)) as here:
        assert await talk(here.port, part) == b""


async def test_slow_headers_after_a_good_request_are_cut_off_as_well() -> None:
    async with running(impatient(idle_s=60.0)) as here, wire(here.port) as (reader, writer):
        writer.write(HEALTH)
        await reader.readuntil(b"}")
        writer.write(b"GET /heal")
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""


async def test_headers_that_trickle_in_have_one_time_in_all() -> None:
    async with running(impatient(idle_s=60.0)) as here, wire(here.port) as (reader, writer):
        closed = asyncio.ensure_future(reader.read())
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        lines = itertools.count()
        while not closed.done():
            writer.write(f"X-{next(lines)}: y\r\n".encode())
            await asyncio.wait([closed], timeout=0.02)
        with suppress(ConnectionResetError):  # a line that came after the end
            assert await closed == b""
        assert next(lines) < 100


async def test_an_idle_connection_is_closed() -> None:
    async with running(impatient(head_s=60.0, idle_s=0.05)) as here:
        assert (await talk(here.port, HEALTH)).startswith(b"HTTP/1.1 200")


async def test_a_connection_that_is_used_stays_beyond_the_header_time() -> None:
    async with running(impatient(idle_s=60.0)) as here, wire(here.port) as (reader, writer):
        for _ in range(2):
            writer.write(HEALTH)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"}")
            with pytest.raises(TimeoutError):  # it stays open for longer than headers may take
                await asyncio.wait_for(reader.read(1), 0.4)


async def test_a_body_that_never_ends_is_a_bad_request_and_the_end() -> None:
    async with running(impatient()) as here:
        status, told = problem(await talk(here.port, HEAD + b"Content-Length: 100\r\n\r\nhalf"))
        assert (status, told["reason"]) == (400, "bad_request")
        assert "0.2 s" in told["detail"]
        assert not here.engine.held


@pytest.mark.parametrize("came", [0, 99])
async def test_a_body_shorter_than_promised_reaches_nobody(came: int, caplog: pytest.LogCaptureFixture) -> None:
    async with running() as here:
        async with wire(here.port) as (_, writer):
            writer.write(HEAD + b"Content-Length: 100\r\n\r\n" + b"x" * came)
            await writer.drain()
            await until(lambda: connections(here) == 1)
        await until(lambda: connections(here) == 0)
        assert not here.desk.groups
    assert not caplog.records


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 5x\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"X: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"X: " + b"a" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"Content-Length: 0\r\n\r\n",
    ],
)
async def test_wrong_framing_is_a_bad_request_and_the_end(framing: bytes) -> None:
    async with running(impatient()) as here:
        answer = await talk(here.port, HEAD + framing)
        status, told = problem(answer)
        assert (status, told["reason"], told["status"]) == (400, "bad_request", 400)
        assert "epoch" not in told
        assert answer.count(b"HTTP/1.") == 1
        assert not here.engine.held


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 50]
)
async def test_what_is_no_http_is_answered_and_closed(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with running(impatient()) as here:
        assert problem(await talk(here.port, garbage))[0] == 400
    assert not caplog.records


async def test_a_path_that_is_too_long_is_a_bad_request() -> None:
    async with running(impatient()) as here:
        assert problem(await talk(here.port, b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n"))[0] == 400


async def test_a_length_over_the_limit_is_refused_at_once_and_closed() -> None:
    async with running(impatient(body_s=10.0, max_payload_bytes=1000)) as here:
        status, told = problem(await talk(here.port, HEAD + b"Content-Length: 1001\r\n\r\n"))
        assert (status, told["reason"]) == (413, "too_large")
        assert "1000 bytes" in told["detail"]


async def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    async with running(impatient(body_s=10.0, max_payload_bytes=1000)) as here:
        chunk = b"320\r\n" + b"x" * 800 + b"\r\n"
        assert problem(await talk(here.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk))[0] == 413
        assert not here.desk.groups


async def test_a_body_in_chunks_is_read_whole() -> None:
    data = payload()
    chunks = b"".join(b"1\r\n" + data[at : at + 1] + b"\r\n" for at in range(len(data)))
    async with running() as here:
        sent = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        assert (await talk(here.port, sent)).startswith(b"HTTP/1.1 201")
        assert [held.data for held in here.engine.held.values()] == [data]


async def test_a_large_body_in_many_segments_is_read_whole() -> None:
    data = payload(transcript=[{"role": "user", "text": "x" * 900_000}])
    async with running() as here:
        answer = await here.start(data)
        assert answer.status == 201
        assert [held.data for held in here.engine.held.values()] == [data]


async def test_a_compressed_body_is_refused() -> None:
    async with running() as here:
        answer = await here.start(payload(), **{"Content-Encoding": "gzip"})
        assert answer.status == 400
        assert "Content-Encoding" in answer.body["detail"]


async def test_a_client_that_asks_first_is_invited_to_go_on() -> None:
    data = payload()
    async with running() as here, wire(here.port) as (reader, writer):
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(data))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(data)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201")


async def test_a_client_that_asks_first_with_too_much_is_not_invited() -> None:
    async with running(impatient(max_payload_bytes=100)) as here:
        answer = await talk(here.port, HEAD + b"Expect: 100-continue\r\nContent-Length: 101\r\n\r\n")
        assert problem(answer)[0] == 413


async def test_requests_sent_at_once_are_answered_in_order() -> None:
    async with running(impatient(idle_s=0.05)) as here:
        answers = await talk(here.port, HEALTH + HEALTH.replace(b"healthz", b"nowhere") + HEALTH)
        assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


async def test_an_upgrade_is_not_followed() -> None:
    async with running(impatient(idle_s=0.05)) as here:
        asked = HEALTH[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert (await talk(here.port, asked)).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_does_not_stop_custody() -> None:
    async with running() as here:
        here.desk.gate.clear()
        async with wire(here.port) as (_, writer):
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(payload()) + payload())
            await writer.drain()
            await until(lambda: here.desk.waiting)
        await until(lambda: connections(here) == 0)
        here.desk.gate.set()
        await until(lambda: here.engine.held)


async def test_a_client_that_leaves_ends_its_long_poll() -> None:
    async with running() as here:
        async with wire(here.port) as (_, writer):
            writer.write(POLL)
            await until(lambda: here.hub.notifier.waiters("@alice"))
        await until(lambda: not here.hub.notifier.waiters("@alice"))


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    async with running(impatient(stall_s=0.2, idle_s=60.0)) as here, wire(here.port) as (_, writer):
        writer.transport.pause_reading()
        with pytest.raises(ConnectionError):
            for _ in range(100_000):
                writer.write(METRICS * 100)
                await writer.drain()
        await until(lambda: connections(here) == 0)


async def test_a_client_that_never_lets_go_is_cut_off() -> None:
    async with running(impatient(stall_s=0.2)) as here, wire(here.port) as (reader, writer):
        writer.write(HEALTH[:-2] + b"Connection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        await until(lambda: connections(here) == 0)


def connections(here: Running) -> int:
    found = re.search(rb"^handoffd_connections (\d+)", here.hub.metrics.page(), re.MULTILINE)
    assert found
    return int(found[1])
