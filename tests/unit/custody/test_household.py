"""Who lives where, with everyone else at one peer."""

import pytest

from handoffd.custody.household import EVERYONE, Homes, known_agents
from handoffd.protocol.name import AgentName, HostName

HUB, BOB = HostName("hub"), AgentName("bob")


def test_without_a_default_only_the_named_have_a_home() -> None:
    homes = Homes({"alice": [HUB]})
    assert ("alice" in homes, "carol" in homes) == (True, False)
    assert homes.get("carol") is None
    with pytest.raises(KeyError):
        homes["carol"]
    assert known_agents(homes, [BOB]) == {"alice", "bob"}


def test_with_a_default_everybody_has_one_and_the_named_keep_theirs() -> None:
    homes = Homes({"alice": [HostName("alice-vm")]}, HUB)
    assert (homes["alice"], homes["carol"], homes.get("carol")) == ("alice-vm", "hub", "hub")
    assert "carol" in known_agents(homes, [BOB])


def test_what_waits_for_an_agent_of_several_homes_is_for_each_of_them() -> None:
    here, there = HostName("b-vm"), HostName("c-vm")
    homes = Homes({"alice": [here, there], "dora": [here]}, HUB)
    assert (homes["alice"], homes["dora"]) == ("@alice", "b-vm")
    assert (homes.takers("@alice"), homes.takers("b-vm")) == ((here, there), (here,))
    assert homes.shared() == ("@alice",)


def test_what_waited_for_several_homes_is_for_whoever_is_a_home_now() -> None:
    assert Homes({"alice": [HUB]}).takers("@alice") == (HUB,)
    assert Homes({}, HUB).takers("@alice") == (HUB,)
    assert Homes({}).takers("@alice") == ()


def test_everyone_stays_everyone_in_every_union() -> None:
    some = frozenset({BOB})
    assert "zed" in (EVERYONE | some)
    assert "zed" in (some | EVERYONE)
