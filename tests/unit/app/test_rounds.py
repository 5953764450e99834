"""The rounds: nothing is done unasked once the orderly stop has begun, nor on a root that was replaced."""

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from handoffd.app.rounds import REST_TICKS, WALKED, Rounds
from handoffd.clock import SystemClock
from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.message import Arrival, Principal
from handoffd.custody.tree import Settings
from handoffd.link.watch import WatchLost
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import AgentName, HostName, TransferId
from handoffd.protocol.reason import State
from handoffd.protocol.signature import sign

HOST, PEER, ALICE, BOB = HostName("alice-vm"), HostName("bob-vm"), AgentName("alice"), AgentName("bob")
CLOCK_REALTIME_COARSE = 5
"""Of linux/time.h: the clock of the stamps on files."""
_numbers = itertools.count()


class Deaf:
    """A journal nobody reads."""

    def write(self, event: str, **fields: object) -> None:
        """Forget it."""


def payload(sender: str, to: str) -> bytes:
    now, caller = SystemClock().wall(), f"{next(_numbers):016x}"
    fields: dict[str, object] = {
        "protocol_version": 1,
        "handoff_id": f"{int(now)}-{sender}-{to}-{caller}",
        "caller_hash": caller,
        "from_agent": sender,
        "to_agent": to,
        "reason": "test",
        "initiated_at": format_moment(now),
        "expires_at": format_moment(now + 60),
        "transcript": [],
    }
    return json.dumps({**fields, "hmac": sign(fields, b"secret")}).encode()


@pytest.fixture
def fs(tmp_path: Path) -> Iterator[LinuxFilesystem]:
    root = tmp_path / "root"
    root.mkdir()
    opened = LinuxFilesystem(root)
    yield opened
    opened.close()


@pytest.fixture
def engine(fs: LinuxFilesystem) -> Engine:
    settings = Settings(host=HOST, agents=frozenset({ALICE}), peers={PEER: frozenset({BOB})})
    engine = Engine(fs, SystemClock(), settings, Deaf())
    engine.start("boot-1")
    return engine


@pytest.fixture
def rounds(engine: Engine, fs: LinuxFilesystem) -> Rounds:
    return Rounds(engine, fs)


def receive(engine: Engine) -> None:
    (answer,) = engine.admit([Arrival(Principal(PEER, None, frozenset({BOB})), payload("bob", "alice"))])
    assert answer.status == 201


def test_what_an_orderly_stop_took_back_stays_back(engine: Engine, fs: LinuxFilesystem, rounds: Rounds) -> None:
    receive(engine)
    assert len(fs.names("handoff")) == 1
    rounds.end()
    assert rounds.tick() is False
    assert fs.names("handoff") == []
    assert fs.read("relay", "boot")[0] == b"clean\n"


def test_nothing_is_taken_after_an_orderly_stop(engine: Engine, fs: LinuxFilesystem, rounds: Rounds) -> None:
    rounds.end()
    (fs.root / "handoff" / "0123456789abcdef-0.json").write_bytes(payload("alice", "bob"))
    assert rounds.look([{"handoff": {"0123456789abcdef-0.json"}}, {}]) == [False, False]
    assert rounds.tick() is False
    assert fs.names("handoff") == ["0123456789abcdef-0.json"]


def test_before_it_a_tick_and_a_hint_take_what_is_to_go(engine: Engine, fs: LinuxFilesystem, rounds: Rounds) -> None:
    for name in ("by-tick-0.json", "by-hint-0.json"):
        (fs.root / "handoff" / name).write_bytes(payload("alice", "bob"))
        assert rounds.tick() is False if "tick" in name else rounds.look([{"handoff": {name}}]) == [False]
        assert fs.names("handoff") == []


@pytest.mark.parametrize("name", WALKED)
def test_a_directory_that_was_replaced_ends_the_rounds_and_is_named(
    fs: LinuxFilesystem, rounds: Rounds, name: str
) -> None:
    (fs.root / name).rename(fs.root / "aside")
    (fs.root / name).mkdir()
    with pytest.raises(WatchLost, match=rf"/{name} was replaced or removed"):
        rounds.tick()


def test_a_root_at_rest_is_walked_on_every_tenth_tick(engine: Engine, fs: LinuxFilesystem, rounds: Rounds) -> None:
    rounds.tick()
    (fs.root / "claimed").rename(fs.root / "aside")
    (fs.root / "claimed").mkdir()
    for _ in range(REST_TICKS - 1):
        assert rounds.tick() is False
    with pytest.raises(WatchLost, match="/claimed was replaced"):
        rounds.tick()


def test_a_file_that_nobody_told_of_is_taken_on_the_next_tick_of_a_root_at_rest(
    engine: Engine, fs: LinuxFilesystem, rounds: Rounds
) -> None:
    rounds.tick()
    rounds.tick()
    (fs.root / "handoff" / "0123456789abcdef-0.json").write_bytes(payload("alice", "bob"))
    rounds.tick()
    assert fs.names("handoff") == []


class Counted(LinuxFilesystem):
    """Counts how often handoff/ is listed."""

    listed = 0

    def names(self, directory: str) -> list[str]:
        self.listed += directory == "handoff"
        return super().names(directory)


def tick_later(rounds: Rounds) -> None:
    """Tick when the clock that stamps directories has gone on, as it has after any interval of a daemon."""
    before = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) == before:
        os.sched_yield()
    rounds.tick()


def test_at_rest_handoff_is_listed_only_when_it_has_changed(tmp_path: Path) -> None:
    fs = Counted(tmp_path)
    settings = Settings(host=HOST, agents=frozenset({ALICE}), peers={PEER: frozenset({BOB})})
    engine = Engine(fs, SystemClock(), settings, Deaf())
    engine.start("boot-1")
    rounds = Rounds(engine, fs)
    for _ in range(4):
        tick_later(rounds)
    before = fs.listed
    tick_later(rounds)
    tick_later(rounds)
    assert fs.listed == before
    (tmp_path / "handoff" / "0123456789abcdef-0.json").write_bytes(payload("alice", "bob"))
    tick_later(rounds)
    assert fs.names("handoff") == []
    fs.close()


def test_a_root_with_something_open_does_not_rest(engine: Engine, fs: LinuxFilesystem, rounds: Rounds) -> None:
    rounds.tick()
    receive(engine)
    (name,) = fs.names("handoff")
    (fs.root / "handoff" / name).rename(fs.root / "claimed" / name)
    rounds.tick()
    assert engine.record([TransferId(name.removesuffix(".json")[-64:])])[0].state is State.CLAIMED  # type: ignore[union-attr]


def test_a_root_that_was_moved_away_ends_the_rounds(fs: LinuxFilesystem, rounds: Rounds) -> None:
    fs.root.rename(fs.root.with_name("elsewhere"))
    with pytest.raises(WatchLost, match="was replaced or removed"):
        rounds.tick()
