"""What waits in `handoff/` for one agent, found by looking.

It knows file names and routes and never claims. The rule that must stay true: the directory is the truth at every
look; what is remembered only saves reading an unchanged file again.
"""

import os
from dataclasses import dataclass

from handoffd.agent.directory import Directories, names_in, open_regular, read_all
from handoffd.protocol.name import AgentName, FileName
from handoffd.protocol.payload import Route, route
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES


@dataclass(frozen=True, slots=True)
class _Seen:
    stamp: tuple[int, int, int]
    route: Route | None


class Waiting:
    """The handoffs addressed to one agent, oldest first."""

    def __init__(self, places: Directories, agent: AgentName) -> None:
        self._places = places
        self._agent = agent
        self._seen: dict[FileName, _Seen] = {}

    def names(self, now: float) -> list[FileName]:
        """Return the files that may be claimed at `now`; those past expires_at are the janitor's."""
        looked = ((name, self._look(name)) for name in names_in(self._places.handoff))
        self._seen = {name: seen for name, seen in looked if seen is not None}
        mine = [(seen.stamp, name) for name, seen in self._seen.items() if self._is_claimable(seen.route, now)]
        return [name for _, name in sorted(mine)]

    def _is_claimable(self, found: Route | None, now: float) -> bool:
        if found is None or found.to != self._agent:
            return False
        # An unreadable expiry is not "later": the file is claimed and refused as malformed.
        return found.expires_at is None or now < found.expires_at

    def _look(self, name: FileName) -> _Seen | None:
        fd = open_regular(self._places.handoff / name)
        if fd is None:
            return None
        try:
            status = os.fstat(fd)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._seen.get(name)
            if known is not None and known.stamp == stamp:
                return known
            return _Seen(stamp, route(read_all(fd, ROUTE_LIMIT_BYTES)))
        finally:
            os.close(fd)
