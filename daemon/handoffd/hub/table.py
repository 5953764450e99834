"""The route table: every path the server answers, once.

The dispatcher serves it, the OpenAPI document and docs/http-api.md are made from it. It decides nothing.
"""

from aiohttp.web import Response

from handoffd.hub import handoff, operation, peer, schema
from handoffd.hub.answer import JSON
from handoffd.hub.call import Call, Hub
from handoffd.hub.openapi import describe
from handoffd.hub.route import SMALL_LIMIT_BYTES, Audience, Body, Reply, Route
from handoffd.protocol.timing import BATCH_LIMIT_BYTES, STATES_LIMIT_BYTES

API = "/api/v1"
_HANDOFFS = f"{API}/handoffs"
_STATE = Reply("Where the handoff stands.", "Handoff")
_BYTES = Reply("The exact bytes of the payload; its ids are in the headers.")
_STATES = Reply("A record for each T of yours that is known.", "States")
_SECONDS = {"type": "number", "minimum": 0, "description": "seconds to wait for one, cut to 30"}


async def openapi(hub: Hub, call: Call) -> Response:
    """Show the OpenAPI document."""
    return hub.stamp().reply(describe(ROUTES, hub.settings.version), JSON)


_AGENTS = (
    Route(
        "POST",
        f"{_HANDOFFS}/start",
        handoff.start,
        Audience.PARTY,
        "Hand in one payload.",
        {
            201: Reply("Admitted now.", "Handoff"),
            200: Reply("Known already; nothing was changed.", "Handoff"),
            202: Reply("Stored, and published as soon as that is possible.", "Handoff"),
        },
        body=Body("Payload"),
        headers={"Idempotency-Key": schema.TID, "Handoffd-Path": schema.TEXT},
        refusals=(409, 410, 421, 422),
    ),
    Route(
        "GET",
        f"{_HANDOFFS}/poll",
        handoff.poll,
        Audience.AGENT,
        "See the oldest payload that waits for the agent; seeing is not claiming.",
        {200: _BYTES, 204: Reply("None waits.")},
        query={"agent": schema.AGENT, "wait": _SECONDS},
        waits=True,
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/{{id}}/accept",
        handoff.accept,
        Audience.AGENT,
        "Claim a payload: the winner gets its bytes, with the same nonce again the same bytes.",
        {200: _BYTES},
        body=Body("Nonce", SMALL_LIMIT_BYTES, required=False),
        refusals=(409, 410),
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/{{id}}/complete",
        handoff.complete,
        Audience.AGENT,
        "Complete what the agent claimed.",
        {200: _STATE},
        body=Body("Artefact", required=False),
        refusals=(409, 410),
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/{{id}}/reject",
        handoff.reject,
        Audience.AGENT,
        "Reject what the agent claimed.",
        {200: _STATE},
        body=Body("Rejection", required=False),
        refusals=(409, 410),
    ),
    Route(
        "GET",
        f"{_HANDOFFS}/{{id}}",
        handoff.get,
        Audience.PARTY,
        "Read what is known of a handoff.",
        {200: _STATE},
    ),
    Route(
        "GET",
        f"{_HANDOFFS}/{{id}}/artefact",
        handoff.artefact,
        Audience.PARTY,
        "Fetch the final bytes, when they differ from the payload.",
        {200: Reply("The bytes.", media="application/octet-stream")},
    ),
)

_PEERS = (
    Route(
        "GET",
        f"{API}/hello",
        peer.hello,
        Audience.PEER,
        "Learn this host's epoch, version and agents.",
        {200: Reply("Who this host is.", "Hello")},
        headers={"Handoffd-Version": schema.TEXT},
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/batch",
        peer.batch,
        Audience.PEER,
        "Hand in up to 100 payloads, each as if it came alone.",
        {200: Reply("One result for each item, in order; `code` is what it would have got alone.", "BatchResults")},
        body=Body("Batch", BATCH_LIMIT_BYTES),
        needs_epoch=True,
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/states",
        peer.states,
        Audience.PEER,
        "Ask for records that are higher than known, and wait up to 25 s for some.",
        {200: Reply("Records, and the cursor to go on from.", "StatesNews")},
        body=Body("StatesQuery", STATES_LIMIT_BYTES),
        needs_epoch=True,
        waits=True,
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/revoke",
        peer.revoke,
        Audience.PEER,
        "Take back handoffs before they are claimed.",
        {200: _STATES},
        body=Body("Tids", STATES_LIMIT_BYTES),
        needs_epoch=True,
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/forget",
        peer.forget,
        Audience.PEER,
        "Say that these outcomes are recorded and may be forgotten here.",
        {200: _STATES},
        body=Body("Tids", STATES_LIMIT_BYTES),
        needs_epoch=True,
    ),
)

_OPERATORS = (
    Route("GET", "/healthz", operation.healthz, Audience.NEAR, "See that it runs.", {200: Reply("It does.", "Health")}),
    Route(
        "GET",
        "/readyz",
        operation.readyz,
        Audience.NEAR,
        "See whether it serves handoffs.",
        {200: Reply("It does.", "Health")},
    ),
    Route(
        "GET",
        "/metrics",
        operation.metrics,
        Audience.NEAR,
        "Read the metrics.",
        {200: Reply("Prometheus text format.", media="text/plain")},
    ),
    Route(
        "GET",
        "/openapi.json",
        openapi,
        Audience.NEAR,
        "Read this document.",
        {200: Reply("OpenAPI 3.1.")},
    ),
    Route(
        "GET",
        "/operator/status",
        operation.status,
        Audience.SOCKET,
        "See what the daemon has in hand.",
        {200: Reply("Host, version, counts and what the daemon tells of its links.", "Status")},
    ),
    Route(
        "POST",
        "/operator/withdraw",
        operation.withdraw,
        Audience.SOCKET,
        "Take a handoff back before it is claimed.",
        {200: Reply("Where it stands now.", "Standing")},
        body=Body("Tid", SMALL_LIMIT_BYTES),
        refusals=(404,),
    ),
    Route(
        "POST",
        "/operator/resolve",
        operation.resolve,
        Audience.SOCKET,
        "Give up a handoff that is in doubt: its outcome will not be learnt.",
        {200: Reply("Where it stands now.", "Standing")},
        body=Body("Tid", SMALL_LIMIT_BYTES),
        refusals=(404,),
    ),
)

ROUTES: tuple[Route, ...] = (*_AGENTS, *_PEERS, *_OPERATORS)
