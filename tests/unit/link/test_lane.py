"""How a request leaves and an answer comes in, byte by byte, from a server that is written out here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from handoffd.link.artefact import FETCHERS
from handoffd.link.borrow import LEASES
from handoffd.link.lane import CONNECTIONS, Lane, NoAnswer, NotSent
from handoffd.link.sender import REQUESTS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Turn = Callable[[asyncio.Transport], None]


class Server(asyncio.Protocol):
    """Plays one turn for each piece of bytes that comes; `pieces` are those, `connections` how many were made."""

    def __init__(self, turns: list[Turn], pieces: list[bytes], connections: list[asyncio.Transport]) -> None:
        self.turns, self.pieces, self.connections = turns, pieces, connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.connections.append(transport)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.turns.pop(0)(self.connections[-1])


class Talk:
    """A lane to such a server."""

    def __init__(self, lane: Lane, pieces: list[bytes], connections: list[asyncio.Transport]) -> None:
        self.lane, self.pieces, self.connections = lane, pieces, connections

    async def ask(self, method: str = "GET", data: bytes = b"", limit_bytes: int = 100, **headers: str):
        return await self.lane.exchange(method, "/x", headers, data, connect_s=30, limit_bytes=limit_bytes)


@asynccontextmanager
async def talk(*turns: Turn, context=None, trust=None) -> AsyncIterator[Talk]:
    pieces: list[bytes] = []
    connections: list[asyncio.Transport] = []
    loop, waiting = asyncio.get_running_loop(), list(turns)
    server = await loop.create_server(lambda: Server(waiting, pieces, connections), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    lane = Lane(URL(f"http{'s' if context else ''}://127.0.0.1:{port}"), trust)
    try:
        yield Talk(lane, pieces, connections)
    finally:
        await lane.close()
        for connection in connections:
            connection.abort()
        server.close()


def say(data: bytes) -> Turn:
    return lambda transport: transport.write(data)


def say_and_close(data: bytes) -> Turn:
    def act(transport: asyncio.Transport) -> None:
        transport.write(data)
        transport.close()

    return act


def hang_up(transport: asyncio.Transport) -> None:
    transport.abort()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_request_leaves_in_one_piece(tls):
    async with talk(say(OK), context=tls.server, trust=tls.client) as to:
        answered = await to.ask("POST", b"x" * 8_000, **{"Handoffd-Epoch": "e"})
    assert (answered.status, answered.data, answered.retry_after) == (200, b"{}", None)
    (whole,) = to.pieces
    head, _, body = whole.partition(b"\r\n\r\n")
    assert body == b"x" * 8_000
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /x HTTP/1.1"
    assert {"Handoffd-Epoch: e", "Content-Length: 8000", "Content-Type: application/json"} <= set(lines)
    assert lines[1] == f"Host: 127.0.0.1:{to.lane._place.url.port}"


async def test_a_connection_serves_one_request_after_the_other():
    async with talk(say(OK), say(OK)) as to:
        await to.ask("POST")
        await to.ask()
        assert len(to.connections) == 1
        assert b"Content-Length" not in to.pieces[1]


async def test_a_question_whose_connection_has_just_ended_is_asked_again():
    async with talk(say(OK), hang_up, say(OK)) as to:
        await to.ask()
        assert (await to.ask()).status == 200
        assert len(to.connections) == 2


async def test_a_question_is_asked_no_third_time():
    async with talk(hang_up, hang_up) as to:
        with pytest.raises(NoAnswer):
            await to.ask()
        assert len(to.pieces) == 2


async def test_a_post_is_never_repeated():
    async with talk(say(OK), hang_up) as to:
        await to.ask()
        with pytest.raises(NoAnswer):
            await to.ask("POST")
        assert len(to.pieces) == 2


async def test_a_body_follows_its_head_on_the_same_connection():
    async with talk(say(b""), say(OK), say(OK)) as to:
        opening = await to.lane.begin("/x", {}, 3, connect_s=30)
        await until(lambda: to.pieces)
        assert opening.alive
        opening.send(b"abc")
        assert (await to.lane.finish(opening, 100)).data == b"{}"
        assert b"".join(to.pieces).endswith(b"Content-Length: 3\r\n\r\nabc")
        await to.ask()
        assert len(to.connections) == 1


async def test_what_was_begun_and_let_be_ends_its_connection():
    async with talk(say(b""), say(OK)) as to:
        opening = await to.lane.begin("/x", {}, 3, connect_s=30)
        await opening.close()
        assert not opening.alive
        await to.ask()
        assert len(to.connections) == 2


async def test_a_lane_that_is_retired_waits_for_what_was_begun():
    async with talk(say(b"")) as to:
        opening = await to.lane.begin("/x", {}, 3, connect_s=30)
        await to.lane.retire()
        assert opening.alive
        assert not to.lane.closed
        await opening.close()
        assert to.lane.closed


async def test_what_was_begun_is_not_gone_on_with_once_the_peer_has_answered_the_head():
    async with talk(say(OK)) as to:
        opening = await to.lane.begin("/x", {}, 3, connect_s=30)
        await until(lambda: not opening.alive)
        await opening.close()


async def test_an_answer_that_nobody_asked_for_is_nobodys():
    """It comes on a connection that is kept: the next request takes another one."""
    async with talk(say(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSTALE"), say(OK)) as to:
        assert (await to.ask()).data == b"{}"
        assert (await to.ask()).data == b"{}"
        assert len(to.connections) == 2


async def test_a_name_that_no_host_can_have_is_no_connection():
    lane = Lane(URL("https://" + "a" * 70 + ":1"), None)
    with pytest.raises(NotSent):
        await lane.exchange("GET", "/x", {}, b"", 5.0, 100)
    await lane.close()


async def test_interim_answers_are_passed_over():
    async with talk(say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK)) as to:
        assert (await to.ask()).data == b"{}"


async def test_an_answer_may_end_with_its_connection():
    async with talk(say_and_close(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n{}")) as to:
        answered = await to.ask("POST")
    assert (answered.status, answered.data, answered.retry_after) == (503, b"{}", "7")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"nothing of HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_not_whole_is_none(answer):
    async with talk(say_and_close(answer)) as to:
        with pytest.raises(NoAnswer):
            await to.ask("POST")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


@pytest.mark.parametrize("awaited", [True, False])
async def test_an_answer_with_a_bad_chunk_is_none_at_once(awaited):
    """Whether its beginning was being read when the chunk came, or had only arrived; its connection stays open."""
    async with talk(say(b""), say(CHUNKED)) as to:
        opening = await to.lane.begin("/x", {}, 2, connect_s=30)
        protocol = opening.connection.protocol
        await until(lambda: to.pieces)
        opening.send(b"{}")

        async def spoil():
            await until(lambda: not protocol.is_new if awaited else protocol._buffer)
            to.connections[0].write(b"zz\r\n{}\r\n")

        if not awaited:
            await spoil()
            await until(protocol.exception)
        async with asyncio.timeout(30):
            answer, *_ = await asyncio.gather(
                to.lane.finish(opening, 100), *([spoil()] if awaited else []), return_exceptions=True
            )
    assert isinstance(answer, NoAnswer)
    assert "no answer in HTTP: Invalid character in chunk size" in str(answer)


async def test_an_address_that_does_not_answer_holds_up_no_other(tls):
    left = asyncio.Event()

    class Silent(asyncio.Protocol):
        def connection_lost(self, error):
            left.set()

    async def addresses(url):
        return ["127.0.0.2", "127.0.0.1"]

    async with talk(say(OK), context=tls.server, trust=tls.client) as to:
        silent = await asyncio.get_running_loop().create_server(Silent, "127.0.0.2", to.lane._place.url.port)
        to.lane._connector._addresses = addresses
        async with silent, asyncio.timeout(30):
            answered = await to.lane.exchange("GET", "/x", {}, b"", connect_s=10_000, limit_bytes=100)
            await left.wait()
    assert answered.status == 200


async def test_an_address_that_does_not_answer_hides_no_wrong_certificate(tls, other_tls):
    async def addresses(url):
        return ["127.0.0.2", "127.0.0.1"]

    async with talk(context=other_tls.server, trust=tls.client) as to:
        loop, port = asyncio.get_running_loop(), to.lane._place.url.port
        to.lane._connector._addresses = addresses
        async with await loop.create_server(asyncio.Protocol, "127.0.0.2", port):
            with pytest.raises(NotSent) as refused:
                await to.lane.exchange("GET", "/x", {}, b"", connect_s=3.0, limit_bytes=100)
    assert refused.value.kind == "wrong_certificate"


async def test_names_that_are_not_found_in_time_are_no_connection():
    async def addresses(url):
        await asyncio.Event().wait()

    async with talk() as to:
        to.lane._connector._addresses = addresses
        with pytest.raises(NotSent, match=r"no connection within 0\.1 s"):
            await to.lane.exchange("GET", "/x", {}, b"", connect_s=0.1, limit_bytes=100)


@pytest.mark.parametrize("first_words", [b"", b"SSH-2.0-x\r\n"])
async def test_whoever_ends_or_speaks_before_it_is_asked_is_called_once(first_words):
    """Called again and again, it would be called as fast as the network allows."""
    calls = []

    class Rude(asyncio.Protocol):
        def connection_made(self, transport):
            calls.append(transport)
            transport.write(first_words)
            transport.close()

    server = await asyncio.get_running_loop().create_server(Rude, "127.0.0.1", 0)
    lane = Lane(URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), None)
    with pytest.raises((NotSent, NoAnswer)):
        await lane.exchange("POST", "/x", {}, b"", 2.0, 100)
    assert len(calls) == 1
    await lane.close()
    server.close()


async def test_an_answer_over_its_limit_ends_its_connection():
    async with talk(say(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101), say(OK)) as to:
        with pytest.raises(NoAnswer, match="longer than 100"):
            await to.ask("POST")
        await to.ask("POST")
        assert len(to.connections) == 2


async def test_nothing_can_end_a_header_early():
    async with talk() as to:
        with pytest.raises(ValueError, match="could end it"):
            await to.ask(**{"Handoffd-Challenge": "a\r\nX: b"})
        assert to.pieces == []


def test_there_is_a_connection_for_all_that_a_link_does_at_once():
    polls_telling_debts_hello = 2 + 1 + 1 + 1
    assert REQUESTS + LEASES + FETCHERS + polls_telling_debts_hello < CONNECTIONS
