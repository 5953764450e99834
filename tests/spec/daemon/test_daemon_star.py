"""Hosts that only dial out, as whole daemons: at a hub between them, and at the other host itself."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.spec.daemon.rig import EXPIRY_DEADLINE_S, SOON_S, Host, ending, until
from tests.spec.daemon.star import Dialled, Star, pair_up

from handoffd.protocol.timing import BATCH_ITEMS

pytestmark = pytest.mark.slow


@pytest.fixture
def star(place: Path) -> Iterator[Star]:
    star = Star(place, "bob", "alice")
    with ending(*star.hosts):
        yield star


@pytest.fixture
def dialled(place: Path) -> Iterator[Dialled]:
    dialled = Dialled(place)
    with ending(*dialled.hosts):
        yield dialled


def state(host: Host, tid: str) -> str:
    return str(host.tell("show", tid)["state"])


def reaches(host: Host, tid: str, wanted: str) -> None:
    until(f"{tid[:8]} is {wanted} on {host.name}", lambda: state(host, tid) == wanted)


def is_clean(*hosts: Host) -> None:
    for host in hosts:
        until(f"{host.name} holds nothing", lambda host=host: host.in_custody() == [])


def test_a_host_that_only_dials_gets_its_handoffs_and_their_ends_come_home(dialled: Dialled) -> None:
    bob, alice = dialled.start().hosts
    tid = bob.hand_over("alice")
    final = alice.archive(alice.claim(tid), appended="bye")
    record = bob.ended(tid)
    assert (record["reason"], record["by"], record["delivered"]) == ("completed", "alice-vm", "claimed")
    until("the transcript came home", lambda: final in [bob.read("archive", name) for name in bob.names("archive")])
    back = alice.hand_over("bob")
    bob.archive(bob.claim(back))
    assert alice.ended(back)["reason"] == "completed"
    is_clean(bob, alice)


def measured(host: Host) -> dict[str, Any] | None:
    """Return the one link of a host, once it knows the clock of its peer."""
    (link,) = host.tell("status")["peers"]
    return None if link["clock_offset_ms"] is None else link


def test_each_end_of_a_link_that_one_can_make_knows_the_clock_of_the_other(dialled: Dialled) -> None:
    bob, alice = dialled.start().hosts
    for host, peer in ((bob, "alice-vm"), (alice, "bob-vm")):
        link = until(f"{host.name} has measured", lambda host=host: measured(host))  # type: ignore[misc]
        assert link["peer"] == peer
        assert abs(link["clock_offset_ms"]) <= link["clock_error_ms"] + 1, "one machine, one clock"
        assert link["clock_error_ms"] > 0
        metrics = host.ask("GET", "/metrics", token=None).data.decode()
        assert f'handoffd_link_clock_offset_seconds{{peer="{peer}"}}' in metrics


def test_through_a_hub_each_time_bears_the_clock_of_the_host_where_it_happened(star: Star) -> None:
    bob, alice = star.start().spokes
    tid = bob.hand_over("alice", ttl_s=600.0)
    name = alice.published(tid)
    bob.told("published", tid=tid)
    assert "published" in bob.command("show", tid).stdout, "an open one's states so far"
    alice.claim(tid)
    bob.told("claimed", tid=tid)
    alice.archive(name)
    record = bob.ended(tid)
    where = {"stored": "hub", "leased": "hub", "published": "alice-vm", "claimed": "alice-vm", "completed": "alice-vm"}
    assert {state: record.get("edges_by", {}).get(state, record["by"]) for state in record["edges"]} == where
    assert abs(record["clock_offset_ms"]) < 5_000, "alice-vm's, which bob-vm never met: measured by the hub"
    assert abs(record["clocks"]["hub"]) < 5_000
    told = bob.tell("trace", tid)
    assert {step["event"]: step["host"] for step in told["timeline"]} == {"started": "bob-vm", **where}
    assert all(step["corrected"] for step in told["timeline"])
    assert {one["host"] for one in told["clocks"]} == {"hub", "alice-vm"}


def test_a_host_that_dials_and_the_one_it_dials_are_both_told_of_an_agent_that_both_call_local(
    dialled: Dialled,
) -> None:
    bob, alice = dialled.hosts
    bob.edit("agents: [bob]", "agents: [bob, carol]")
    alice.edit("agents: [alice]", "agents: [alice, carol]")
    for host in dialled.hosts:
        host.start().ready()
    for host in dialled.hosts:
        assert host.told("link_conflict")["agents"] == ["carol"]
        until(f"{host.name} warns of it first", lambda host=host: host.warnings()[:1] == ["conflict"])  # type: ignore[misc]
    tid = bob.hand_over("alice", ttl_s=600.0)
    bob.told("started", tid=tid)
    assert len(bob.journal("link_conflict")) == 1
    assert alice.names("handoff") == []
    bob.edit("agents: [bob, carol]", "agents: [bob]")
    bob.signal(signal.SIGHUP)
    alice.archive(alice.claim(tid))
    assert bob.ended(tid)["reason"] == "completed"
    until("nothing is wrong any more", lambda: bob.warnings() == [])


def test_through_a_hub_every_state_is_told_to_the_writer_and_by_whom(star: Star) -> None:
    bob, alice = star.start().spokes
    alice.stop()
    tid = bob.hand_over("alice", ttl_s=600.0)
    reaches(bob, tid, "stored")
    assert (star.hub.tell("show", tid)["state"], star.hub.tell("show", tid)["role"]) == ("stored", "relay")
    alice.start().ready()
    name = alice.published(tid)
    bob.told("published", tid=tid)
    assert [line["event"] for line in bob.journal(tid=tid)][:4] == ["started", "stored", "leased", "published"]
    assert state(star.hub, tid) == "leased"  # what the files of a relay prove
    alice.claim(tid)
    bob.told("claimed", tid=tid)
    final = alice.archive(name, appended="bye")
    record = bob.ended(tid)
    assert (record["reason"], record["by"]) == ("completed", "alice-vm")
    until("the transcript came home", lambda: final in [bob.read("archive", name) for name in bob.names("archive")])
    assert [star.hub.names(place) for place in ("handoff", "claimed", "archive", "rejected")] == [[]] * 4
    is_clean(*star.hosts)


def test_a_spoke_that_never_comes_back_ends_its_handoffs_by_rule(star: Star) -> None:
    bob, alice = star.start().spokes
    alice.kill()
    tid = bob.hand_over("alice", ttl_s=SOON_S)
    record = bob.ended(tid, EXPIRY_DEADLINE_S)
    assert (record["reason"], record["delivered"], record["by"]) == ("expired", "not_delivered", "hub")
    alice.start().ready()
    star.linked(alice)
    assert alice.names("handoff") == []
    is_clean(*star.hosts)


def test_a_withdrawal_reaches_a_spoke_through_the_hub(star: Star) -> None:
    bob, alice = star.start().spokes
    tid = bob.hand_over("alice", ttl_s=600.0)
    alice.published(tid)
    bob.told("published", tid=tid)
    assert bob.command("reject", tid, "--yes").returncode == 0
    assert bob.ended(tid)["reason"] == "revoked"
    assert alice.names("handoff") == []


@pytest.mark.parametrize("who", ["hub", "alice", "bob"])
def test_whoever_is_killed_no_handoff_is_lost_and_none_comes_twice(star: Star, who: str) -> None:
    bob, alice = star.start().spokes
    victim = {"hub": star.hub, "alice": alice, "bob": bob}[who]
    tids = []
    for _ in range(6):
        tids += [bob.hand_over("alice", ttl_s=600.0) for _ in range(5)]
        victim.kill()
        victim.start().ready()
    for tid in tids:
        alice.archive(alice.claim(tid))
    for tid in tids:
        assert bob.ended(tid)["reason"] == "completed"
    assert len(alice.names("archive")) == len(tids)
    is_clean(*star.hosts)


def test_a_restart_of_the_hub_in_the_middle_of_a_poll_loses_nothing(star: Star) -> None:
    bob, alice = star.start().spokes
    tid = bob.hand_over("alice", ttl_s=600.0)
    name = alice.claim(tid)
    bob.told("claimed", tid=tid)
    star.hub.stop()
    alice.archive(name)
    alice.told("completed", tid=tid)
    star.hub.start().ready()
    assert bob.ended(tid)["reason"] == "completed"


def test_an_agent_that_nobody_knows_is_refused_by_the_hub_at_once(star: Star) -> None:
    bob, _ = star.start().spokes
    record = bob.ended(bob.hand_over("zoe"))
    assert record["reason"] == "unroutable"


def test_ten_spokes_hand_over_in_a_ring(place: Path) -> None:
    agents = [f"agent{number}" for number in range(10)]
    star = Star(place, *agents)
    with ending(*star.hosts):
        star.start()
        rounds = list(zip(star.spokes, [*star.spokes[1:], star.spokes[0]], strict=True))
        tids = [(source, target, source.hand_over(target.agent, ttl_s=600.0)) for source, target in rounds]
        for source, target, tid in tids:
            target.archive(target.claim(tid))
            assert source.ended(tid)["reason"] == "completed"


def test_a_backlog_drains_and_an_urgent_one_is_not_stuck_behind_it(star: Star) -> None:
    bob, alice = star.start().spokes
    alice.stop()
    many = [bob.hand_over("alice", ttl_s=3600.0) for _ in range(300)]
    for tid in many:
        until("the hub has it", lambda tid=tid: any(tid in name for name in star.hub.in_custody()))
    urgent = bob.hand_over("alice", ttl_s=120.0)
    until("the hub has the urgent one", lambda: any(urgent in name for name in star.hub.in_custody()))
    alice.start().ready()
    for tid in (urgent, *many):
        alice.published(tid)
    until("the journal tells of all", lambda: len(alice.journal("published")) == len(many) + 1)
    order = [line["tid"] for line in alice.journal("published")]
    # It is the first of its request; one of those that go at the same time may overtake that.
    assert order.index(urgent) % BATCH_ITEMS == 0, "oldest deadline first"


# ---------------------------------------------------------------- what lies between


class Proxy:
    """A TCP proxy that cuts connections on which nothing has passed for `idle_s`, as those of networks do."""

    def __init__(self, target: int, idle_s: float) -> None:
        self.target, self.idle_s, self.cuts = target, idle_s, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.target)) as server:
            last = [time.monotonic()]
            ways = [threading.Thread(target=self._pump, args=pair, daemon=True) for pair in _both(client, server, last)]
            for way in ways:
                way.start()
            while all(way.is_alive() for way in ways):
                if time.monotonic() - last[0] > self.idle_s:
                    self.cuts += 1
                    break
                time.sleep(0.05)
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, last: list[float]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                last[0] = time.monotonic()
                target.sendall(data)


def _both(client: socket.socket, server: socket.socket, last: list[float]) -> list[tuple[object, ...]]:
    return [(client, server, last), (server, client, last)]


def test_a_proxy_that_cuts_idle_connections_is_no_obstacle(place: Path) -> None:
    """Far below the 30 s that the polls keep to: every poll is cut, and handoffs come all the same."""
    dialled = Dialled(place)
    bob, alice = dialled.hosts
    proxy = Proxy(bob.tls_port, idle_s=3.0)
    pair_up(alice, bob, everything=False, port=proxy.port)
    with ending(bob, alice):
        dialled.start()
        until("polls were cut", lambda: proxy.cuts >= 3)
        tid = bob.hand_over("alice", ttl_s=600.0)
        alice.archive(alice.claim(tid))
        assert bob.ended(tid)["reason"] == "completed"
        proxy.listener.close()
