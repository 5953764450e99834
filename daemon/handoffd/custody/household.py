"""Who lives where: at one peer or at several, with room for "everyone else": the peer that agents nobody names live at.

It decides nothing. The rule that must stay true: a name is looked up here only after it was found to be a legal one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

from handoffd.protocol.name import AgentName, HostName

SHARED: Final = "@"
"""Begins the `<peer>` under which waits what whichever of several peers may have: `@agent`."""


class Homes(Mapping[str, str]):
    """Agent to the `<peer>` whose outbox/ its handoffs wait in: the peer it lives at; `@agent` if these are several.

    `default` is the peer of every agent that is not named (`agents: ["*"]`).
    """

    def __init__(self, named: Mapping[str, Sequence[HostName]], default: HostName | None = None) -> None:
        self._where = {agent: at[0] if len(at) == 1 else f"{SHARED}{agent}" for agent, at in named.items()}
        self.default = default
        self._named = {agent: tuple(at) for agent, at in named.items()}

    def __getitem__(self, agent: str) -> str:
        """Return the `<peer>` that what is for the agent waits for."""
        return self._where[agent] if self.default is None else self._where.get(agent, self.default)

    def __iter__(self) -> Iterator[str]:
        """The agents that are named."""
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, agent: object) -> bool:
        return self.default is not None or agent in self._where

    def takers(self, where: str) -> tuple[HostName, ...]:
        """Return who may have what waits for this `<peer>`: itself, or today's homes of the agent of `@agent`."""
        if not where.startswith(SHARED):
            return (HostName(where),)
        return self._named.get(where[1:], (self.default,) if self.default else ())

    def shared(self) -> tuple[str, ...]:
        """Return the `@agent` of every agent that has several homes."""
        return tuple(where for where in self._where.values() if where.startswith(SHARED))


class _Everyone(frozenset[AgentName]):
    """The set of all agents: what a peer marked `relay` may send from."""

    def __contains__(self, agent: object) -> bool:
        return True

    def __or__(self, other: Set[object]) -> "_Everyone":
        return self

    __ror__ = __or__


EVERYONE: Final = _Everyone()


def known_agents(homes: Homes, local: Iterable[AgentName]) -> Set[str]:
    """Return the agents a payload may name."""
    return EVERYONE if homes.default is not None else frozenset(homes) | frozenset(local)
