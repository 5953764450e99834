"""The calls of peers that dial in: the second hello, polls that tell, leases, artefacts (docs/custody.md section 11).

It owns their wire form and decides nothing about a handoff. The rule that must stay true: a record that cannot be read
is left out alone, and its teller is told of the others.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import replace

from aiohttp.web import Response

from handoffd.custody.message import Answer
from handoffd.custody.visit import Bring, Lease, Parcel, Telling, Welcome, Wishes
from handoffd.hub.answer import JSON, answer_fields, is_served, reason_of, status_of
from handoffd.hub.call import Call, Hub
from handoffd.hub.document import needed_list, number_field, object_field, read_object
from handoffd.hub.handoff import tell
from handoffd.hub.refusal import Refused, bad_request
from handoffd.protocol.name import BadName, HostName, TransferId, is_transfer_id, nonce, transfer_id
from handoffd.protocol.reason import Problem
from handoffd.protocol.record import DETAIL_LIMIT, BadRecord, Record, from_fields
from handoffd.protocol.timing import BATCH_ITEMS, STATES_ITEMS, STATES_WAIT_S

LOG = logging.getLogger("handoffd.hub")

SAY_HELLO = "Say hello: neither this epoch nor this session is known of you here."
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""Not ASCII: a payload at most doubles when it becomes a JSON string, which the size of a lease rests on."""


# ---------------------------------------------------------------- hello


async def welcome(hub: Hub, call: Call) -> Mapping[str, object]:
    """Return what hello says besides to a peer that dials in: a challenge, or that its session has begun."""
    peer, proof = HostName(call.principal.peer), call.header("Handoffd-Challenge")
    if not hub.diallers.takes(peer, proof):
        return {"challenge": hub.diallers.challenge(peer), "accepted": False}
    epoch = _own_epoch(call)
    if not await hub.ask(hub.engine.welcome, Welcome(peer, epoch, proof or "")):
        raise Refused(Problem.UNAVAILABLE, "Your epoch cannot be noted here now; say hello again.")
    hub.diallers.welcome(peer, epoch, (call.header("User-Agent") or "").partition("/")[2].partition(" ")[0][:40])
    return {"accepted": True}


def _own_epoch(call: Call) -> str:
    try:
        return nonce(call.header("Handoffd-From-Epoch"))
    except BadName as error:
        raise bad_request(f"Handoffd-From-Epoch: {error}.") from None


# ---------------------------------------------------------------- the poll


async def poll(hub: Hub, call: Call, fields: dict[str, object]) -> Response:
    """Take what a peer that dials in tells, and say what is wanted of it, waiting for something if asked to."""
    loop = asyncio.get_running_loop()
    peer = _visitor(hub, call)
    until_s = loop.time() + min(number_field(fields, "wait"), STATES_WAIT_S)
    telling = Telling(
        peer,
        call.header("Handoffd-From-Epoch") or "",
        call.header("Handoffd-Challenge") or "",
        _told(peer, fields),
        more=fields.get("more") is True,
        clock_offset_ms=hub.diallers.offset_ms(peer),
    )
    while True:
        seen = hub.notifier.version(owed_to(peer))
        hub.check_known(call)
        wishes = await hub.ask(hub.engine.tell, telling)
        _complain(wishes)
        telling = replace(telling, records=())
        hub.diallers.hear(peer)
        if wishes or telling.more or loop.time() >= until_s:
            return _wish(hub, wishes)
        again_s = min(until_s, loop.time() + wishes.next_s)
        if not await hub.notifier.wait(owed_to(peer), seen, call.caller, again_s) and hub.notifier.over(call.caller):
            return _wish(hub, wishes)


def owed_to(peer: str) -> str:
    """Return the name that rings when something waits for a peer that dials in; no peer and no agent bears it."""
    return f">{peer}"


def _visitor(hub: Hub, call: Call) -> HostName:
    peer = HostName(call.principal.peer)
    if peer not in hub.settings.pulls:
        raise Refused(Problem.FORBIDDEN, f"{hub.settings.host} calls {peer} itself: its configuration has your url.")
    return peer


def _told(peer: str, fields: dict[str, object]) -> tuple[Record, ...]:
    records, unread = [], []
    for text, value in object_field(fields, "tell", STATES_ITEMS).items():
        try:
            record = from_fields(value)
            if record.tid != text:
                raise BadRecord("it is about another transfer")
        except BadRecord as error:
            unread.append(f"{text[:64]}: {error}")
        else:
            records.append(record)
    if unread:
        # One line, and as ASCII: the words are the peer's.
        words = "%d records that %s told cannot be read, the first of them: %a"
        LOG.warning(words, len(unread), peer, unread[0][:DETAIL_LIMIT])
    return tuple(records)


def _complain(wishes: Wishes) -> None:
    if wishes.refused:
        raise Refused(Problem.EPOCH_CHANGED, SAY_HELLO)
    if wishes.failed:
        raise Refused(Problem.UNAVAILABLE, "What you told could not be taken in; tell it again.")


def _wish(hub: Hub, wishes: Wishes) -> Response:
    told = {"take": list(wishes.take), "verdict": list(wishes.verdict), "forget": list(wishes.forget)}
    return hub.stamp().fields(told)


# ---------------------------------------------------------------- lease and artefact


async def lease(hub: Hub, call: Call) -> Response:
    """Hand out payloads to the peer they are for."""
    peer = _visitor(hub, call)
    listed = needed_list(read_object(call.body), "tids", BATCH_ITEMS)
    tids = tuple(_tid(item, f"tids[{index}]") for index, item in enumerate(listed))
    leased = await hub.ask(hub.engine.lease, Lease(peer, call.header("Handoffd-From-Epoch") or "", tids))
    if leased.refused:
        raise Refused(Problem.EPOCH_CHANGED, SAY_HELLO)
    hub.diallers.hear(peer)
    stamp = hub.stamp()
    told = {"results": [_result(hub, one) for one in leased.parcels], "epoch": stamp.epoch, "time": stamp.time}
    return stamp.reply(_ENCODER.encode(told).encode(), JSON)


def _result(hub: Hub, parcel: Parcel) -> dict[str, object]:
    answer = parcel.answer
    if answer.data is not None:
        payload = answer.data.decode()  # admission let nothing in that is not UTF-8
        return {"tid": answer.tid, "code": answer.status, "path": list(parcel.path), "payload": payload}
    if not is_served(answer):
        hub.metrics.refused(reason_of(answer))
    return {**answer_fields(answer), "tid": answer.tid or None, "code": status_of(answer)}


async def bring(hub: Hub, call: Call) -> Response:
    """Keep the final artefact of a handoff until its end is told."""
    peer = _visitor(hub, call)
    if not is_transfer_id(call.ident):
        raise Refused(Problem.NOT_FOUND)
    epoch, tid = call.header("Handoffd-From-Epoch") or "", TransferId(call.ident)
    answer: Answer = await hub.ask(hub.engine.bring, Bring(peer, epoch, tid, call.body))
    return tell(hub, answer)


def _tid(value: object, place: str) -> TransferId:
    try:
        return transfer_id(value)
    except BadName as error:
        raise bad_request(f"{place}: {error}.") from None
