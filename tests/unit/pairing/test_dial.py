"""Reaching a host by its certificate's fingerprint: to another host not a byte of a request is sent."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes.plain import port_without_tls

from handoffd.cli.side import RELOAD_S
from handoffd.hub.invites import ANSWER_S as HUB_ANSWER_S
from handoffd.identity import make_identity, server_context
from handoffd.pairing import dial
from handoffd.pairing.dial import NoAnswer, Turned, Unreached, ask, digest_of, reach

NOW_S = 1_790_000_000.0
Serve = Callable[[ssl.SSLSocket], None]


def whole_request(tls: ssl.SSLSocket) -> bytes:
    """Read a request to its end: a server that closes before that resets the connection."""
    heard = b""
    while part := tls.recv(65_536):
        heard += part
        head, blank, body = heard.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if blank and len(body) >= int(length[1] if length else 0):
            break
    return heard


class Host:
    """A TLS server for one connection after another; `heard` is every byte that came."""

    def __init__(self, directory: Path, serve: Serve | None = None) -> None:
        certificate, key = make_identity("bob-vm", NOW_S)
        (directory / "pem").write_bytes(certificate)
        (directory / "key").write_bytes(key)
        self.digest = digest_of(certificate.decode())
        self.heard = b""
        self._context = server_context(directory / "pem", directory / "key")
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            client, _ = self._socket.accept()
            client.settimeout(10)
            try:
                with self._context.wrap_socket(client, server_side=True) as tls:
                    self.heard += whole_request(tls)
                    if self._serve is not None:
                        self._serve(tls)
            except OSError:
                client.close()
            if self._closing:
                return

    _closing = False

    def close(self) -> None:
        self._closing = True
        with socket.create_connection(self._socket.getsockname()):
            pass
        self._thread.join(20)
        self._socket.close()


@contextmanager
def host(directory: Path, serve: Serve | None = None) -> Iterator[Host]:
    directory.mkdir()
    found = Host(directory, serve)
    try:
        yield found
    finally:
        found.close()


def says(status: str, body: object) -> Serve:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode()
    return lambda tls: tls.sendall(head + data)


def test_the_right_host_is_reached_and_answers(tmp_path):
    with host(tmp_path / "a", says("200 OK", {"a": 1})) as bob:
        reached = reach([bob.url], bob.digest)
        assert (reached.url, digest_of(reached.certificate)) == (bob.url, bob.digest)
        assert ask(bob.url, [bob.digest], "/x", {"b": 2}, "secret") == {"a": 1}
        assert b"Authorization: Bearer secret" in bob.heard
        assert b'{"b": 2}' in bob.heard


def test_to_a_host_with_another_certificate_nothing_is_sent(tmp_path):
    with host(tmp_path / "a", says("200 OK", {})) as mallory:
        for attempt in (
            lambda: reach([mallory.url], bytes(32)),
            lambda: ask(mallory.url, [bytes(32)], "/x", {"b": 2}, "secret"),
        ):
            with pytest.raises(Unreached, match="shows another certificate"):
                attempt()
        assert mallory.heard == b""


def test_of_several_addresses_the_first_right_one_is_taken(tmp_path):
    with host(tmp_path / "a") as mallory, host(tmp_path / "b") as bob:
        assert reach(["https://127.0.0.1:1", mallory.url, bob.url], bob.digest).url == bob.url


def test_a_name_that_is_looked_up_for_ever_does_not_hold_up_the_right_address(tmp_path, monkeypatch):
    monkeypatch.setattr(dial, "REACH_S", 3_600.0)
    resolve, go_on = socket.getaddrinfo, threading.Event()

    def slow(name: str, *more: object, **named: object) -> object:
        if name == "nowhere.invalid":
            go_on.wait(60)
        return resolve(name, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with host(tmp_path / "a") as bob:
        assert reach([bob.url, "https://nowhere.invalid"], bob.digest).url == bob.url
    go_on.set()


def test_all_addresses_together_have_one_deadline(monkeypatch):
    monkeypatch.setattr(dial, "REACH_S", 0.2)
    monkeypatch.setattr(dial, "CONNECT_S", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(Unreached) as caught:
            reach([url] * 8, bytes(32))
    assert str(caught.value) == "; ".join([f"{url}: no answer in time"] * 8)


def test_the_deadline_leaves_the_other_side_time_for_an_answer():
    assert dial.REACH_S + RELOAD_S < HUB_ANSWER_S


def test_where_nobody_is_each_address_is_named_with_its_reason():
    with pytest.raises(Unreached, match=r"https://127\.0\.0\.1:1: Connection refused"):
        reach(["https://127.0.0.1:1"], bytes(32))
    with pytest.raises(Unreached, match="no address was given"):
        reach([], bytes(32))
    with pytest.raises(Unreached):
        reach(["https://[broken"], bytes(32))


def test_a_refusal_is_told_in_the_hosts_own_words(tmp_path):
    with (
        host(tmp_path / "a", says("410 Gone", {"reason": "invite_void", "detail": "it was used"})) as bob,
        pytest.raises(Turned, match="it was used") as caught,
    ):
        ask(bob.url, [bob.digest], "/x", {})
    assert (caught.value.status, caught.value.reason) == (410, "invite_void")


@pytest.mark.parametrize("serve", [None, lambda tls: tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")])
def test_an_answer_that_does_not_come_whole_is_none(tmp_path, serve):
    with host(tmp_path / "a", serve) as bob, pytest.raises(NoAnswer):
        ask(bob.url, [bob.digest], "/x", {})


def test_a_host_that_accepts_and_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(dial, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(Unreached, match="no answer in time"):
        reach([f"https://127.0.0.1:{mute.getsockname()[1]}"], bytes(32))


def test_a_port_without_tls_is_told_as_such():
    with port_without_tls() as port, pytest.raises(Unreached, match=r"no TLS 1\.3 there"):
        reach([f"https://127.0.0.1:{port}"], bytes(32))
