"""What an answer to a payload means: the table of custody.md section 5, a10, as data.

It knows one HTTP status, one decoded body and what was sent; neither sockets, nor time, nor the engine. The rule
that must stay true: an attempt is closed only by words that the peer itself wrote about this very transfer under
the epoch we sent. Everything else is UNKNOWN, whatever the status line says: a proxy can write a 503 too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from handoffd.custody.message import Attempt, Offer, Settlement
from handoffd.protocol.reason import RANK, Problem, Reason, State
from handoffd.protocol.record import DETAIL_LIMIT, BadRecord, Record, from_fields

Body = Mapping[str, Any]

REFUSED_EPOCH_KEY: Final = "refused_epoch"
"""A 412 names the epoch it refuses here; `epoch` is the one the peer has now (custody.md section 8)."""
UNPAIRED_KEY: Final = "unpaired"
"""A 401 is true here to the token of a peer whose pairing was ended."""


def read_body(data: bytes) -> Body | None:
    """Return the JSON object in an answer, or None for anything else. Never raises."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def judge(offer: Offer, status: int, body: Body | None, epoch: str) -> Settlement:
    """Return what an answer to a payload sent alone under `epoch` means for it."""
    if body is None or body.get("tid") != offer.tid:
        return _unknown(offer, status, body, "the answer is not the peer's about this transfer")
    return _judge_own(offer, status, body, epoch)


def judge_batch(offers: Sequence[Offer], status: int, body: Body | None, epoch: str) -> list[Settlement]:
    """Return one settlement for each offer of a batch, in order; each item is read as if it had been sent alone."""
    results = body.get("results") if body is not None and status == _BATCH_READ else None
    if body is None or not isinstance(results, list):
        return [_judge_whole(offer, status, body, epoch) for offer in offers]
    items = _by_tid(results)
    return [_judge_item(offer, items.get(offer.tid), body, epoch) for offer in offers]


def other_epoch(body: Body | None, epoch: str) -> bool:
    """Tell whether an answer bears another epoch than ours: a hint to ask /hello, no more (custody.md section 8)."""
    told = body.get("epoch") if body is not None else None
    return isinstance(told, str) and told != epoch


def said(body: Body | None) -> str:
    """Return the words of a refusal for a person: `reason: detail`, as far as they are text."""
    if body is None:
        return ""
    words = [word for word in (body.get("reason"), body.get("detail")) if isinstance(word, str) and word]
    return ": ".join(words)[:DETAIL_LIMIT]


# ---------------------------------------------------------------- the table

_BATCH_READ = 200


def _admitted(offer: Offer, status: int, body: Body, epoch: str) -> Settlement:
    if body.get("epoch") != epoch:
        return _unknown(offer, status, body, "admitted under another epoch")
    record = _record(body, offer) or _bare_record(body, offer)
    if record is None or RANK[record.state] < RANK[State.STORED]:
        return _unknown(offer, status, body, "admitted without a usable state")
    return Settlement(offer.peer, offer.tid, Attempt.ADMITTED, status, record, record.reason)


def _not_admitted(offer: Offer, status: int, body: Body, epoch: str) -> Settlement:
    if body.get("epoch") != epoch or body.get("status", status) != status:
        return _unknown(offer, status, body, "a refusal under another epoch")
    word = body.get("reason")
    named = Problem(word) if isinstance(word, str) and word in Problem.__members__.values() else None
    return Settlement(offer.peer, offer.tid, Attempt.NOT_ADMITTED, status, detail=said(body), problem=named)


def _wrong_epoch(offer: Offer, status: int, body: Body, epoch: str) -> Settlement:
    if body.get(REFUSED_EPOCH_KEY) != epoch or not other_epoch(body, epoch):
        return _unknown(offer, status, body, "a 412 that does not name the epoch we sent")
    return Settlement(offer.peer, offer.tid, Attempt.NOT_ADMITTED, status, detail=said(body))


def _ended(offer: Offer, status: int, body: Body, epoch: str) -> Settlement:
    if body.get("epoch") != epoch or body.get("final") is not True:
        return _unknown(offer, status, body, "a conflict without a final outcome of this epoch")
    record = _record(body, offer)
    reason = record.reason if record is not None and record.final else _reason(body)
    if reason is None or (record is not None and not record.final):
        return _unknown(offer, status, body, "a final answer without a usable reason")
    return Settlement(offer.peer, offer.tid, Attempt.ENDED, status, record, reason, said(body))


_Reader = Callable[[Offer, int, Body, str], Settlement]

TABLE: Final[Mapping[int, _Reader]] = {
    **dict.fromkeys((200, 201, 202), _admitted),
    **dict.fromkeys((400, 401, 403, 413, 421, 429, 503), _not_admitted),
    412: _wrong_epoch,
    **dict.fromkeys((409, 410, 422), _ended),
}
"""Status to its row; a status that is not here is UNKNOWN."""

SPLITS: Final = frozenset({400, 403, 413, 421})
"""Of a whole batch these say nothing of any item: the batch is too large or not to the peer's, or a proxy's, liking."""

# ---------------------------------------------------------------- reading


def _judge_own(offer: Offer, status: int, body: Body, epoch: str) -> Settlement:
    reader = TABLE.get(status)
    if reader is None:
        return _unknown(offer, status, body, "a status that decides nothing")
    try:
        return reader(offer, status, body, epoch)
    except BadRecord as error:
        return _unknown(offer, status, body, f"a record that cannot be used: {error}")


def _judge_whole(offer: Offer, status: int, body: Body | None, epoch: str) -> Settlement:
    # A batch refused as a whole was not read item by item, so no tid can stand in the answer. Only a refusal may be
    # without one: an admission or an ending is about a transfer.
    if body is None or body.get("tid") is not None or TABLE.get(status) not in (_not_admitted, _wrong_epoch):
        return _unknown(offer, status, body, "the batch was not answered by the peer")
    settled = _judge_own(offer, status, body, epoch)
    if settled.attempt is Attempt.NOT_ADMITTED and status in SPLITS:
        detail = f"the batch it was in was refused: {status} {settled.detail}".rstrip()
        return replace(settled, status=0, detail=detail[:DETAIL_LIMIT])
    return settled


def _judge_item(offer: Offer, item: Body | None, batch: Body, epoch: str) -> Settlement:
    code = item.get("code") if item is not None else None
    if item is None or not isinstance(code, int) or isinstance(code, bool):
        return _unknown(offer, _BATCH_READ, item, "the batch's answer does not tell of this transfer")
    return judge(offer, code, {"epoch": batch.get("epoch"), "time": batch.get("time"), **item}, epoch)


def _by_tid(results: list[Any]) -> dict[str, Body]:
    items: dict[str, Body] = {}
    twice: set[str] = set()
    for item in results:
        tid = item.get("tid") if isinstance(item, dict) else None
        if isinstance(tid, str):
            twice |= {tid} & items.keys()
            items[tid] = item
    return {tid: item for tid, item in items.items() if tid not in twice}


def _record(body: Body, offer: Offer) -> Record | None:
    fields = body.get("record")
    if fields is None:
        return None
    record = from_fields(fields)
    if record.tid != offer.tid:
        raise BadRecord("it is about another transfer")
    return record


def _bare_record(body: Body, offer: Offer) -> Record | None:
    # An admission must have a state; one that is final needs its record, because a reason goes with it.
    state, at = body.get("state"), body.get("time")
    if not isinstance(state, str) or state not in State.__members__.values() or not isinstance(at, str):
        return None
    record = Record(tid=offer.tid, state=State(state), by=offer.peer, at=at[:DETAIL_LIMIT])
    return None if record.final else record


def _reason(body: Body) -> Reason | None:
    word = body.get("reason")
    return Reason(word) if isinstance(word, str) and word in Reason.__members__.values() else None


def _unknown(offer: Offer, status: int, body: Body | None, why: str) -> Settlement:
    words = said(body)
    detail = f"{why}; it says {words}" if words else why
    return Settlement(offer.peer, offer.tid, Attempt.UNKNOWN, status, detail=detail[:DETAIL_LIMIT])
