"""What the link says to a peer and reads from it, apart from verdicts on payloads: bodies of custody.md section 10.

It knows shapes, neither connections nor when to ask. The rule that must stay true: whatever a peer sends is either
read into values of known types or refused as `BadAnswer`; nothing of it is used half.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from handoffd.custody.message import Offer
from handoffd.custody.visit import Wishes
from handoffd.link.answer import Body
from handoffd.protocol.moment import format_moment, parse_moment
from handoffd.protocol.name import AgentName, BadName, TransferId, agent_name, host_name, nonce, transfer_id
from handoffd.protocol.payload import transfer_id as transfer_id_of
from handoffd.protocol.reason import State
from handoffd.protocol.record import BadRecord, Record, from_fields, to_fields
from handoffd.protocol.timing import STATES_ITEMS, STATES_LIMIT_BYTES

_CHALLENGE = re.compile(r"[!-~]{1,64}\Z")
"""A peer's challenge goes back to it in a header, so nothing in it may end one."""
TIME_LIMIT = 64
PATH_HOSTS = 32
TELL_FRAME_BYTES = 80
"""What a body adds to a record: T as its key, and marks."""
TELL_LIMIT_BYTES = STATES_LIMIT_BYTES - (8 << 10)
_HANDED_OUT, _TAKEN_ELSEWHERE = 200, 409
HOMES_LIMIT = 10_000
"""Agents one host may name; far above any host, and it bounds what a hostile one can make us keep."""
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
BATCH_HEAD, BATCH_TAIL = b'{"items":[', b"]}"


class BadAnswer(ValueError):
    """An answer that is not what the interface says; the message names what is wrong."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """A peer's answer to /hello. `version` is its handoffd's, `pulls`: it waits for us to dial in."""

    epoch: str
    version: str
    homes: frozenset[AgentName]
    pulls: bool
    challenge: str = ""


@dataclass(frozen=True, slots=True)
class Records:
    """Records of transfers, and for each that could not be used one line of why."""

    good: tuple[Record, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatesPage:
    """Records that rose, and where to go on from. `reset`: that peer does not know the cursor; `lost`: nor these T."""

    records: Records
    cursor: str
    reset: bool
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Lent:
    """One payload of a lease, its bytes seen to be T's; `path`: the hosts that handed it on."""

    tid: TransferId
    data: bytes
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parcels:
    """The payloads of a lease, for each that could not be used one line of why, and what another home has."""

    good: tuple[Lent, ...]
    refused: tuple[str, ...] = ()
    elsewhere: tuple[TransferId, ...] = ()


# ---------------------------------------------------------------- we say


def batch_item(offer: Offer, path: Sequence[str]) -> bytes | None:
    """Return one item of a batch, its payload as one JSON string, or None for bytes that are no UTF-8 text."""
    try:
        text = offer.data.decode()
    except UnicodeDecodeError:
        return None
    return _ENCODE({"tid": offer.tid, "path": path, "payload": text}).encode()


def batch_body(items: Iterable[bytes]) -> bytes:
    """Return the body of POST /handoffs/batch."""
    return BATCH_HEAD + b",".join(items) + BATCH_TAIL


def states_body(known: Mapping[TransferId, State], since: str | None, wait_s: float) -> bytes:
    """Return the body of POST /handoffs/states for a push link."""
    return json.dumps({"known": dict(known), "since": since, "wait": wait_s}).encode()


def tell_bodies(records: Sequence[Record], *, more: bool, wait_s: float) -> Iterator[tuple[tuple[Record, ...], bytes]]:
    """Return what to tell a peer, cut so that each body is taken, and the records that it tells of."""
    page: list[Record] = []
    size = 0
    for record in records:
        length = len(_ENCODE(to_fields(record)).encode())
        if page and size + length > TELL_LIMIT_BYTES:
            yield tuple(page), _tell_body(page, more=True, wait_s=0.0)
            page, size = [], 0
        page.append(record)
        size += length + TELL_FRAME_BYTES
    yield tuple(page), _tell_body(page, more=more, wait_s=wait_s)


def _tell_body(records: Iterable[Record], *, more: bool, wait_s: float) -> bytes:
    told = {record.tid: to_fields(record) for record in records}
    return _ENCODE({"tell": told, "more": more, "wait": wait_s}).encode()


def echo(told: str, came_s: float, now_s: float) -> str:
    """Return what lets a peer that we call measure our clock: its time of an answer, ours when that came, ours now."""
    return f"{told} {format_moment(came_s)} {format_moment(now_s)}"


def tids_body(tids: Sequence[TransferId]) -> bytes:
    """Return the body of POST /handoffs/revoke and /forget."""
    return json.dumps({"tids": list(tids)}).encode()


# ---------------------------------------------------------------- the peer says


def read_greeting(body: Body | None) -> Greeting:
    """Return what /hello said. Raises BadAnswer."""
    if body is None:
        raise BadAnswer("the answer to /hello is not a JSON object")
    homes, version = body.get("homes"), body.get("version")
    if not isinstance(version, str) or not version:
        raise BadAnswer("/hello names no version")
    if not isinstance(homes, list) or len(homes) > HOMES_LIMIT:
        raise BadAnswer("homes in /hello is not a list of agents")
    try:
        epoch = nonce(body.get("epoch"))
        agents = frozenset(agent_name(home) for home in homes)
    except BadName as error:
        raise BadAnswer(f"/hello: {error}") from None
    challenge = body.get("challenge")
    shown = challenge if isinstance(challenge, str) and _CHALLENGE.match(challenge) else ""
    return Greeting(epoch, version[:64], agents, pulls=body.get("link") == "pull", challenge=shown)


def read_states(body: Body | None) -> StatesPage:
    """Return what /handoffs/states said; `states` maps T to its record. Raises BadAnswer."""
    if body is None:
        raise BadAnswer("the answer to /handoffs/states is not a JSON object")
    cursor = body.get("cursor")
    if not isinstance(cursor, str) or len(cursor) > 256:
        raise BadAnswer("/handoffs/states names no cursor")
    lost = body.get("lost", [])
    if not isinstance(lost, list):
        raise BadAnswer("lost is not a list of transfers")
    gone = frozenset(tid for tid in lost if isinstance(tid, str))
    return StatesPage(read_records(body), cursor, body.get("reset") is True, gone)


def read_records(body: Body | None) -> Records:
    """Return the records under `states`, which maps T to its record. Raises BadAnswer.

    A record that cannot be used is left out alone: it must not hold back the news of every other transfer.
    """
    states = body.get("states") if body is not None else None
    if not isinstance(states, dict):
        raise BadAnswer("states is not an object of records")
    good, refused = [], []
    for tid, fields in states.items():
        try:
            good.append(_record(tid, fields))
        except BadRecord as error:
            refused.append(f"{tid[:12]}: {error}")
    return Records(tuple(good), tuple(refused))


def read_wishes(body: Body | None) -> Wishes:
    """Return what a peer wants of us, as the answer to what we told it. Raises BadAnswer."""
    if body is None:
        raise BadAnswer("the answer to /handoffs/states is not a JSON object")
    return Wishes(_tids(body, "take"), _tids(body, "verdict"), _tids(body, "forget"))


def read_parcels(body: Body | None, asked: Collection[TransferId]) -> Parcels:
    """Return the payloads in the answer to a lease. Raises BadAnswer.

    What was not asked for is left out; what is not as it should be is left out alone, with one line of why.
    """
    results = body.get("results") if body is not None else None
    if not isinstance(results, list):
        raise BadAnswer("results is not a list")
    good, refused, elsewhere = [], [], []
    for item in results:
        tid = item.get("tid") if isinstance(item, dict) else None
        if not isinstance(tid, str) or tid not in asked:
            continue
        code = item.get("code")
        if code == _TAKEN_ELSEWHERE:
            elsewhere.append(TransferId(tid))
        if code != _HANDED_OUT:
            continue
        try:
            good.append(_lent(TransferId(tid), item))
        except (BadName, BadAnswer) as error:
            refused.append(f"{tid[:12]}: {error}")
    return Parcels(tuple(good), tuple(refused), tuple(elsewhere))


def _lent(tid: TransferId, item: Mapping[str, object]) -> Lent:
    text, path = item.get("payload"), item.get("path", [])
    if not isinstance(text, str) or not isinstance(path, list) or len(path) > PATH_HOSTS:
        raise BadAnswer("a payload that is no text, or a path that is no list of hosts")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise BadAnswer("the payload holds half of a surrogate pair") from None
    if transfer_id_of(data) != tid:
        raise BadAnswer("its bytes do not hash to T; they were changed on their way")
    return Lent(tid, data, tuple(host_name(host) for host in path))


def _tids(body: Body, name: str) -> tuple[TransferId, ...]:
    listed = body.get(name, [])
    if not isinstance(listed, list) or len(listed) > STATES_ITEMS:
        raise BadAnswer(f"{name} is not a list of transfers")
    try:
        return tuple(transfer_id(tid) for tid in listed)
    except BadName as error:
        raise BadAnswer(f"{name}: {error}") from None


def told_time(body: Body | None) -> str | None:
    """Return the peer's clock in an answer as it wrote it, or None where it is absent or unreadable."""
    told = body.get("time") if body is not None else None
    if not isinstance(told, str) or len(told) > TIME_LIMIT:
        return None
    try:
        parse_moment(told)
    except ValueError:
        return None
    return told


def read_time(body: Body | None) -> float | None:
    """Return the peer's clock in an answer, POSIX seconds, or None where it is absent or unreadable."""
    told = told_time(body)
    return None if told is None else parse_moment(told)


def pages(known: Mapping[TransferId, State]) -> Iterable[dict[TransferId, State]]:
    """Cut what we know into pages of at most STATES_ITEMS, in its own order."""
    items = list(known.items())
    for start in range(0, len(items), STATES_ITEMS):
        yield dict(items[start : start + STATES_ITEMS])


def groups(tids: Sequence[TransferId]) -> Iterable[tuple[TransferId, ...]]:
    """Cut a list of transfers into groups of at most STATES_ITEMS."""
    for start in range(0, len(tids), STATES_ITEMS):
        yield tuple(tids[start : start + STATES_ITEMS])


def _record(tid: str, fields: object) -> Record:
    record = from_fields(fields)
    if record.tid != tid:
        raise BadRecord("it is about another transfer")
    return record
