"""How the hosts of a world are connected: who calls whom, and who passes on what.

It owns the settings of each host and knows no history. In a mesh every host pushes to every other one. In a star all
but the first dial in to it: what is for them they lease, and what they have for each other it passes on.
"""

from collections.abc import Sequence

from handoffd.custody.household import EVERYONE
from handoffd.custody.message import Principal
from handoffd.custody.tree import Settings
from handoffd.protocol.name import AgentName, HostName

MESH, STAR = "mesh", "star"
SHAPES = (MESH, STAR)
AGENTS = ("bob", "alice", "carol", "dave", "erin")
Named = tuple[HostName, AgentName]


def inhabitants(count: int) -> list[Named]:
    """Return that many hosts, and the agent that lives at each."""
    return [(HostName(f"host-{'abcde'[number]}"), AgentName(AGENTS[number])) for number in range(count)]


def settings(named: Sequence[Named], shape: str) -> list[Settings]:
    """Return the settings of each host."""
    if shape == MESH:
        return [_of_mesh(number, named) for number in range(len(named))]
    return [_of_hub(named), *(_of_leaf(one, named) for one in named[1:])]


def _of_mesh(number: int, named: Sequence[Named]) -> Settings:
    host, agent = named[number]
    others = {other: frozenset({its}) for other, its in named if other != host}
    return Settings(host=host, agents=frozenset({agent}), peers=others)


def _of_hub(named: Sequence[Named]) -> Settings:
    (host, agent), *leaves = named
    return Settings(
        host=host,
        agents=frozenset({agent}),
        peers={leaf: frozenset({its}) for leaf, its in leaves},
        pulls=frozenset(leaf for leaf, _ in leaves),
    )


def _of_leaf(one: Named, named: Sequence[Named]) -> Settings:
    (host, agent), (hub, hubs) = one, named[0]
    relays = len(named) > 2
    return Settings(
        host=host,
        agents=frozenset({agent}),
        peers={hub: frozenset({hubs})},
        relays=frozenset({hub}) if relays else frozenset(),
        default_peer=hub if relays else None,
    )


def principal(number: int, named: Sequence[Named], shape: str) -> Principal:
    """Return whom a host's token speaks for at its peers."""
    host, agent = named[number]
    relays = shape == STAR and number == 0 and len(named) > 2
    return Principal(host, None, EVERYONE if relays else frozenset({agent}))
