"""The calls of operators: health and metrics; over the unix socket status, withdraw, resolve (docs/http-api.md).

It owns no state. The rule that must stay true: none of these shows a payload's text or a token.
"""

from collections.abc import Callable

from aiohttp.web import Response

from handoffd.hub.answer import TEXT
from handoffd.hub.call import Call, Hub
from handoffd.hub.document import read_object
from handoffd.hub.refusal import Refused, bad_request
from handoffd.protocol.name import BadName, TransferId, transfer_id
from handoffd.protocol.reason import Problem
from handoffd.protocol.record import Record, to_fields


async def healthz(hub: Hub, call: Call) -> Response:
    """Tell that the event loop answers."""
    return hub.stamp().fields({"status": "ok"})


async def readyz(hub: Hub, call: Call) -> Response:
    """Tell whether handoffs are served: started, and the custody thread alive."""
    if not hub.is_ready():
        raise Refused(Problem.UNAVAILABLE, "The daemon is starting or stopping, or its custody thread has ended.")
    return hub.stamp().fields({"status": "ready"})


async def metrics(hub: Hub, call: Call) -> Response:
    """Show the metrics in the Prometheus text format."""
    return hub.stamp().reply(hub.metrics.page(), TEXT)


async def status(hub: Hub, call: Call) -> Response:
    """Tell an operator what this daemon is and how much it has in hand."""
    own = {
        "host": hub.settings.host,
        "version": hub.settings.version,
        "ready": hub.is_ready(),
        "counts": dict(hub.engine.counts()),
    }
    return hub.stamp().fields({**own, **hub.status()})


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
