"""What a daemon would do with the files that lie in handoff/ now, counted before it is started.

It reads and never moves. The rule that must stay true: it follows the order in which a take decides (docs/custody.md
section 5), so that nobody is surprised by the first start.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from handoffd.config import Config
from handoffd.custody.household import Homes, known_agents
from handoffd.custody.layout import HANDOFF
from handoffd.custody.reading import read_file
from handoffd.protocol.admission import Inadmissible, admit
from handoffd.protocol.name import AgentName, HostName, is_file_name, tid_of_published
from handoffd.protocol.payload import Route, route


class Fate(StrEnum):
    """What becomes of a file; the words are shown to people."""

    TAKEN = "will be taken and carried"
    REFUSED = "will be taken and rejected as malformed or too large"
    EXPIRED = "has expired and will be moved to rejected/"
    UNROUTABLE = "is for an agent nobody knows and will be rejected when it expires"
    LOCAL = "is left alone: for an agent of this host"
    FOREIGN = "is left alone: its sender does not live on this host"
    ODD = "is left alone: not a readable handoff, or not a handoff's file name"
    PUBLISHED = "was published by handoffd"
    UNASSIGNED = "can't be told without a configuration"


@dataclass(frozen=True, slots=True)
class Survey:
    """How many files meet which fate, by sender and target (None where the file does not say)."""

    counts: Mapping[tuple[Fate, str | None, str | None], int]

    def total(self, fate: Fate) -> int:
        """Return how many files meet this fate."""
        return sum(count for (each, _, _), count in self.counts.items() if each is fate)


@dataclass(frozen=True, slots=True)
class Household:
    """Who lives where, as far as a survey needs it; `None` in its place: no configuration."""

    agents: frozenset[AgentName]
    remote: Homes
    max_payload_bytes: int
    max_ttl_s: float

    @classmethod
    def of(cls, config: Config) -> "Household":
        """Return what the configuration says."""
        named = {agent: tuple(map(HostName, peers)) for agent, peers in config.homes.items()}
        remote = Homes(named, HostName(config.default_peer) if config.default_peer else None)
        local = frozenset(map(AgentName, config.agents))
        return cls(local, remote, config.limits.max_payload_bytes, float(config.limits.max_ttl_s))


def survey(root: Path, household: Household | None, now_s: float) -> Survey:
    """Count the files of handoff/. Files that vanish meanwhile are not counted. Raises OSError."""
    return Survey(Counter(_fates(root, household, now_s)))


def _fates(root: Path, household: Household | None, now_s: float) -> Iterator[tuple[Fate, str | None, str | None]]:
    for name in sorted(os.listdir(root / HANDOFF)):
        if name.startswith("."):
            continue  # an agent is still writing it
        if tid_of_published(name) is not None:
            yield Fate.PUBLISHED, None, None
            continue
        read = read_file(root / HANDOFF / name) if is_file_name(name) else None
        data = read[0] if read else b""
        way = route(data)
        pair = (way.sender, way.to) if way else (None, None)
        yield _fate(data, way, household, now_s), *pair


def _fate(data: bytes, way: Route | None, household: Household | None, now_s: float) -> Fate:
    if way is None:
        return Fate.ODD
    expired = way.expires_at is not None and way.expires_at < now_s
    if household is None:
        return Fate.EXPIRED if expired else Fate.UNASSIGNED
    if way.to in household.agents:
        return Fate.EXPIRED if expired else Fate.LOCAL
    if way.sender not in household.agents:
        return Fate.FOREIGN
    if way.to not in household.remote:
        return Fate.EXPIRED if expired else Fate.UNROUTABLE
    return _admission(data, household) or (Fate.EXPIRED if expired else Fate.TAKEN)


def _admission(data: bytes, household: Household) -> Fate | None:
    try:
        admit(
            data,
            agents=known_agents(household.remote, household.agents),
            max_ttl_s=household.max_ttl_s,
            limit_bytes=household.max_payload_bytes,
        )
    except Inadmissible:
        return Fate.REFUSED
    return None
