"""What asking a peer brings, against a small one that misbehaves on request."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.link.fake_peer import FakePeer

from handoffd.cli.doctor.finding import Finding, Level
from handoffd.cli.doctor.patient import Patient
from handoffd.cli.doctor.peer import peers
from handoffd.config import PeerConfig
from handoffd.link.probe import ask_hello
from handoffd.protocol.moment import format_moment

UP = {"peer": "alice-vm", "state": "up"}


@contextmanager
def serving(peer: FakePeer) -> Iterator[FakePeer]:
    """Run a peer on a loop of its own: doctor has one too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(peer.up(), loop).result(30)
        yield peer
    finally:
        asyncio.run_coroutine_threadsafe(peer.down(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def found(url: str, *links: dict[str, Any], runs: bool = True) -> list[Finding]:
    known = {
        "name": "alice-vm",
        "url": url,
        "agents": ("alice",),
        "pinned_pem": None,
        "fingerprints": (),
        "token": b"t" * 43,
        "accepts": frozenset(),
    }
    defaults = {"relay": False, "dials_in": not url}
    names = PeerConfig.__dataclass_fields__
    peer = PeerConfig(**{name: known[name] if name in known else defaults.get(name) for name in names})
    config: Any = type("Config", (), {"host": "bob-vm", "agents": ("bob",), "peers": {"alice-vm": peer}})()
    status = {"host": "bob-vm", "peers": list(links)} if runs else None
    return list(peers(Patient(Path("/x"), config, (), None, "bob-vm", 1, status, 0.0)))


def failures(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.word, one.remedy) for one in found if one.level is Level.FAILURE]


@pytest.fixture
def peer() -> Iterator[FakePeer]:
    import time

    made = FakePeer()
    made.time = format_moment(time.time())
    with serving(made):
        yield made


def test_a_peer_that_answers_is_fine(peer: FakePeer) -> None:
    said = found(peer.url, UP)
    assert failures(said) == []
    assert [one.word for one in said if one.level is Level.FINE] == ["peer", "clock"]


def test_a_peer_without_the_agent_is_told(peer: FakePeer) -> None:
    peer.homes = ("carol",)
    ((word, remedy),) = failures(found(peer.url, UP))
    assert word == "nobody_home"
    assert "correct `agents`" in remedy


def test_both_calling_an_agent_local_is_told(peer: FakePeer) -> None:
    peer.homes = ("alice", "bob")
    ((word, _),) = failures(found(peer.url, UP))
    assert word == "conflict"


@pytest.mark.parametrize(("seconds", "level"), [(60.0, Level.FAILURE), (1.0, Level.WARNING)])
def test_a_clock_that_is_off_is_told(peer: FakePeer, seconds: float, level: Level) -> None:
    import time

    peer.time = format_moment(time.time() + seconds)
    (one,) = [one for one in found(peer.url, UP) if one.word == "clock_offset"]
    assert one.level is level


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([], "systemctl reload"),
        ([{**UP, "state": "down"}], "wait a minute"),
        ([{**UP, "error": {"word": "no_news", "detail": "silent", "remedy": "see its journal"}}], "see its journal"),
    ],
)
def test_a_daemon_that_thinks_otherwise_is_told(peer: FakePeer, links: list[dict[str, Any]], words: str) -> None:
    ((word, remedy),) = failures(found(peer.url, *links))
    assert word == "link_trouble"
    assert words in remedy


def test_nobody_there_is_told_from_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoffd.cli.doctor.peer.ask_hello", partial(ask_hello, connect_s=0.1))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        ((word, _),) = failures(found(f"http://127.0.0.1:{port}", UP))
        assert word == "peer_down"
        listener.listen()
        ((word, _),) = failures(found(f"https://127.0.0.1:{port}", UP))
        assert word == "no_answer"


def test_another_program_is_told() -> None:
    class Other(FakePeer):
        def answer(self, fields: dict[str, Any], status: int = 200) -> Any:
            from aiohttp import web

            return web.Response(text="It works!")

    with serving(Other()) as other:
        ((word, _),) = failures(found(other.url, UP))
    assert word == "not_handoffd"


@pytest.mark.parametrize(
    ("links", "runs", "level"),
    [([UP], True, Level.FINE), ([{**UP, "state": "down"}], True, Level.FAILURE), ([], False, Level.UNCHECKED)],
)
def test_a_peer_that_dials_in_is_judged_by_the_daemon_alone(links: list[Any], runs: bool, level: Level) -> None:
    (one,) = found("", *links, runs=runs)
    assert one.level is level


@pytest.mark.parametrize(("offset_ms", "level"), [(90_000, Level.FAILURE), (-800, Level.WARNING), (3, Level.FINE)])
def test_the_clock_of_a_peer_that_dials_in_is_judged_as_the_daemon_measured_it(offset_ms: int, level: Level) -> None:
    _, clock = found("", {**UP, "clock_offset_ms": offset_ms}, runs=True)
    assert (clock.level, str(abs(offset_ms)) in clock.message) == (level, True)
