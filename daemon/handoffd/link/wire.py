"""What the link says to a peer and reads from it, apart from verdicts on payloads: bodies of custody.md section 10.

It knows shapes, neither connections nor when to ask. The rule that must stay true: whatever a peer sends is either
read into values of known types or refused as `BadAnswer`; nothing of it is used half.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from handoffd.custody.message import Offer
from handoffd.link.answer import Body
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import AgentName, BadName, TransferId, agent_name, nonce
from handoffd.protocol.reason import State
from handoffd.protocol.record import BadRecord, Record, from_fields
from handoffd.protocol.timing import STATES_ITEMS

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
    return Greeting(epoch, version[:64], agents, pulls=body.get("link") == "pull")


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


def read_time(body: Body | None) -> float | None:
    """Return the peer's clock in an answer, POSIX seconds, or None where it is absent or unreadable."""
    told = body.get("time") if body is not None else None
    if not isinstance(told, str) or len(told) > 64:
        return None
    try:
        return parse_moment(told)
    except ValueError:
        return None


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
