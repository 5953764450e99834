"""Long polls: who waits for news of a peer's handoffs or of an agent's, and how they are woken.

It knows no handoff; news only says that asking again is worth it. Everything here runs on the event loop. The rule
that must stay true: a version read before asking custody makes a lost wake-up impossible, because news that comes
between asking and waiting has raised the version.
"""

import asyncio
from collections import defaultdict
from typing import Protocol


class Caller(Protocol):
    """The client that waits: `waiter` is settled and `gone` set when it leaves, so that nobody waits for it.

    `near`: it is on this host itself.
    """

    waiter: "asyncio.Future[None] | None"
    gone: bool
    near: bool


class Notifier:
    """Rings for peers (their host name) and agents (`@name`), the two kinds of `<peer>` in paths.

    `closed` tells that all of it ends.
    """

    def __init__(self) -> None:
        self._versions: defaultdict[str, int] = defaultdict(int)
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self.closed = False

    def changed(self, peer: str) -> None:
        """Tell that a transfer from this peer has a higher state (news `Changed`)."""
        self._ring(peer)

    def waiting(self, agent: str) -> None:
        """Tell that something became claimable for this agent (news `Waiting`)."""
        self._ring("@" + agent)

    def ring_all(self) -> None:
        """Wake whoever waits, for whatever: who may ask has changed."""
        for name in list(self._waiters):
            self._ring(name)

    def version(self, name: str) -> int:
        """Return how often it rang for this name; read it before asking, hand it to `wait`."""
        return self._versions[name]

    def waiters(self, name: str) -> int:
        """Return how many wait for this name."""
        return len(self._waiters.get(name, ()))

    async def wait(self, name: str, seen: int, caller: Caller, until_s: float) -> bool:
        """Wait until it has rung since `seen`; False when `until_s` (loop time) passed, the caller left or all ends."""
        if self._versions[name] == seen and not self.closed and not caller.gone:
            await self._wait_once(name, caller, until_s)
        return self._versions[name] != seen

    async def _wait_once(self, name: str, caller: Caller, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = caller.waiter = loop.create_future()
        timer = loop.call_at(until_s, settle, waiter)
        self._waiters.setdefault(name, set()).add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            caller.waiter = None
            self._waiters.get(name, set()).discard(waiter)

    def over(self, caller: Caller) -> bool:
        """Tell whether waiting on is of no use: all ends, or this caller has left."""
        return self.closed or caller.gone

    def owed(self, name: str) -> None:
        """Tell that something waits for a peer that dials in (news `Owed`); hub/visit.py makes the name."""
        self._ring(name)

    def close(self) -> None:
        """Send every waiter home with what there is; later ones do not wait."""
        self.closed = True
        for name in list(self._waiters):
            self._wake(name)

    def _ring(self, name: str) -> None:
        self._versions[name] += 1
        self._wake(name)

    def _wake(self, name: str) -> None:
        for waiter in self._waiters.pop(name, ()):
            settle(waiter)


def settle(waiter: "asyncio.Future[None]") -> None:
    """Let whoever awaits this go on, if it still waits."""
    if not waiter.done():
        waiter.set_result(None)
