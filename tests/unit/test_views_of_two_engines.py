"""The operator's views over what the real engine leaves on disk, at both ends, with no daemon running."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from tests.unit.handmade import CALLER, DATA, HANDOFF_ID, START_S, N, T, X

from handoffd.cli import ls, show, trace
from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.message import (
    Arrival,
    Attempt,
    Hello,
    Landing,
    Lookup,
    Mirror,
    Offer,
    Principal,
    Settlement,
    StatesQuery,
)
from handoffd.custody.tree import Settings
from handoffd.journal import Journal
from handoffd.protocol.name import AgentName, HostName
from handoffd.protocol.reason import State

BOB, ALICE = HostName("bob-vm"), HostName("alice-vm")
PRINCIPAL = Principal(BOB, None, frozenset({AgentName("bob")}))
ALICE_IS_AHEAD_MS = 12_000
FINAL = f"1795168805-bob-alice-{HANDOFF_ID}.json"


@dataclass
class Clock:
    """Both clocks of a host, moved by the test; `ahead_s` is the error of its wall clock."""

    passed_s: float = 0.0
    ahead_s: float = 0.0

    def wall(self) -> float:
        return START_S + self.passed_s + self.ahead_s

    def boottime(self) -> float:
        return 1_000.0 + self.passed_s


class Host:
    """A root, its engine and its journal."""

    def __init__(
        self, root: Path, name: HostName, agent: str, peer: HostName, peers_agent: str, ahead_s: float
    ) -> None:
        root.mkdir()
        self.root = root
        self.clock = Clock(ahead_s=ahead_s)
        self.journal = Journal(root / "relay/events.jsonl", name, 1 << 20, 2, self.clock)
        self.files = LinuxFilesystem(root)
        homes = {peer: frozenset({AgentName(peers_agent)})}
        settings = Settings(name, frozenset({AgentName(agent)}), homes)
        self.engine = Engine(self.files, self.clock, settings, self.journal)
        self.engine.start("boot-1")


@dataclass
class Pair:
    """Two hosts whose messages the test carries by hand."""

    bob: Host
    alice: Host

    def after(self, milliseconds: float) -> None:
        for host in (self.bob, self.alice):
            host.clock.passed_s = milliseconds / 1000

    def greet(self) -> None:
        assert self.bob.engine.hello([Hello(ALICE, self.alice.engine.epoch)]) == [True]
        self.bob.engine.drain_news()

    def hand_over(self) -> None:
        (self.bob.root / "handoff" / X).write_bytes(DATA)
        self.bob.engine.look([{"handoff": [X]}])
        (offer,) = (item for item in self.bob.engine.drain_news() if isinstance(item, Offer))
        self.after(3)
        (answer,) = self.alice.engine.admit([Arrival(PRINCIPAL, offer.data, offer.tid, self.alice.engine.epoch)])
        self.after(5)
        self.bob.engine.settle([Settlement(ALICE, T, Attempt.ADMITTED, answer.status, answer.record)])

    def follow(self) -> None:
        (news,) = self.alice.engine.states([StatesQuery(BOB, {T: State.STORED}, None)])
        for record in news.records:
            (fetch,) = self.bob.engine.mirror([Mirror(ALICE, record, ALICE_IS_AHEAD_MS)])
            if fetch is not None:
                (artefact,) = self.alice.engine.lookup([Lookup(PRINCIPAL, T, artefact=True)])
                self.bob.engine.land([Landing(T, artefact.data)])

    def claim(self) -> None:
        os.rename(self.alice.root / "handoff" / N, self.alice.root / "claimed" / N)
        self.alice.engine.look([{"handoff": [N], "claimed": [N]}])

    def complete(self) -> None:
        fields = json.loads(DATA)
        fields["transcript"].append({"role": "assistant", "text": "done"})
        (self.alice.root / "archive" / FINAL).write_text(json.dumps(fields))
        (self.alice.root / "claimed" / N).unlink()
        self.alice.engine.look([{"claimed": [N], "archive": [FINAL]}])
        self.alice.engine.tick([0.0])


@pytest.fixture
def pair(tmp_path) -> Iterator[Pair]:
    hosts = Pair(
        Host(tmp_path / "bob", BOB, "bob", ALICE, "alice", 0.0),
        Host(tmp_path / "alice", ALICE, "alice", BOB, "bob", ALICE_IS_AHEAD_MS / 1000),
    )
    hosts.greet()
    yield hosts
    hosts.bob.files.close()
    hosts.alice.files.close()


@pytest.fixture
def view(capsys):
    """Return a function that runs one view on a host and returns its JSON."""
    app = typer.Typer()
    for module in (ls, show, trace):
        module.register(app)

    def run(host: Host, *arguments: str):
        host.journal.flush()
        capsys.readouterr()
        app([*arguments, "--json", "--root", str(host.root)], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return run


def states(view, host: Host) -> list[tuple[str, str, str | None]]:
    return [(row["state"], row["role"], row["peer"]) for row in view(host, "ls")]


def test_what_is_taken_but_cannot_be_sent_is_queued(pair, view):
    (pair.bob.root / "handoff" / X).write_bytes(DATA)
    pair.bob.engine.look([{"handoff": [X]}])
    assert states(view, pair.bob) == [("queued", "sender", ALICE)]
    assert states(view, pair.alice) == []


def test_each_end_shows_what_its_own_files_prove(pair, view):
    pair.hand_over()
    assert states(view, pair.bob) == [("stored", "sender", ALICE)]
    assert states(view, pair.alice) == [("published", "receiver", BOB)]


def test_a_claim_shows_at_both_ends(pair, view):
    pair.hand_over()
    pair.claim()
    pair.follow()
    assert states(view, pair.bob) == [("claimed", "sender", ALICE)]
    assert states(view, pair.alice) == [("claimed", "receiver", BOB)]


def test_an_orderly_stop_shows_the_withdrawn_one_as_stored(pair, view):
    pair.hand_over()
    pair.alice.engine.stop()
    assert states(view, pair.alice) == [("stored", "receiver", BOB)]


def test_an_end_shows_at_both_ends_with_its_files(pair, view):
    pair.hand_over()
    pair.claim()
    pair.complete()
    pair.follow()
    assert states(view, pair.bob) == [("completed", "sender", ALICE)]
    assert states(view, pair.alice) == [("completed", "receiver", BOB)]
    shown = {each["place"]: each["path"] for each in view(pair.bob, "show", HANDOFF_ID)["files"]}
    assert (shown["artefact"], shown["payload"]) == (f"archive/{FINAL}", f"archive/{FINAL}.original")


def test_the_senders_trace_puts_both_hosts_on_one_clock(pair, view):
    pair.hand_over()
    pair.after(40)
    pair.claim()
    pair.after(2_000)
    pair.complete()
    pair.after(2_004)
    pair.follow()
    document = view(pair.bob, "trace", T)
    assert [
        (step["host"], step["event"], step["after_ms"], step["known_here_ms"]) for step in document["timeline"]
    ] == [
        (BOB, "started", 0, None),
        (ALICE, "stored", 3, 2),
        (ALICE, "published", 3, 2),
        (ALICE, "claimed", 40, None),
        (ALICE, "completed", 2_000, 4),
    ]
    assert document["clocks"][0]["offset_ms"] == ALICE_IS_AHEAD_MS


def test_the_receivers_trace_is_by_its_own_clock(pair, view):
    pair.hand_over()
    pair.after(40)
    pair.claim()
    document = view(pair.alice, "trace", HANDOFF_ID)
    assert [(step["host"], step["event"], step["after_ms"]) for step in document["timeline"]] == [
        (ALICE, "stored", 0),
        (ALICE, "published", 0),
        (ALICE, "claimed", 37),
    ]
    assert document["clocks"] == []


def test_a_handoff_between_two_agents_of_one_host_has_a_story_too(pair, view):
    local = DATA.replace(b'"to_agent": "alice"', b'"to_agent": "bobby"')
    pair.bob.engine.configure([Settings(BOB, frozenset({AgentName("bob"), AgentName("bobby")}), {})])
    (pair.bob.root / "handoff" / f"{CALLER}-7.json").write_bytes(local)
    pair.bob.engine.look([{"handoff": [f"{CALLER}-7.json"]}])
    assert states(view, pair.bob) == [("untaken", "local", None)]
    assert [step["event"] for step in view(pair.bob, "trace", HANDOFF_ID)["timeline"]] == ["local_started"]
