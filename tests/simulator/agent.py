"""The receiving agents: they claim by rename or over HTTP, end what they hold in every way there is, or delete it."""

import json
from typing import TYPE_CHECKING

from tests.simulator.host import SimHost
from tests.simulator.witness import Given

from handoffd.custody.layout import ARCHIVE, CLAIMED, HANDOFF, REJECTED
from handoffd.custody.message import Accept, Finish
from handoffd.protocol.name import Nonce

if TYPE_CHECKING:
    from tests.simulator.world import World

_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
MOVES, WRITES, REJECTS, DELETES = range(4)
"""How an agent ends what it holds."""


class Agents:
    """The agents of all hosts. `nonces`: those of claims over HTTP, by published name."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.nonces: dict[str, Nonce] = {}

    def claimable(self, host: SimHost) -> list[Given]:
        """Return what lies in handoff/ for the host's agent."""
        here = host.disk.folders[HANDOFF].now
        return [one for one in self._world.witness.given if one.target is host and one.published in here]

    def held(self, host: SimHost) -> list[Given]:
        """Return what the host's agent holds in claimed/."""
        here = host.disk.folders[CLAIMED].now
        return [one for one in self._world.witness.given if one.target is host and one.published in here]

    def accepted(self) -> list[Given]:
        """Return what was claimed over HTTP, or may have been."""
        return [one for one in self._world.witness.given if one.published in self.nonces]

    def claim(self, one: Given) -> None:
        """The agent renames it, as agents do."""
        one.target.disk.rename(HANDOFF, one.published, CLAIMED, one.published)
        self._world.witness.claimed(one)
        self._world.witness.look()

    def accept(self, one: Given) -> None:
        """An agent claims over HTTP, and asks again with the same nonce until it knows."""
        host = one.target
        fresh = one.published not in self.nonces
        nonce = self.nonces.setdefault(one.published, Nonce(f"n{len(self.nonces)}"))
        answers = self._world.at(host, host.engine.accept, [Accept(host.agent, one.tid, nonce)])
        if answers and answers[0].status == 200:
            if one.claims == 0:
                self._world.witness.claimed(one)
            self._world.witness.look()
        elif answers and answers[0].status != 503 and fresh:
            del self.nonces[one.published]

    def finish(self, one: Given, *, reject: bool) -> None:
        """An agent ends over HTTP what it accepted."""
        if not one.claims:
            return
        host, artefact = one.target, None if reject else _final(one)
        if self._world.witness.end(host, one) is None:
            one.excused = one.excused or (one.archived and reject)  # it says one thing and has done another
            one.archived = one.archived or not reject
        self._world.at(host, host.engine.finish, [Finish(host.agent, one.tid, reject, artefact)])

    def end(self, one: Given, way: int) -> None:
        """The agent ends what it holds: moves it, archives other bytes, rejects, or deletes it."""
        disk = one.target.disk
        if way == MOVES:
            disk.rename(CLAIMED, one.published, ARCHIVE, one.published)
            one.archived = True
        elif way == WRITES:
            disk.write(ARCHIVE, f"1795168801-{one.source.agent}-{one.target.agent}-{one.caller}.json", _final(one))
            disk.remove(CLAIMED, one.published)
            one.archived = True
        elif way == REJECTS:
            disk.write(REJECTED, one.published, _rejected(one))
            disk.remove(CLAIMED, one.published)
        else:
            disk.remove(CLAIMED, one.published)
            one.excused = True
        self._world.witness.look()


def _final(one: Given) -> bytes:
    return _COMPACT({**json.loads(one.data), "transcript": [{"role": "user", "text": "bye"}]}).encode()


def _rejected(one: Given) -> bytes:
    return _COMPACT({**json.loads(one.data), "rejection_reason": "busy"}).encode()
