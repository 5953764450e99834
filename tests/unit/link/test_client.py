"""What counts as sent: the door to a peer, over real sockets."""

import asyncio
import socket

import pytest
from tests.unit.link.fake_peer import FakePeer, endless, gated, hang, reset, say
from tests.unit.link.rig import until

from handoffd.custody.message import Offer
from handoffd.link.client import PeerClient
from handoffd.link.lane import KEEPALIVE_S, NoAnswer, NotSent
from handoffd.protocol.name import HostName, TransferId

OFFER = Offer(HostName("alice-vm"), TransferId("a" * 64), b"{}", 0.0)


@pytest.fixture
async def door():
    """Return a function that makes clients; all are closed at the end."""
    made = []

    def make(url: str, context=None) -> PeerClient:
        made.append(PeerClient(url, context, "secret", HostName("bob-vm"), "0.1.0"))
        return made[-1]

    yield make
    for client in made:
        await client.close()


async def test_a_refused_connection_sent_nothing(door):
    async with FakePeer() as peer:
        url = peer.url
    with pytest.raises(NotSent) as caught:
        await door(url).start(OFFER, "e")
    assert caught.value.kind == "unreachable"


async def test_a_name_that_does_not_resolve_sent_nothing(door):
    with pytest.raises(NotSent) as caught:
        await door("http://no-such-host.invalid:1").start(OFFER, "e")
    assert caught.value.kind == "unreachable"


async def test_a_connection_nobody_accepts_in_time_sent_nothing(door, tls):
    mute = socket.create_server(("127.0.0.1", 0))  # TCP connects, TLS gets no answer
    with mute, pytest.raises(NotSent) as caught:
        await door(f"https://127.0.0.1:{mute.getsockname()[1]}", tls.client).hello(connect_s=0.1)
    assert caught.value.kind == "unreachable"


async def test_a_certificate_that_is_not_pinned_got_no_byte_of_the_request(door, tls, other_tls):
    async with FakePeer(other_tls.server) as peer:
        with pytest.raises(NotSent) as caught:
            await door(peer.url, tls.client).start(OFFER, "e")
        assert caught.value.kind == "wrong_certificate"
        assert peer.calls == {}


async def test_the_pinned_certificate_is_accepted_whatever_its_name(door, tls):
    async with FakePeer(tls.server) as peer:
        assert (await door(peer.url, tls.client).hello()).status == 200


async def test_a_reset_after_the_request_is_no_answer_and_is_not_repeated(door):
    async with FakePeer() as peer:
        client = door(peer.url)
        await client.hello()
        peer.next("start", reset)
        with pytest.raises(NoAnswer):
            await client.start(OFFER, "epoch-1")
        assert peer.calls["start"] == 1


async def test_silence_after_the_request_is_no_answer(door, monkeypatch):
    monkeypatch.setattr("handoffd.link.client.HELLO_TOTAL_S", 0.1)
    async with FakePeer() as peer:
        peer.next("hello", hang)
        with pytest.raises(NoAnswer, match=r"within 0\.1 s"):
            await door(peer.url).hello()


async def test_an_answer_without_end_is_cut_off(door):
    async with FakePeer() as peer:
        peer.next("hello", endless)
        with pytest.raises(NoAnswer, match="longer than"):
            await door(peer.url).hello()


async def test_an_artefact_over_its_limit_is_not_taken(door):
    async with FakePeer() as peer:
        peer.artefacts[OFFER.tid] = b"x" * 101
        client = door(peer.url)
        with pytest.raises(NoAnswer, match="longer than 100"):
            await client.artefact(OFFER.tid, "epoch-1", limit_bytes=100)
        assert (await client.artefact(OFFER.tid, "epoch-1", limit_bytes=101)).data == b"x" * 101


async def test_a_redirect_is_an_answer_like_any_other(door):
    async with FakePeer() as peer:

        async def away(peer, request):
            answer = await say(307, {})(peer, request)
            answer.headers["Location"] = f"{peer.url}/api/v1/handoffs/batch"
            return answer

        peer.next("start", away)
        assert (await door(peer.url).start(OFFER, "epoch-1")).status == 307
        assert peer.calls == {"start": 1}


async def test_a_cookie_is_not_kept(door):
    async with FakePeer() as peer:

        async def baker(peer, request):
            answer = await say(200, {})(peer, request)
            answer.set_cookie("a", "b")
            return answer

        peer.next("hello", baker)
        client = door(peer.url)
        await client.hello()
        await client.hello()
        assert all("Cookie" not in headers for headers in peer.headers)


async def test_no_proxy_of_the_environment_is_used(door, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with FakePeer() as peer:
        assert (await door(peer.url).hello()).status == 200


async def test_connections_stay_open_and_small_writes_are_not_held_back(door, tls):
    async with FakePeer(tls.server) as peer:
        client, ports = door(peer.url, tls.client), set()

        async def note(peer, request):
            ports.add(request.transport.get_extra_info("peername")[1])
            return peer.answer({})

        peer.next("hello", *[note] * 5)
        for _ in range(5):
            await client.hello()
        assert len(ports) == 1
        ((protocol, _),) = next(iter(client._lane._connector._conns.values()))
        handle = protocol.transport.get_extra_info("socket")
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert KEEPALIVE_S < 75


async def test_new_connections_leave_a_request_under_way_alone(door):
    async with FakePeer() as peer:
        gate = asyncio.Event()
        peer.next("start", gated(gate))
        client = door(peer.url)
        under_way = asyncio.get_running_loop().create_task(client.start(OFFER, "epoch-1"))
        await until(lambda: peer.calls["start"] == 1)
        old = client._lane
        await client.renew()
        assert (await client.hello()).status == 200
        gate.set()
        assert (await under_way).status == 201
        assert old.closed


async def test_the_fingerprint_of_nothing_is_none(door, tls):
    async with FakePeer(tls.server) as peer:
        client = door(peer.url, tls.client)
        assert await client.presented_fingerprint() == tls.fingerprint
    assert await client.presented_fingerprint() is None
