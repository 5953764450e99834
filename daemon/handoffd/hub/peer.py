"""The calls between daemons: hello, batch, states, revoke, forget (docs/http-api.md).

It owns the wire form of these and knows no link. The rules that must stay true: one bad item of a batch fails alone;
and a peer is asked about under its own name only, whatever it sends.
"""

import asyncio
from collections.abc import Callable

from aiohttp.web import Response

from handoffd.custody.message import Answer, Arrival, Batch, Principal, StatesNews, StatesQuery
from handoffd.hub.answer import answer_fields, is_served, reason_of, status_of
from handoffd.hub.call import Call, Hub, hosts
from handoffd.hub.document import list_field, needed_list, number_field, object_field, read_object, text_field
from handoffd.hub.lend import poll as visit_poll
from handoffd.hub.lend import welcome
from handoffd.hub.port import Records
from handoffd.hub.refusal import Refused, bad_request
from handoffd.protocol.name import BadName, HostName, TransferId, transfer_id
from handoffd.protocol.reason import Problem, Reason, State
from handoffd.protocol.record import fitting, to_fields
from handoffd.protocol.timing import BATCH_ITEMS, RECORDS_LIMIT_BYTES, STATES_ITEMS, STATES_WAIT_S


async def hello(hub: Hub, call: Call) -> Response:
    """Tell a peer our epoch, version and homes."""
    theirs = call.header("Handoffd-Version")
    ours = hub.settings.version
    if theirs is not None and theirs.partition(".")[0] != ours.partition(".")[0]:
        raise bad_request(f"You run handoffd {theirs[:40]}, this host {ours}: their major versions must be the same.")
    hub.heard(call.principal.peer)
    told: dict[str, object] = {"version": ours, "homes": sorted(hub.settings.homes), "link": "push"}
    dials_in = call.principal.peer in hub.settings.pulls
    if dials_in:
        hub.diallers.measure(call.principal.peer, call.header("Handoffd-Clock"))
        _note_conflict(hub, call)
        told |= {"link": "pull", **await welcome(hub, call)}
    stamp = hub.stamp()
    if dials_in:
        hub.diallers.answered(call.principal.peer, stamp.time)
    return stamp.fields(told)


def _note_conflict(hub: Hub, call: Call) -> None:
    """Hear of a peer that dials in that it calls agents of this host its own; it tells no more than their names."""
    named = (call.header("Handoffd-Conflict") or "").split(",")
    shared = tuple(sorted(agent for agent in hub.settings.homes if agent in named))
    if shared and hub.diallers.dispute(call.principal.peer, shared):
        detail = f"both hosts call {', '.join(shared)} local; remove them from `agents` on one host"
        hub.keeper.tell("link_conflict", peer=call.principal.peer, agents=list(shared), detail=detail)


async def batch(hub: Hub, call: Call) -> Response:
    """Admit several payloads, each as if it had come alone."""
    items = needed_list(read_object(call.body), "items", BATCH_ITEMS)
    epoch = call.header("Handoffd-Epoch")
    shaped = [_shape(hub, call.principal, epoch, f"items[{index}]", item) for index, item in enumerate(items)]
    arrivals = [entry for entry in shaped if isinstance(entry, Arrival)]
    admitted = iter(await hub.ask_many(hub.engine.admit, arrivals) if arrivals else ())
    answers = [entry if isinstance(entry, Answer) else next(admitted) for entry in shaped]
    return hub.stamp().fields({"results": [_result(hub, answer) for answer in answers]})


async def states(hub: Hub, call: Call) -> Response:
    """Tell a sending peer which of its handoffs are higher than it knows, waiting for some if asked to.

    A peer that dials in tells here what became of what it took (`tell`), and hears what is wanted of it.
    """
    fields = read_object(call.body)
    if "tell" in fields:
        return await visit_poll(hub, call, fields)
    query = StatesQuery(_host(call), _known(fields), text_field(fields, "since"))
    until_s = asyncio.get_running_loop().time() + min(number_field(fields, "wait"), STATES_WAIT_S)
    while True:
        seen = hub.notifier.version(query.peer)
        hub.check_known(call)
        news = await hub.ask(hub.engine.states, query)
        if (
            news.records
            or news.reset
            or news.lost
            or not await hub.notifier.wait(query.peer, seen, call.caller, until_s)
        ):
            return _tell_news(hub, news)


async def revoke(hub: Hub, call: Call) -> Response:
    """Take back several handoffs of the peer's."""
    return await _for_each(hub, call, hub.engine.revoke)


async def forget(hub: Hub, call: Call) -> Response:
    """Note that the peer has recorded these outcomes."""
    return await _for_each(hub, call, hub.engine.forget)


async def _for_each(hub: Hub, call: Call, method: Callable[[list[Batch]], list[Records]]) -> Response:
    listed = needed_list(read_object(call.body), "tids", STATES_ITEMS)
    tids = tuple(_tid(item, f"tids[{index}]") for index, item in enumerate(listed))
    records = await hub.ask(method, Batch(_host(call), tids))
    known = [(tid, record) for tid, record in zip(tids, records, strict=True) if record is not None]
    fits = fitting([record for _, record in known], RECORDS_LIMIT_BYTES)
    return hub.stamp().fields({"states": {tid: to_fields(record) for tid, record in known[:fits]}})


def _shape(hub: Hub, principal: Principal, epoch: str | None, place: str, item: object) -> Arrival | Answer:
    """Return the arrival an item stands for, or the answer to an item that stands for none."""
    tid = None
    try:
        if not isinstance(item, dict):
            raise bad_request(f"{place}: not an object.")
        tid = _tid(item.get("tid"), f"{place}.tid")
        data = _payload(item, place)
        if len(data) > hub.settings.max_payload_bytes:
            detail = f"The payload is larger than {hub.settings.max_payload_bytes} bytes."
            return Answer(413, tid, reason=Reason.TOO_LARGE, detail=detail)
        path = hosts(list_field(item, "path", STATES_ITEMS), f"{place}.path")
    except Refused as refused:
        return Answer(refused.status, tid, problem=Problem.BAD_REQUEST, detail=refused.detail)
    return Arrival(principal, data, claimed_tid=tid, epoch=epoch, path=path)


def _payload(item: dict[str, object], place: str) -> bytes:
    text = text_field(item, "payload")
    if text is None:
        raise bad_request(f"{place}.payload: missing; it is the exact text as one JSON string.")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise bad_request(f"{place}.payload: holds half of a surrogate pair, which is no character.") from None


def _result(hub: Hub, answer: Answer) -> dict[str, object]:
    if not is_served(answer):
        hub.metrics.refused(reason_of(answer))
    return {"tid": answer.tid or None, "code": status_of(answer), **answer_fields(answer)}


def _known(fields: dict[str, object]) -> dict[TransferId, State]:
    known = {}
    for text, word in object_field(fields, "known", STATES_ITEMS).items():
        try:
            known[_tid(text, "known")] = State(str(word))
        except ValueError:
            raise bad_request(f"known.{text[:80]}: {str(word)[:40]!r} is not a state.") from None
    return known


def _tell_news(hub: Hub, news: StatesNews) -> Response:
    told: dict[str, object] = {
        "states": {record.tid: to_fields(record) for record in news.records},
        "cursor": news.cursor,
    }
    if news.reset:
        told["reset"] = True
    if news.lost:
        told["lost"] = list(news.lost)
    return hub.stamp().fields(told)


def _tid(value: object, place: str) -> TransferId:
    try:
        return transfer_id(value)
    except BadName as error:
        raise bad_request(f"{place}: {error}.") from None


def _host(call: Call) -> HostName:
    return HostName(call.principal.peer)
