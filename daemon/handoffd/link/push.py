"""A push link: this daemon reaches the peer, sends it payloads and asks what became of them.

It owns the wiring of the link's jobs and their common life. It does not know what they do. The rule that must stay
true: a job that dies takes the whole link and with it the daemon down; there is no half a link.
"""

import asyncio

from handoffd.custody.message import Offer
from handoffd.link.artefact import Fetcher
from handoffd.link.client import PeerClient
from handoffd.link.gate import Gate
from handoffd.link.payer import Payer
from handoffd.link.sender import Sender
from handoffd.link.ties import Ties
from handoffd.protocol.name import AgentName, HostName


class PeerLink:
    """The link to one peer. Make it on the running loop, `run` it as one task; the other methods are for that loop.

    `host` is our own name, `local` the agents at home here, `version` our handoffd's, `pins` the fingerprints of the
    pinned certificates, for messages only.
    """

    def __init__(
        self,
        ties: Ties,
        client: PeerClient,
        host: HostName,
        local: frozenset[AgentName],
        version: str,
        pins: tuple[str, ...] = (),
    ) -> None:
        self._ties = ties
        self._client = client
        self._gate = Gate(ties, client, local, version, pins)
        self._sender = Sender(ties, client, self._gate, host)
        fetcher = Fetcher(ties, client, self._gate)
        self._payer = Payer(ties, client, self._gate, self._sender, fetcher)
        self._jobs = (
            self._gate.run,
            self._sender.run,
            fetcher.run,
            self._payer.follower.run,
            self._payer.run,
        )

    async def run(self) -> None:
        """Carry until cancelled. What waits here when it ends goes back to custody."""
        try:
            async with asyncio.TaskGroup() as group:
                for job in self._jobs:
                    group.create_task(job())
        finally:
            await self._sender.drop()
            await self._client.close()

    def offer(self, offer: Offer) -> None:
        """Carry a payload custody has just taken; it is settled in any case."""
        self._sender.offer(offer)

    def nudge(self) -> None:
        """Probe soon: the peer has just been heard, so it is worth trying."""
        self._gate.nudge()

    def owed(self) -> None:
        """Custody has something for this peer: payloads due, a revoke, a forget, an artefact to fetch."""
        self._payer.owed()

    def status(self) -> dict[str, object]:
        """Return the link's state for a person, JSON types only."""
        gate, hearing = self._gate.status(), self._payer.follower.hearing
        return {
            "peer": self._ties.peer,
            "mode": "push",
            **gate,
            "error": gate["error"] or (hearing.trouble and hearing.trouble.fields()),
            "in_flight": self._sender.in_flight,
            "waiting": self._sender.waiting,
            "unreadable": hearing.unreadable or None,
        }
