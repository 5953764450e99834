"""The operator's calls about trust and configuration, over the unix socket: invites, reload, a line of the journal.

It owns their wire form. The rule that must stay true: no secret comes in or goes out here: an invite is known by its
name alone, and a line of the journal has no free words but its detail.
"""

from typing import Final

from aiohttp.web import Response

from handoffd.hub.call import Call, Hub
from handoffd.hub.document import number_field, object_field, read_object, text_field
from handoffd.hub.invites import WORDS
from handoffd.hub.refusal import bad_request
from handoffd.protocol.name import BadName, host_name

LIFETIME_LIMIT_S: Final = 3_600.0
EVENTS: Final = frozenset(
    {"paired", "unpaired", "token_rotated", "token_revoked", "certificate_rotated", "certificate_settled"}
)
"""What a command may have written to the journal; a closed list."""


async def invite_open(hub: Hub, call: Call) -> Response:
    """Begin to take knocks for an invite."""
    fields = read_object(call.body)
    peer = text_field(fields, "peer")
    try:
        name = host_name(peer)
    except BadName as error:
        raise bad_request(f"peer: {error}.") from None
    hub.invites.open(_ident(fields), name, min(number_field(fields, "lifetime_s"), LIFETIME_LIMIT_S))
    return hub.stamp().fields({"status": "ok"})


async def invite_next(hub: Hub, call: Call) -> Response:
    """Wait for what comes for an invite."""
    fields = read_object(call.body)
    came = await hub.invites.next(_ident(fields), call.caller, number_field(fields, "wait"))
    return hub.stamp().fields({"came": came})


async def invite_reply(hub: Hub, call: Call) -> Response:
    """Answer the knock that was handed out."""
    fields = read_object(call.body)
    hub.invites.reply(_ident(fields), object_field(fields, "answer", 8))
    return hub.stamp().fields({"status": "ok"})


async def invite_end(hub: Hub, call: Call) -> Response:
    """Take no more knocks for an invite."""
    fields = read_object(call.body)
    word = text_field(fields, "word")
    if word not in WORDS:
        raise bad_request(f"word: not one of {', '.join(WORDS)}.")
    hub.invites.end(_ident(fields), word, text_field(fields, "detail") or "")
    return hub.stamp().fields({"status": "ok"})


async def reload(hub: Hub, call: Call) -> Response:
    """Read the configuration again; `problems` tells why it was refused, if it was."""
    return hub.stamp().fields({"problems": await hub.keeper.reload()})


async def note(hub: Hub, call: Call) -> Response:
    """Write what a command has done into the journal."""
    fields = read_object(call.body)
    event = text_field(fields, "event")
    if event not in EVENTS:
        raise bad_request(f"event: not one of {', '.join(sorted(EVENTS))}.")
    hub.keeper.tell(event, peer=text_field(fields, "peer"), detail=text_field(fields, "detail"))
    return hub.stamp().fields({"status": "ok"})


def _ident(fields: dict[str, object]) -> str:
    ident = text_field(fields, "invite")
    if not ident:
        raise bad_request("invite: missing.")
    return ident
