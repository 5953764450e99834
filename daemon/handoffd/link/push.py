"""A link to a peer that this daemon reaches: it sends payloads and asks what became of them, and it takes what is ours
from a peer that cannot reach us.

It owns the wiring of the link's jobs and their common life. It does not know what they do. The rule that must stay
true: a job that dies takes the whole link and with it the daemon down; there is no half a link.
"""

import asyncio
import ssl

from handoffd.custody.message import Coming, Offer, Principal
from handoffd.link.artefact import Fetcher
from handoffd.link.client import PeerClient
from handoffd.link.gate import Gate
from handoffd.link.payer import Payer
from handoffd.link.sender import Sender
from handoffd.link.ties import Ties
from handoffd.link.visit import Visit
from handoffd.protocol.name import AgentName, HostName


class PeerLink:
    """The link to one peer. Make it on the running loop, `run` it as one task; the other methods are for that loop.

    `host` is our own name, `local` the agents at home here, `version` our handoffd's, `pins` the fingerprints of the
    pinned certificates, for messages only; `sends` the agents it may send from, and `alone` as in the gate.
    """

    def __init__(
        self,
        ties: Ties,
        client: PeerClient,
        host: HostName,
        local: frozenset[AgentName],
        version: str,
        pins: tuple[str, ...] = (),
        sends: frozenset[AgentName] = frozenset(),
        *,
        alone: bool = False,
    ) -> None:
        self._ties = ties
        self._client = client
        self._gate = Gate(ties, client, local, version, pins, alone=alone)
        self._sender = Sender(ties, client, self._gate, host)
        fetcher = Fetcher(ties, client, self._gate)
        self._payer = Payer(ties, client, self._gate, self._sender, fetcher)
        self._visit = Visit(ties, client, self._gate, Principal(ties.peer, None, sends))
        self._jobs = (
            self._gate.run,
            self._sender.run,
            fetcher.run,
            self._payer.follower.run,
            self._payer.run,
            self._visit.run,
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

    def expect(self, coming: Coming) -> None:
        """Begin the request of a payload that custody is about to have."""
        self._sender.expect(coming)

    def offer(self, offer: Offer) -> None:
        """Carry a payload custody has just taken; it is settled in any case."""
        self._sender.offer(offer)

    async def renew(self, token: str, ssl_context: ssl.SSLContext | None, pins: tuple[str, ...]) -> None:
        """Go on with another token or other pinned certificates; nothing under way is cut off."""
        await self._client.present(token, ssl_context)
        self._gate.expect(pins)

    def nudge(self) -> None:
        """Probe soon: the peer has just been heard, so it is worth trying."""
        self._gate.nudge()

    def owed(self) -> None:
        """Custody has something for this peer: payloads due, a revoke, a forget, an artefact to fetch."""
        self._payer.owed()

    def changed(self) -> None:
        """What came from this peer has a higher state: if it lends to us, it is told."""
        self._visit.changed()

    def resume(self) -> None:
        """Begin anew: this host has slept."""
        self._gate.resume()

    def status(self) -> dict[str, object]:
        """Return the link's state for a person, JSON types only."""
        gate, hearing = self._gate.status(), self._payer.follower.hearing
        return {
            "peer": self._ties.peer,
            **gate,
            "error": gate["error"] or (hearing.trouble and hearing.trouble.fields()),
            "in_flight": self._sender.in_flight,
            "waiting": self._sender.waiting,
            "busy": self._sender.busy,
            "unreadable": hearing.unreadable or None,
        }
