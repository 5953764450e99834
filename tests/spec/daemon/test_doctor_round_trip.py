"""The round trip of doctor between two daemons that nothing is wrong with."""

import json
from concurrent.futures import ThreadPoolExecutor

from tests.spec.daemon.rig import Pair, until
from tests.spec.daemon.said import doctor


def test_a_healthy_pair_makes_the_round_trip_and_nothing_shows_it_to_an_agent(calm_pair: Pair) -> None:
    for host, peer in ((calm_pair.bob, calm_pair.alice), (calm_pair.alice, calm_pair.bob)):
        said = doctor(host).healthy()
        (line,) = said.lines("ok    round trip")
        assert f"  {peer.name} in " in line
        hops = ("taken", "stored", "claimed", "completed", "home")
        assert [line.index(hop) for hop in hops] == sorted(line.index(hop) for hop in hops)
    for host in calm_pair.hosts:
        for place in ("handoff", "claimed", "archive", "rejected"):
            assert host.names(place) == []
        until(f"{host.name} holds nothing", lambda host=host: host.in_custody() == [])  # type: ignore[misc]


def test_it_says_the_same_as_json(calm_pair: Pair) -> None:
    told = json.loads(doctor(calm_pair.bob, "--json").healthy().out)
    (trip,) = [one for one in told["findings"] if one["word"] == "round trip"]
    assert (told["ok"], told["host"], trip["peer"]) == (True, "bob-vm", "alice-vm")
    assert next(iter(trip["ms"])) == "taken"
    assert trip["ms"]["home"] >= trip["ms"]["taken"] >= 0
    assert calm_pair.bob.ended(trip["tid"])["from"] == "handoffd-canary"


def test_several_doctors_at_once_do_not_take_each_other_for_a_fault(calm_pair: Pair) -> None:
    with ThreadPoolExecutor(3) as doctors:
        for said in doctors.map(lambda _: calm_pair.bob.command("doctor"), range(3)):
            assert said.returncode == 0, said.stdout
