"""The calls by which trust is made and changed: a stranger with an invite, and a paired peer that renews what it shows.

It owns the wire form of these and writes no file: that is the keeper's. The rules that must stay true: a peer changes
only what is believed of itself, over a request that its present token and certificate have proved; and a change is
answered only when it is durable and in force.
"""

import asyncio
import re
from typing import Final

from aiohttp.web import Response

from handoffd.hub.call import Call, Hub
from handoffd.hub.document import read_object, text_field
from handoffd.hub.refusal import Refused, bad_request
from handoffd.protocol.reason import Problem

PAIR_LIMIT_BYTES: Final = 32 << 10
"""A step of a pairing: names and a certificate, written as JSON inside JSON."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")
_SIGNATURE: Final = re.compile(r"(?:[0-9a-f]{2}){0,256}\Z")
_IDENT: Final = re.compile(r"[0-9a-f]{16}\Z")


async def pair(hub: Hub, call: Call) -> Response:
    """Hand a step of a pairing to the command that made the invite, and its answer back."""
    if call.header("Origin") is not None:
        raise Refused(Problem.FORBIDDEN, "A pairing is made by `handoffd join`, not from a page in a browser.")
    sent = read_object(call.body)
    if text_field(sent, "step") == "mistyped":
        raise hub.invites.mistyped(call.origin)
    ident = text_field(sent, "invite") or ""
    if not _IDENT.match(ident):
        raise bad_request("invite: not 16 hex digits.")
    answer = await hub.invites.knock(ident, sent, call.origin)
    return hub.stamp_for_stranger(None).fields(answer)


async def token(hub: Hub, call: Call) -> Response:
    """Accept another token of the peer's beside the one it presents, or that one alone from now on."""
    _limit(hub, call)
    fields = read_object(call.body)
    digest = text_field(fields, "sha256")
    if digest is None:
        await hub.keeper.keep_token(call.principal.peer, call.digest)
    elif _DIGEST.match(digest):
        await hub.keeper.add_token(call.principal.peer, call.digest, digest)
    else:
        raise bad_request("sha256: not a SHA-256 in lower-case hex.")
    return hub.stamp().fields({"status": "ok"})


async def certificate(hub: Hub, call: Call) -> Response:
    """Pin another certificate of the peer's beside the present one, or a pinned one alone from now on."""
    _limit(hub, call)
    fields = read_object(call.body)
    pem = text_field(fields, "certificate")
    if pem is None:
        raise bad_request("certificate: missing; it is one PEM certificate.")
    signature = text_field(fields, "signature") or ""
    if not _SIGNATURE.match(signature):
        raise bad_request("signature: not hex.")
    await hub.keeper.pin(call.principal.peer, call.digest, pem, signature)
    return hub.stamp().fields({"status": "ok"})


async def farewell(hub: Hub, call: Call) -> Response:
    """Note that the peer has ended the pairing on its side."""
    _limit(hub, call)
    peer = call.principal.peer
    hub.keeper.tell("unpaired_by_peer", peer=peer, detail=f"{peer} has ended the pairing; here: handoffd unpair {peer}")
    return hub.stamp().fields({"status": "ok"})


def _limit(hub: Hub, call: Call) -> None:
    """Let one change of a peer's pass: each costs flushes and a reload, and a line of the journal. Raises Refused."""
    hub.renewals.pass_one(call.principal.peer, asyncio.get_running_loop().time())
