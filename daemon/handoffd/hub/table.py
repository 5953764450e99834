"""The route table: every path the server answers, once.

The dispatcher serves it, the OpenAPI document and docs/http-api.md are made from it. It decides nothing.
"""

from aiohttp.web import Response

from handoffd.hub import handoff, lend, operation, pairing, peer, schema, upkeep, viewer
from handoffd.hub.answer import JSON
from handoffd.hub.call import Call, Hub
from handoffd.hub.openapi import describe
from handoffd.hub.route import SMALL_LIMIT_BYTES, Audience, Body, Reply, Route
from handoffd.protocol.timing import BATCH_LIMIT_BYTES, CANARY_LIMIT_BYTES, STATES_LIMIT_BYTES

API = "/api/v1"
_HANDOFFS = f"{API}/handoffs"
_STATE = Reply("Where the handoff stands.", "Handoff")
_FILE = Reply("The file.")
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
        headers={
            "Handoffd-Version": schema.TEXT,
            "Handoffd-From-Epoch": schema.TEXT,
            "Handoffd-Challenge": schema.TEXT,
            "Handoffd-Clock": schema.TEXT,
            "Handoffd-Conflict": schema.TEXT,
        },
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
        "Ask for records that are higher than known; or, as a peer that dials in, `tell` of what you took and hear "
        "what is wanted of you. Either waits up to 25 s for something.",
        {200: Reply("Records, and the cursor to go on from; or, after `tell`, what is wanted.", "StatesAnswer")},
        body=Body("StatesQuery", STATES_LIMIT_BYTES),
        headers={"Handoffd-From-Epoch": schema.TEXT, "Handoffd-Challenge": schema.TEXT},
        needs_epoch=True,
        waits=True,
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/lease",
        lend.lease,
        Audience.PEER,
        "Take payloads that wait for you, as a peer that dials in: up to 100, the same ones again with the same epoch.",
        {200: Reply("One result for each that fits, in order; with code 200 its exact text.", "LeaseResults")},
        body=Body("LeaseTids", STATES_LIMIT_BYTES),
        headers={"Handoffd-From-Epoch": schema.TEXT},
        needs_epoch=True,
    ),
    Route(
        "POST",
        f"{_HANDOFFS}/{{id}}/artefact",
        lend.bring,
        Audience.PEER,
        "Bring the final bytes of a handoff that you leased, before its end is told.",
        {200: _STATE},
        body=Body("Artefact"),
        headers={"Handoffd-From-Epoch": schema.TEXT},
        needs_epoch=True,
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

_TRUST = (
    Route(
        "POST",
        f"{API}/pair",
        pairing.pair,
        Audience.STRANGER,
        "Say one step of a pairing; what it holds is proved with the invite's secret.",
        {200: Reply("The inviting command's answer, proved likewise.", "PairStep")},
        body=Body("PairStep", pairing.PAIR_LIMIT_BYTES),
        refusals=(403, 410, 429),
    ),
    Route(
        "POST",
        f"{API}/peer/token",
        pairing.token,
        Audience.PEER,
        "Have another token of yours accepted beside the present one; without `sha256`, the present one alone.",
        {200: Reply("It is in force.", "Health")},
        body=Body("TokenChange", SMALL_LIMIT_BYTES),
        refusals=(429,),
    ),
    Route(
        "POST",
        f"{API}/peer/certificate",
        pairing.certificate,
        Audience.PEER,
        "Have a certificate that the present one's key has signed pinned beside it; unsigned: a pinned one alone.",
        {200: Reply("It is in force.", "Health")},
        body=Body("CertificateChange", pairing.PAIR_LIMIT_BYTES),
        refusals=(429,),
    ),
    Route(
        "POST",
        f"{API}/peer/farewell",
        pairing.farewell,
        Audience.PEER,
        "Say that you have ended the pairing.",
        {200: Reply("It was noted.", "Health")},
        refusals=(429,),
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
        "/operator/canary",
        operation.canary,
        Audience.SOCKET,
        "Send a canary to a peer and wait for its end (`handoffd doctor`).",
        {200: Reply("How it ended, and when it came by where.", "Journey")},
        body=Body("Payload", CANARY_LIMIT_BYTES),
        query={"peer": schema.HOST},
        refusals=(429,),
        waits=True,
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

_PAGE = (
    Route(
        "POST",
        "/operator/page",
        viewer.page_link,
        Audience.SOCKET,
        "Make a link to the status page, good for one browser and five minutes.",
        {200: Reply("Where the page is, and the code that opens it.", "PageLink")},
        refusals=(403,),
    ),
    Route("GET", "/page", viewer.page, Audience.PAGE, "Go to the page.", {308: Reply("To `/page/`.")}),
    Route("GET", "/page/", viewer.page_index, Audience.PAGE, "Load the page, empty.", {200: Reply("HTML.")}),
    *(
        Route("GET", f"/page/{name}", viewer.page_file(name), Audience.PAGE, "Load a file of the page.", {200: _FILE})
        for name in viewer.FILES
    ),
    Route(
        "POST",
        "/page/session",
        viewer.page_enter,
        Audience.PAGE,
        "Exchange a link's code for a token of twelve hours, once.",
        {200: Reply("The token.", "PageSession")},
        body=Body("PageCode", SMALL_LIMIT_BYTES),
    ),
    Route(
        "GET",
        "/page/events",
        viewer.page_events,
        Audience.VIEWER,
        "Read what the page shows, and its news, as server-sent events.",
        {200: Reply("Parts of the board, each whole.", media="text/event-stream")},
        headers={"Last-Event-ID": schema.TEXT},
        refusals=(429,),
        waits=True,
    ),
    Route(
        "GET",
        "/page/handoffs/{id}",
        viewer.page_handoff,
        Audience.VIEWER,
        "Read one handoff's story.",
        {200: Reply("As `handoffd trace --json` tells it, and where its files are.", "Story")},
        refusals=(429,),
    ),
)

_UPKEEP = (
    Route(
        "POST",
        "/operator/invite/open",
        upkeep.invite_open,
        Audience.SOCKET,
        "Begin to take knocks for an invite.",
        {200: Reply("It is open.", "Health")},
        body=Body("InviteOpen", SMALL_LIMIT_BYTES),
    ),
    Route(
        "POST",
        "/operator/invite/next",
        upkeep.invite_next,
        Audience.SOCKET,
        "Wait for what comes for an invite; who goes away meanwhile withdraws it.",
        {200: Reply("A knock, notes, or how it ended; nothing when nothing came.", "Came")},
        body=Body("InviteNext", SMALL_LIMIT_BYTES),
        refusals=(404,),
        waits=True,
    ),
    Route(
        "POST",
        "/operator/invite/reply",
        upkeep.invite_reply,
        Audience.SOCKET,
        "Answer the knock that was handed out.",
        {200: Reply("It was passed on.", "Health")},
        body=Body("InviteReply", pairing.PAIR_LIMIT_BYTES),
        refusals=(404,),
    ),
    Route(
        "POST",
        "/operator/invite/end",
        upkeep.invite_end,
        Audience.SOCKET,
        "Take no more knocks for an invite.",
        {200: Reply("It has ended.", "Health")},
        body=Body("InviteEnd", SMALL_LIMIT_BYTES),
    ),
    Route(
        "POST",
        "/operator/reload",
        upkeep.reload,
        Audience.SOCKET,
        "Read the configuration again.",
        {200: Reply("Why it was refused, if it was.", "Reloaded")},
    ),
    Route(
        "POST",
        "/operator/note",
        upkeep.note,
        Audience.SOCKET,
        "Write into the journal what a command has done.",
        {200: Reply("It is written.", "Health")},
        body=Body("Note", SMALL_LIMIT_BYTES),
    ),
)

ROUTES: tuple[Route, ...] = (*_AGENTS, *_PEERS, *_TRUST, *_OPERATORS, *_UPKEEP, *_PAGE)
