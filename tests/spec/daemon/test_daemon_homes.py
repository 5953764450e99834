"""One agent at home on three hosts, as whole daemons: partitions and kill -9 while a thousand handoffs pass."""

import contextlib
import http.client
import json
import os
import random
import signal
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.spec.daemon.cable import Cable
from tests.spec.daemon.rig import Host, Told, ending, until
from tests.spec.daemon.star import deaf, is_up, pair_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HANDOFFS = 1_000
PORTION = 40
"""After so many, something happens to a cable or a daemon."""
NAMES = ("desk", "laptop", "kitchen")
DEADLINE_S = 240.0
LEASE_ITEMS = 100


class Homes:
    """bob's host, and three that alice lives on, each at the end of a cable."""

    def __init__(self, directory: Path) -> None:
        self.hub = Host(directory / "hub", "hub", "bob")
        self.hub.init()
        self.homes = [Host(directory / name, name, "alice") for name in NAMES]
        self.cables = {home.name: Cable(self.hub.tls_port) for home in self.homes}
        for home in self.homes:
            home.init()
            deaf(home)
            pair_up(home, self.hub, everything=False, port=self.cables[home.name].port)
        self.hosts = (self.hub, *self.homes)

    def start(self) -> "Homes":
        for host in self.hosts:
            host.start()
        self.linked()
        return self

    def linked(self) -> None:
        for host in self.hosts:
            host.ready()
        for home in self.homes:
            until(f"{home.name} has dialled in", lambda home=home: is_up(self.hub, home.name) and is_up(home, "hub"))

    def mend(self) -> None:
        for cable in self.cables.values():
            cable.mend()
        for host in self.hosts:
            host.revive()
        self.linked()

    def lease(self, home: Host, tids: list[str]) -> list[Told]:
        """Ask the hub for these as the link of this home would."""
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.hub.tls_port, context=unverified, timeout=60.0)
        headers = {
            "Authorization": f"Bearer {(home.directory / 'peers/hub.out').read_text().strip()}",
            "Handoffd-Epoch": epoch(self.hub),
            "Handoffd-From-Epoch": epoch(home),
        }
        with contextlib.closing(connection):
            connection.request("POST", "/api/v1/handoffs/lease", json.dumps({"tids": tids}), headers)
            answer = connection.getresponse()
            told: Told = json.loads(answer.read())
        assert answer.status == 200, told
        results: list[Told] = told["results"]
        return results


def epoch(host: Host) -> str:
    return (host.root / "relay/epoch").read_text().strip()


class Alice(threading.Thread):
    """The agent on one host. She claims what she sees, files every other one at once, and keeps the rest until told."""

    def __init__(self, home: Host) -> None:
        super().__init__(daemon=True)
        self.home, self.seen, self.claimed = home, set[str](), list[str]()
        self.keeps, self.over = True, threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for name in self.home.names("handoff"):
                self.seen.add(tid_in(name))
                with contextlib.suppress(FileNotFoundError):  # taken back meanwhile, as a start after a kill may
                    os.rename(self.home.root / "handoff" / name, self.home.root / "claimed" / name)
                    self.claimed.append(tid_in(name))
            for name in self.home.names("claimed"):
                self.seen.add(tid_in(name))
                if not self.keeps or int(tid_in(name)[:2], 16) % 2:
                    self.home.archive(name)
            self.over.wait(0.02)

    def end(self) -> None:
        self.over.set()
        self.join()


def tid_in(name: str) -> str:
    return name.rpartition("-r")[2].removesuffix(".json")


@pytest.fixture
def homes(place: Path) -> Iterator[Homes]:
    homes = Homes(place)
    with ending(*homes.hosts):
        yield homes
    for cable in homes.cables.values():
        cable.close()


@pytest.fixture
def alices(homes: Homes) -> Iterator[list[Alice]]:
    alices = [Alice(home) for home in homes.homes]
    yield alices
    for alice in alices:
        if alice.is_alive():
            alice.end()


def trouble(homes: Homes, chance: random.Random) -> None:
    """Something happens: a kill -9 and a new start, or a cable is cut, hung or mended."""
    kind = chance.choice(["kill", "kill hub", "cut", "cut", "hang", "mend", "mend"])
    home = chance.choice(homes.homes)
    if kind.startswith("kill"):
        victim = homes.hub if kind == "kill hub" else home
        victim.kill()
        victim.start().ready()
    else:
        getattr(homes.cables[home.name], kind)()


def test_of_a_thousand_handoffs_each_is_leased_by_one_home_whatever_happens(homes: Homes, alices: list[Alice]) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    chance = random.Random(seed)
    homes.start()
    for alice in alices:
        alice.start()
    tids = [tid for alice in alices for tid in alone(homes, alice)]
    while len(tids) < HANDOFFS:
        tids += [homes.hub.hand_over("alice", ttl_s=3600.0) for _ in range(PORTION)]
        trouble(homes, chance)
        until("the hub has taken them", lambda: not homes.hub.names("handoff"), DEADLINE_S)
    homes.mend()
    until("all are claimed", lambda: sum(len(alice.claimed) for alice in alices) >= HANDOFFS, DEADLINE_S)

    claims = Counter(tid for alice in alices for tid in alice.claimed)
    assert set(claims) == set(tids)
    assert set(claims.values()) == {1}, "claimed twice"
    kept = {alice.home.name: [tid for tid in alice.claimed if int(tid[:2], 16) % 2 == 0] for alice in alices}
    losers_are_refused(homes, kept)

    for alice in alices:
        alice.keeps = False
    for tid in tids:
        assert homes.hub.ended(tid, DEADLINE_S)["reason"] == "completed"
    for alice in alices:
        alice.end()
    the_ledger_is_balanced(homes, alices, tids)


def alone(homes: Homes, alice: Alice) -> list[str]:
    """With the other two cut off, one home gets all there is."""
    for home in homes.homes:
        if home is not alice.home:
            homes.cables[home.name].cut()
    tids = [homes.hub.hand_over("alice", ttl_s=3600.0) for _ in range(PORTION)]
    until(f"{alice.home.name} has claimed them", lambda: set(tids) <= set(alice.claimed), DEADLINE_S)
    homes.mend()
    return tids


def losers_are_refused(homes: Homes, kept: dict[str, list[str]]) -> None:
    """Of what one home has, every other one gets a 409 and no bytes."""
    for name, tids in kept.items():
        for home in homes.homes:
            for start in range(0, len(tids) if home.name != name else 0, LEASE_ITEMS):
                part = tids[start : start + LEASE_ITEMS]
                results = homes.lease(home, part)
                assert [result["tid"] for result in results] == part
                assert {(result["code"], result["reason"]) for result in results} == {(409, "already_claimed")}
                assert not any("payload" in result for result in results)


def the_ledger_is_balanced(homes: Homes, alices: list[Alice], tids: list[str]) -> None:
    seen = Counter(tid for alice in alices for tid in alice.seen)
    assert seen == dict.fromkeys(tids, 1), "visible on two hosts"
    for host in homes.hosts:
        until(f"{host.name} holds nothing", lambda host=host: host.in_custody() == [], DEADLINE_S)
        assert host.command("fsck").returncode == 0
    ends = {home.name: {name.removesuffix(".json") for name in home.names("relay/outcome")} for home in homes.homes}
    assert sum(len(own) for own in ends.values()) == len(tids), "an outcome on two homes, or on none"
    for alice in alices:
        name = alice.home.name
        assert ends[name] == set(alice.claimed)
        assert len(alice.home.names("archive")) == len(alice.claimed)
        assert {homes.hub.ended(tid)["by"] for tid in alice.claimed} <= {name}
    assert len(homes.hub.names("archive")) == len(tids)
    told = homes.hub.tell("status")
    assert (told["handoffs"], told["in_doubt"], homes.hub.names("rejected")) == ([], [], [])


def test_homes_come_and_go_by_a_reload(homes: Homes) -> None:
    """What waits for whichever home is for those of today; what was leased stays where it is."""
    homes.start()
    desk, laptop, kitchen = homes.homes
    for home in (laptop, kitchen):
        home.stop()
    leased = homes.hub.hand_over("alice", ttl_s=3600.0)
    desk.published(leased)
    desk.stop()
    waits = homes.hub.hand_over("alice", ttl_s=3600.0)
    until("it waits for any", lambda: any("@alice" in path and waits in path for path in homes.hub.in_custody()))
    until(
        "the status tells of it",
        lambda: [(one["agent"], one["count"]) for one in homes.hub.tell("status")["shared"]] == [("alice", 1)],
    )

    for gone in (desk, laptop):
        (homes.hub.directory / f"peers.d/{gone.name}.yaml").unlink()
    homes.hub.signal(signal.SIGHUP)
    homes.hub.told("config_reloaded")
    kitchen.start().ready()
    kitchen.archive(kitchen.claim(waits))
    assert homes.hub.ended(waits)["by"] == "kitchen"

    pair_up(desk, homes.hub, everything=False, port=homes.cables["desk"].port)
    reloads = len(homes.hub.journal("config_reloaded"))
    homes.hub.signal(signal.SIGHUP)
    until("the hub has reloaded", lambda: len(homes.hub.journal("config_reloaded")) > reloads)
    desk.start().ready()
    desk.archive(desk.claim(leased))
    assert homes.hub.ended(leased)["by"] == "desk"
    assert kitchen.names("archive") != []
    assert kitchen.journal("published", tid=leased) == []
