"""Listening: TLS or loopback, the operator's socket, too many connections, the end."""

import asyncio
import gc
import resource
import socket
import ssl
import stat
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.unit.hub.harness import DEADLINE_S, Running, impatient, payload, running, settings, talk, until, wire

from handoffd.hub import listen
from handoffd.hub.connection import has_fast_parser
from handoffd.hub.crowd import Crowd, Reach, Room
from handoffd.hub.listen import Listen, serve
from handoffd.hub.settings import Patience

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: hub-vm\r\n\r\n"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts for server and client, TLS 1.3 with one pinned certificate."""
    place = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub-vm")])
    now = datetime.now(UTC)
    unsigned = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    unsigned = unsigned.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    (place / "cert.pem").write_bytes(unsigned.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place / "key.pem").write_bytes(private)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.minimum_version = client.minimum_version = ssl.TLSVersion.TLSv1_3
    server.load_cert_chain(place / "cert.pem", place / "key.pem")
    client.load_verify_locations(place / "cert.pem")
    client.check_hostname = False
    return server, client


async def start(here: Running, client: ssl.SSLContext) -> int:
    url = f"https://127.0.0.1:{here.port}/api/v1/handoffs/start"
    headers = {"Authorization": "Bearer token-of-bob-vm"}
    async with here.session.post(url, data=payload(), headers=headers, ssl=client) as response:
        return response.status


async def test_a_peer_speaks_over_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with running(listens=[Listen("127.0.0.1", 0, tls[0])]) as here:
        assert await start(here, tls[1]) == 201


async def test_it_may_listen_beyond_loopback_with_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with running(listens=[Listen("0.0.0.0", 0, tls[0])]) as here:
        assert await start(here, tls[1]) == 201


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "host.example"])
async def test_it_refuses_to_listen_beyond_loopback_without_tls(address: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with running(listens=[Listen("127.0.0.1", 0), Listen(address, 0)]):
            pass
    assert caught.group_contains(ValueError, match=address.replace(".", r"\."))


async def test_it_listens_on_several_addresses_and_tells_the_ports() -> None:
    async with running(listens=[Listen("127.0.0.1", 0), Listen("::1", 0), Listen("localhost", 0)]) as here:
        assert len(set(here.listener.ports)) == 3
        for url in (
            f"http://[::1]:{here.listener.ports[1]}/healthz",
            f"http://127.0.0.1:{here.listener.ports[2]}/healthz",
        ):
            async with here.session.get(url) as response:
                assert response.status == 200


async def test_a_port_in_use_is_named_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ExceptionGroup) as caught:
            async with running(listens=[Listen("127.0.0.1", 0), Listen("127.0.0.1", port)]):
                pass
    assert caught.group_contains(
        OSError, match=rf"cannot listen on 127.0.0.1:{port}: Address already in use; `ss -ltnp"
    )
    gc.collect()  # an open socket would warn, and warnings are errors


async def test_without_the_parser_in_c_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_fast_parser()
    monkeypatch.setattr(listen, "has_fast_parser", lambda: False)
    with pytest.raises(ExceptionGroup) as caught:
        async with running():
            pass
    assert caught.group_contains(ValueError, match="C parser")


async def test_the_operators_socket_is_the_operators_alone(tmp_path: Path) -> None:
    path = tmp_path / "handoffd.sock"
    async with running(socket_path=path) as here:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            await here.start(payload())
            async with session.get("http://hub/operator/status") as response:
                told = await response.json()
            assert (told["host"], told["ready"], told["peers"][0]["peer"]) == ("hub-vm", True, "alice-vm")
            async with session.post("http://hub/api/v1/handoffs/start", data=payload()) as response:
                assert response.status == 404
    assert not path.exists()


async def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "handoffd.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with running(socket_path=path):
        assert path.is_socket()


async def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "handoffd.sock"
    path.write_text("mine")
    with pytest.raises(ExceptionGroup) as caught:
        async with running(socket_path=path):
            pass
    assert caught.group_contains(OSError, match="cannot listen on")
    assert path.read_text() == "mine"


async def test_a_socket_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with running(socket_path=tmp_path / ("x" * 100)):
            pass
    assert caught.group_contains(ValueError, match="107 bytes")


async def test_one_connection_too_many_is_turned_away_and_the_next_is_served() -> None:
    async with running(impatient(connections=8, head_s=60.0, idle_s=60.0)) as here:
        async with wire(here.port), wire(here.port):
            await until(lambda: "handoffd_connections 2.0" in here.hub.metrics.page().decode())
            assert (await talk(here.port, HEALTH)).startswith(b"HTTP/1.1 503")
        await until(lambda: "handoffd_connections 0.0" in here.hub.metrics.page().decode())
        async with wire(here.port) as (reader, writer):
            writer.write(HEALTH)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


def test_strangers_cannot_take_the_descriptors_that_custody_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, near, far in ((1024, 192, 576), (100, 1, 1), (resource.RLIM_INFINITY, 512, 3_584), (524_288, 512, 3_584)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert listen._room(Patience()) == Room(near, far, 128)


async def test_strangers_on_the_tls_port_do_not_shut_out_local_agents(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    gates = [Listen("127.0.0.1", 0), Listen("0.0.0.0", 0, tls[0])]
    async with running(impatient(connections=12, head_s=60.0), gates) as here, AsyncExitStack() as strangers:
        for _ in range(9):
            await strangers.enter_async_context(wire(here.listener.ports[1]))
        await until(lambda: "handoffd_connections 9.0" in here.hub.metrics.page().decode())
        assert await talk(here.listener.ports[1]) == b"", "the ninth was the last that is let in from other hosts"
        answer = await here.ask("GET", "/api/v1/handoffs/poll?agent=alice")
        assert answer.status == 204


async def test_one_address_cannot_take_the_place_of_all_others(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    chosen = impatient(connections_from_one=2, head_s=60.0)
    async with running(chosen, [Listen("0.0.0.0", 0, tls[0])]) as here:
        async with wire(here.port), wire(here.port):
            await until(lambda: "handoffd_connections 2.0" in here.hub.metrics.page().decode())
            assert await talk(here.port) == b""
            assert b"handoffd_connections_refused_total 1.0" in here.hub.metrics.page()
            elsewhere = await asyncio.open_connection(
                "127.0.0.1", here.port, ssl=tls[1], local_addr=("127.0.0.2", 0), server_hostname=""
            )
            elsewhere[1].write(HEALTH)
            async with asyncio.timeout(DEADLINE_S):
                assert (await elsewhere[0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            elsewhere[1].transport.abort()
        await until(lambda: "handoffd_connections 0.0" in here.hub.metrics.page().decode())
        assert await start(here, tls[1]) == 201


async def test_loopback_has_no_limit_for_one_address() -> None:
    chosen = impatient(connections_from_one=1, head_s=60.0, idle_s=0.05)
    async with running(chosen) as here, wire(here.port), wire(here.port):
        await until(lambda: "handoffd_connections 2.0" in here.hub.metrics.page().decode())
        assert (await talk(here.port, HEALTH)).startswith(b"HTTP/1.1 200")


def test_a_whole_network_of_ipv6_is_one_client() -> None:
    crowd = Crowd(Room(near=1, far=10, for_one=1))
    first = crowd.enter(Reach.FAR, ("2001:db8::1", 1, 0, 0))
    assert first is not None
    assert crowd.enter(Reach.FAR, ("2001:db8::ffff:2", 1, 0, 0)) is None
    assert crowd.enter(Reach.FAR, ("2001:db8:0:1::1", 1, 0, 0)) is not None
    assert crowd.enter(Reach.FAR, ("fe80::1%eth0", 1, 0, 2)) is not None
    crowd.leave(first)
    crowd.leave(first)
    assert len(crowd) == 2
    assert crowd.enter(Reach.FAR, ("2001:db8::2", 1, 0, 0)) is not None


def test_the_operator_always_comes_in() -> None:
    crowd = Crowd(Room(near=1, far=1, for_one=1))
    assert all(crowd.enter(Reach.SOCKET, "") for _ in range(5))
    assert crowd.enter(Reach.NEAR, ("127.0.0.1", 1)) is not None
    assert crowd.enter(Reach.NEAR, ("127.0.0.1", 2)) is None


async def test_handshakes_count_as_connections_and_end(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    chosen = impatient(connections=1, head_s=0.5)
    async with running(chosen, [Listen("127.0.0.1", 0, tls[0])]) as here, wire(here.port) as (silent, _):
        await until(lambda: "handoffd_connections 1.0" in here.hub.metrics.page().decode())
        assert await talk(here.port) == b""
        assert b"handoffd_connections_refused_total 1.0" in here.hub.metrics.page()
        async with asyncio.timeout(DEADLINE_S):
            assert await silent.read() == b""
        await until(lambda: "handoffd_connections 0.0" in here.hub.metrics.page().decode())
        assert await start(here, tls[1]) == 201


async def test_no_tls_on_a_tls_port_ends_that_connection_only(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with running(listens=[Listen("127.0.0.1", 0, tls[0])]) as here:
        assert b"HTTP" not in await talk(here.port, HEALTH)
        assert await start(here, tls[1]) == 201


async def test_closing_lets_what_is_being_served_end() -> None:
    async with running() as here:
        here.desk.gate.clear()
        asked = asyncio.ensure_future(here.start(payload()))
        await until(lambda: here.desk.waiting)
        closing = asyncio.ensure_future(here.listener.close(grace_s=DEADLINE_S))
        await until(lambda: not _is_open(here.port))
        here.desk.gate.set()
        assert (await asked).status == 201
        await closing


async def test_closing_sends_long_polls_home() -> None:
    async with running() as here:
        asked = asyncio.ensure_future(here.ask("GET", "/api/v1/handoffs/poll?wait=30"))
        await until(lambda: here.hub.notifier.waiters("@alice"))
        await here.listener.close(grace_s=DEADLINE_S)
        assert (await asked).status == 204


async def test_closing_does_not_wait_beyond_its_grace_and_custody_still_ends_its_work() -> None:
    async with running() as here:
        here.desk.gate.clear()
        asked = asyncio.ensure_future(here.start(payload()))
        await until(lambda: here.desk.waiting)
        await here.listener.close(grace_s=0.1)
        with pytest.raises(aiohttp.ClientError):
            await asked
        here.desk.gate.set()
        await until(lambda: here.engine.held)


async def test_two_hubs_cannot_share_a_port() -> None:
    async with running() as here, asyncio.TaskGroup() as group:
        with pytest.raises(OSError, match="cannot listen"):
            await serve(here.hub, [Listen("127.0.0.1", here.port)], None, group)


def test_it_serves_under_uvloop_as_well(tls: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = impatient(connections=2, head_s=0.3)
        async with running(chosen, [Listen("127.0.0.1", 0, tls[0])], tmp_path / "s") as here:
            assert await start(here, tls[1]) == 201
            assert b"HTTP" not in await talk(here.port, HEALTH)
            assert await talk(here.port) == b""
            await until(lambda: "handoffd_connections 1.0" in here.hub.metrics.page().decode())

    uvloop.run(scenario())


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_shipped_numbers_fit_together() -> None:
    patience = settings().patience
    assert patience.linger_s < patience.stall_s < patience.idle_s
    assert patience.idle_s > 60.0, "the link drops its idle connections after 60 s, before the hub may"


async def test_a_client_that_comes_while_all_is_ending_is_let_go() -> None:
    """A part that dies cancels the group; until it has ended, the kernel may still hand over clients."""
    answers: list[bytes] = []

    async def linger(port: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setblocking(False)
                answers.append(await asyncio.get_running_loop().sock_recv(client, 1))

    async def die() -> None:
        raise OSError("the disk has gone")

    async with running() as here:
        with pytest.raises(ExceptionGroup, match="unhandled errors"):
            async with asyncio.TaskGroup() as group:
                listener = await serve(here.hub, [Listen("127.0.0.1", 0)], None, group)
                group.create_task(linger(listener.ports[0]))
                await asyncio.sleep(0)
                group.create_task(die())
        await listener.close(0.0)
    assert answers == [b""]
