"""The calls of operators: health and metrics; over the unix socket status, canary, withdraw, resolve.

It owns no state. The rule that must stay true: none of these shows a payload's text or a token.
"""

import asyncio
from collections.abc import Callable

from aiohttp.web import Response

from handoffd.custody.message import Launch
from handoffd.hub.answer import TEXT, is_served
from handoffd.hub.call import Call, Hub
from handoffd.hub.document import read_object
from handoffd.hub.refusal import Refused, bad_request
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import CANARY_PEER, BadName, HostName, TransferId, transfer_id
from handoffd.protocol.reason import Problem
from handoffd.protocol.record import Record, to_fields
from handoffd.protocol.timing import CANARY_TTL_S, EXPIRY_GRACE_S, SCAN_INTERVAL_S
from handoffd.status.model import fields

CUSTODY_S = 4.0
"""Below the 5 s that health checks commonly wait for."""
CANARY_WAIT_S = CANARY_TTL_S + EXPIRY_GRACE_S + 5 * SCAN_INTERVAL_S
"""Past the time at which custody gives a canary up, on the next tick of a busy host."""


async def healthz(hub: Hub, call: Call) -> Response:
    """Tell that the event loop answers."""
    return hub.stamp().fields({"status": "ok"})


async def readyz(hub: Hub, call: Call) -> Response:
    """Tell whether handoffs are served: started, the custody thread alive, and relay/ can be written."""
    if not hub.is_ready():
        raise Refused(Problem.UNAVAILABLE, "The daemon is starting or stopping, or its custody thread has ended.")
    try:
        async with asyncio.timeout(CUSTODY_S):
            trouble = await hub.ask(hub.engine.try_disk, None)
    except TimeoutError:
        words = f"Custody has not answered for {CUSTODY_S:g} s: the disk hangs, or there is very much to do."
        raise Refused(Problem.UNAVAILABLE, words) from None
    if trouble:
        raise Refused(Problem.UNAVAILABLE, f"{trouble}.")
    return hub.stamp().fields({"status": "ready"})


async def metrics(hub: Hub, call: Call) -> Response:
    """Show the metrics in the Prometheus text format."""
    return hub.stamp().reply(hub.metrics.page(), TEXT)


async def status(hub: Hub, call: Call) -> Response:
    """Tell an operator how this daemon is, and what it has in hand."""
    return hub.stamp().fields(fields(hub.status()))


async def canary(hub: Hub, call: Call) -> Response:
    """Send a canary to a peer and wait for its end; tell when it came by where, this host's times by its own clock."""
    asked = Launch(HostName(call.request.query.get("peer", "")), call.body)
    began_s = hub.clock()
    answer = await hub.ask(hub.engine.launch, asked)
    if not is_served(answer) or answer.tid is None:
        return hub.stamp().answer(answer)
    taken_s = hub.clock()
    until_s = asyncio.get_running_loop().time() + CANARY_WAIT_S
    while True:
        seen = hub.notifier.version(CANARY_PEER)
        journey = await hub.ask(hub.engine.journey, answer.tid)
        if journey is None:
            raise Refused(Problem.UNAVAILABLE, "Other canaries to this peer took its place.")
        if journey.record.final or not await hub.notifier.wait(CANARY_PEER, seen, call.caller, until_s):
            break
    times = {"asked": began_s, "taken": taken_s, "posted": journey.posted_s, "home": hub.clock()}
    told = {hop: at if at is None else format_moment(at) for hop, at in times.items()}
    record = journey.record
    return hub.stamp().fields({"tid": record.tid, "state": record.state.value, "record": to_fields(record), "at": told})


async def withdraw(hub: Hub, call: Call) -> Response:
    """End a handoff at the wish of an operator: before a claim it is taken back."""
    return await _end(hub, call, hub.engine.withdraw)


async def resolve(hub: Hub, call: Call) -> Response:
    """Give up a handoff that is in doubt."""
    return await _end(hub, call, hub.engine.resolve)


async def _end(hub: Hub, call: Call, method: Callable[[list[TransferId]], list[Record | None]]) -> Response:
    try:
        tid = transfer_id(read_object(call.body).get("tid"))
    except BadName as error:
        raise bad_request(f"tid: {error}.") from None
    record = await hub.ask(method, tid)
    if record is None:
        raise Refused(Problem.NOT_FOUND)
    return hub.stamp().fields({"tid": tid, "state": record.state.value, "record": to_fields(record)})
