"""How many clients may be in at once, and from where.

It owns the count and knows no socket. The rules that must stay true: whatever strangers do on an address that other
hosts can reach, there is room for this host's own agents, and for clients of other addresses; whoever entered leaves
exactly once.
"""

import ipaddress
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

_NETWORK_BITS: Final = 64
"""One IPv6 client can have every address of its /64."""


class Reach(Enum):
    """Who can come to a listener: the operator by the unix socket, this host by loopback, anybody."""

    SOCKET = auto()
    NEAR = auto()
    FAR = auto()


@dataclass(frozen=True, slots=True)
class Room:
    """Clients that may be in: on loopback listeners, on all others together, and of these from one address."""

    near: int
    far: int
    for_one: int


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One client's place, taken by `enter`."""

    reach: Reach
    origin: str


class Crowd:
    """Counts who is in. The operator always comes in."""

    def __init__(self, room: Room) -> None:
        self._limits = {Reach.NEAR: room.near, Reach.FAR: room.far}
        self._for_one = room.for_one
        self._in: set[Place] = set()
        self._by_reach: Counter[Reach] = Counter()
        self._by_origin: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many are in."""
        return len(self._in)

    def enter(self, reach: Reach, address: Any) -> Place | None:
        """Take a place for a client at this socket address; None when there is none left for it."""
        origin = _origin(address) if reach is Reach.FAR else ""
        full = reach in self._limits and self._by_reach[reach] >= self._limits[reach]
        if full or (origin and self._by_origin[origin] >= self._for_one):
            return None
        place = Place(reach, origin)
        self._in.add(place)
        self._by_reach[reach] += 1
        self._by_origin[origin] += 1
        return place

    def leave(self, place: Place) -> None:
        """Give a place back; again does nothing."""
        if place not in self._in:
            return
        self._in.discard(place)
        self._by_reach[place.reach] -= 1
        self._by_origin[place.origin] -= 1
        if not self._by_origin[place.origin]:
            del self._by_origin[place.origin]


def _origin(address: Any) -> str:
    host = ipaddress.ip_address(str(address[0]).partition("%")[0])
    return str(host) if host.version == 4 else str(ipaddress.ip_network((host, _NETWORK_BITS), strict=False))
