"""One question to a peer, /hello, and what its answer or its silence means.

It judges and remembers nothing. The rule that must stay true: whoever asks, the daemon's gate or an operator's command,
gets the same word for the same trouble.
"""

from collections.abc import Collection
from typing import NamedTuple

from handoffd.link.client import PeerClient, Reply
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.trouble import Trouble, read_hello, silent, unsent, wrong_certificate
from handoffd.link.wire import Greeting
from handoffd.protocol.name import AgentName
from handoffd.protocol.timing import CONNECT_S


class Probed(NamedTuple):
    """What /hello brought; `reply` is None if no answer came, `broke` if it was lost on an open connection."""

    found: Greeting | Trouble
    reply: Reply | None = None
    broke: bool = False


async def ask_hello(
    client: PeerClient,
    local: frozenset[AgentName],
    version: str,
    pins: Collection[str],
    challenge: str = "",
    connect_s: float = CONNECT_S,
    clock: str = "",
    conflict: Collection[AgentName] = (),
) -> Probed:
    """Ask a peer once. `local` are the agents at home here, `pins` the pinned fingerprints, for the message; with its
    `challenge` a session there begins, `clock` lets it measure ours, and `conflict` tells it what is wrong with it."""
    try:
        reply = await client.hello(challenge, connect_s, clock, conflict)
    except NotSent as error:
        if error.kind == "wrong_certificate":
            return Probed(wrong_certificate(pins, await client.presented_fingerprint(), str(error)))
        return Probed(unsent(error.kind, str(error), client.url))
    except NoAnswer as error:
        return Probed(silent(str(error), client.url), broke=True)
    return Probed(read_hello(reply.status, reply.body, reply.retry_after, local, version), reply)
