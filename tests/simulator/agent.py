"""The receiving agents: they claim by rename or over HTTP, end what they hold in every way there is, or delete it."""

import json
from collections.abc import Container
from typing import TYPE_CHECKING

from tests.simulator.given import Given
from tests.simulator.host import SimHost

from handoffd.custody.layout import ARCHIVE, CLAIMED, HANDOFF, REJECTED
from handoffd.custody.message import Accept, Finish
from handoffd.protocol.name import Nonce

if TYPE_CHECKING:
    from tests.simulator.world import World

_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
MOVES, WRITES, REJECTS, DELETES, REWRITES, PUTS_BACK = range(6)
"""How an agent ends what it holds, or lets go of it."""


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
        return [one for one in self._world.witness.given if one.target is host and _name_in(here, one)]

    def accepted(self) -> list[Given]:
        """Return what was claimed over HTTP, or may have been."""
        return [one for one in self._world.witness.given if one.published in self.nonces]

    def claim(self, one: Given, *, renames: bool = False) -> None:
        """The agent renames it, as agents do; `renames`: to a name of its own."""
        one.target.disk.rename(HANDOFF, one.published, CLAIMED, _own_name(one) if renames else one.published)
        self._world.witness.claimed(one)
        self._world.witness.look()

    def accept(self, one: Given) -> None:
        """An agent claims over HTTP, and asks again with the same nonce until it knows."""
        host = one.target
        fresh = one.published not in self.nonces
        nonce = self.nonces.setdefault(one.published, Nonce(f"n{len(self.nonces)}"))
        answers = self._world.at(host, host.engine.accept, [Accept(host.agent, one.tid, nonce)])
        if answers and answers[0].status == 200:
            self._world.witness.accepted(one, fresh=fresh)
            self._rival(one)
        elif answers and answers[0].status != 503 and fresh:
            del self.nonces[one.published]

    def _rival(self, one: Given) -> None:
        """Another client of the same agent comes too late."""
        host = one.target
        answers = self._world.at(host, host.engine.accept, [Accept(host.agent, one.tid, Nonce("rival"))])
        if answers and answers[0].status == 200:
            self._world.witness.claimed(one)

    def finish(self, one: Given, *, reject: bool) -> None:
        """An agent ends over HTTP what it accepted."""
        if not one.claims:
            return
        host, artefact = one.target, None if reject else _final(one)
        if self._world.witness.end(host, one) is None:
            one.said.add(reject)
            has_done = bool(one.left_as[1])
            one.excused = (
                one.excused or has_done or len(one.said) > 1
            )  # it says one thing and has done, or said, another
            one.archived = one.archived or not reject
        self._world.at(host, host.engine.finish, [Finish(host.agent, one.tid, reject, artefact)])

    def end(self, one: Given, way: int) -> None:
        """The agent moves what it holds, archives other bytes, rejects, deletes, or rewrites it in place and moves it;
        or it puts it back into handoff/."""
        disk = one.target.disk
        name = _name_in(disk.folders[CLAIMED].now, one)
        if one.put_back and not one.claims:
            self._world.witness.claimed(one)  # a power cut has undone that it was put back
        if way == MOVES:
            one.left_as = (ARCHIVE, name)
            disk.rename(CLAIMED, name, ARCHIVE, name)
            one.archived = True
        elif way == WRITES:
            one.left_as = (ARCHIVE, f"1795168801-{one.source.agent}-{one.target.agent}-{one.caller}.json")
            disk.write(*one.left_as, _final(one))
            disk.remove(CLAIMED, name)
            one.archived = True
        elif way == REWRITES:
            one.rewritten, one.left_as = True, (ARCHIVE, name)
            disk.rewrite(CLAIMED, name, _final(one))
            self._world.witness.look()
            disk.rename(CLAIMED, name, ARCHIVE, name)
            one.archived = True
        elif way == PUTS_BACK and self._may_put_back(one):
            self._world.witness.put_back(one)
            disk.rename(CLAIMED, name, HANDOFF, one.published)
        elif way == REJECTS:
            one.left_as = (REJECTED, one.published)
            disk.write(*one.left_as, _rejected(one))
            disk.remove(CLAIMED, name)
        else:
            disk.remove(CLAIMED, name)
            one.excused = True
        self._world.witness.look()

    def _may_put_back(self, one: Given) -> bool:
        """What has ended, or was claimed over HTTP, is another file once it is put back: nobody's promise."""
        ended = one.archived or self._world.witness.end(one.target, one) is not None
        return not ended and one.published not in self.nonces


def _own_name(one: Given) -> str:
    return f"mine-{one.tid[:12]}.json"


def _name_in(claimed: Container[str], one: Given) -> str:
    """Return its name in claimed/, empty if it is not there."""
    return next((name for name in (one.published, _own_name(one)) if name in claimed), "")


def _final(one: Given) -> bytes:
    return _COMPACT({**json.loads(one.data), "transcript": [{"role": "user", "text": "bye"}]}).encode()


def _rejected(one: Given) -> bytes:
    return _COMPACT({**json.loads(one.data), "rejection_reason": "busy"}).encode()
