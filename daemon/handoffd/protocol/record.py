"""The record: what is said about one handoff, to a peer, to an agent, to a person, and for ever in `outcome/`.

One shape for all of them (custody.md section 9). It holds no payload text. Decoding is strict because records
come from peers and from disk: a record that does not parse is refused, never half used.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from handoffd.protocol.name import BadName, TransferId, agent_name, file_name, handoff_id, host_name, transfer_id
from handoffd.protocol.reason import RANK, STATE_OF, Delivered, Reason, State, is_final

DETAIL_LIMIT = 500
"""Characters of `detail`; the length custody.md section 6 grants a rejecting agent's words."""
WHOLE_LIMIT = 10**15
"""Milliseconds of 30,000 years, bytes of a petabyte: what is more is no measure, and JSON has no end of digits."""
NAME_LIMIT_BYTES = 255
"""NAME_MAX of Linux: whatever name an agent archived under, it is told."""
CLOCKS_LIMIT = 20
"""Hosts whose clocks a record tells of: a path has at most 16 (custody.md section 11.6)."""
_RANKS = {state.value: rank for state, rank in RANK.items()}


class BadRecord(ValueError):
    """A record from a peer or from disk that cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """Final bytes that differ from the payload: the name they were archived under, SHA-256, size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one transfer. `by` is the host that saw the state, `at` by its clock, as are the `edges`.

    `edges_by` names another host for those edges that were timed by another clock. `clock_offset_ms` is how far the
    clock of `by` is ahead of the clock of the host that keeps or tells the record, `clocks` the same for the others.
    """

    tid: TransferId
    state: State
    by: str
    at: str
    handoff_id: str | None = None
    identity: str | None = None
    sender: str | None = None
    to: str | None = None
    peer: str | None = None
    onward: str | None = None
    """The peer it went on to from here; only a relay's record has one, and `peer` is the one it came from."""
    file: str | None = None
    reason: Reason | None = None
    delivered: Delivered | None = None
    expires_at: str | None = None
    clock_offset_ms: int | None = None
    detail: str = ""
    artefact: Artefact | None = None
    in_doubt: bool = False
    edges: Mapping[str, str] = field(default_factory=dict)
    edges_by: Mapping[str, str] = field(default_factory=dict)
    clocks: Mapping[str, int] = field(default_factory=dict)

    def timed_by(self, state: str) -> str:
        """Return the host by whose clock an edge is."""
        return self.edges_by.get(state, self.by)

    def ahead_ms(self, host: str) -> int | None:
        """Return how far a host's clock was ahead of the record keeper's, None if that was not measured."""
        return self.clock_offset_ms if host == self.by else self.clocks.get(host)

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return is_final(self.state)


def to_fields(record: Record) -> dict[str, Any]:
    """Return the record as JSON fields, keys as in custody.md section 9."""
    fields: dict[str, Any] = {
        "tid": record.tid,
        "handoff_id": record.handoff_id,
        "identity": record.identity,
        "from": record.sender,
        "to": record.to,
        "peer": record.peer,
        "file": record.file,
        "state": record.state.value,
        "reason": record.reason and record.reason.value,
        "delivered": record.delivered and record.delivered.value,
        "by": record.by,
        "expires_at": record.expires_at,
        "at": record.at,
        "clock_offset_ms": record.clock_offset_ms,
        "detail": record.detail,
        "artefact": None,
        "edges": dict(record.edges),
    }
    if record.artefact is not None:
        fields["artefact"] = {
            "name": record.artefact.name,
            "sha256": record.artefact.sha256,
            "size": record.artefact.size,
        }
    if record.edges_by:
        fields["edges_by"] = dict(record.edges_by)
    if record.clocks:
        fields["clocks"] = dict(record.clocks)
    if record.onward is not None:
        fields["onward"] = record.onward
    if record.in_doubt:
        fields["in_doubt"] = True
    return fields


def encode(record: Record) -> bytes:
    """Return the record as one line of JSON, as stored in `outcome/T.json` and `X.reason`."""
    return json.dumps(to_fields(record)).encode() + b"\n"


def fitting(records: Sequence[Record], limit_bytes: int) -> int:
    """Return how many of these, from the first on, fit into so many bytes together; the first one always does."""
    size = 0
    for number, record in enumerate(records):
        size += len(encode(record))
        if size > limit_bytes and number:
            return number
    return len(records)


def decode(data: bytes) -> Record:
    """Read one record. Raises BadRecord."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"not JSON: {error}") from None
    return from_fields(fields)


def from_fields(fields: object) -> Record:
    """Read a record from decoded JSON, unknown keys ignored. Raises BadRecord."""
    if not isinstance(fields, dict):
        raise BadRecord("a record must be a JSON object")
    try:
        record = _read(fields)
    except BadRecord:
        raise  # a ValueError too, and it says what is wrong
    except BadName as error:
        raise BadRecord(str(error)) from None
    except ValueError as error:
        raise BadRecord(f"unknown word in a record: {error}") from None
    if record.final and (record.reason is None or STATE_OF[record.reason] is not record.state):
        raise BadRecord(f"state {record.state} does not go with reason {record.reason}")
    return record


def _read(fields: dict[str, Any]) -> Record:
    reason, delivered = fields.get("reason"), fields.get("delivered")
    return Record(
        tid=transfer_id(fields.get("tid")),
        state=State(str(fields.get("state"))),
        by=_text(fields, "by") or "",
        at=_text(fields, "at") or "",
        handoff_id=_name(fields, "handoff_id", handoff_id),
        identity=_name(fields, "identity", transfer_id),
        sender=_name(fields, "from", agent_name),
        to=_name(fields, "to", agent_name),
        peer=_text(fields, "peer"),
        onward=_text(fields, "onward"),
        file=_name(fields, "file", file_name),
        reason=None if reason is None else Reason(reason),
        delivered=None if delivered is None else Delivered(delivered),
        expires_at=_text(fields, "expires_at"),
        clock_offset_ms=_whole(fields, "clock_offset_ms"),
        detail=(_text(fields, "detail") or "")[:DETAIL_LIMIT],
        artefact=_artefact(fields.get("artefact")),
        in_doubt=fields.get("in_doubt") is True,
        edges=_read_edges(fields.get("edges")),
        edges_by=_read_edges_by(fields.get("edges_by")),
        clocks=_read_clocks(fields.get("clocks")),
    )


def _name(fields: dict[str, Any], key: str, parse: Any) -> str | None:
    value = fields.get(key)
    return None if value is None else str(parse(value))


def _text(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRecord(f"{key} must be a string")
    return None if value is None else value[:DETAIL_LIMIT]


def _whole(fields: dict[str, Any], key: str) -> int | None:
    value = fields.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise BadRecord(f"{key} must be an integer")
    if value is not None and abs(value) > WHOLE_LIMIT:
        raise BadRecord(f"{key} is out of range")
    return value


def _artefact(value: object) -> Artefact | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not _is_plain(value.get("name")):
        raise BadRecord("artefact must be an object with a plain file name, sha256 and size")
    size = _whole(value, "size")
    if size is None or size < 0:
        raise BadRecord("artefact size must be a whole number of bytes")
    return Artefact(name=value["name"], sha256=transfer_id(value.get("sha256")), size=size)


def _is_plain(name: object) -> bool:
    """Tell whether a peer's word for a file can be nothing but a name in one directory."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    try:
        return len(name.encode("utf-8", "surrogateescape")) <= NAME_LIMIT_BYTES
    except UnicodeEncodeError:
        return False  # no directory can hold it


def _read_edges(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {word: at[:40] for word, at in value.items() if word in _RANKS and isinstance(at, str)}


def _read_edges_by(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {word: host for word, host in value.items() if word in _RANKS and _is_host(host)}


def _read_clocks(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > CLOCKS_LIMIT:
        return {}
    return {host: ms for host, ms in value.items() if _is_host(host) and _is_measure(ms)}


def _is_measure(value: object) -> bool:
    return type(value) is int and abs(value) <= WHOLE_LIMIT


def _is_host(name: object) -> bool:
    try:
        host_name(name)
    except BadName:
        return False
    return True


def as_heard(record: Record, teller: str, offset_ms: int | None) -> Record:
    """Return what a peer told with its measures turned to ours: its clock is ahead of ours by `offset_ms`.

    What `teller` measured of a third host adds up with that; what either did not measure is not known.
    """

    def ahead_ms(host: str) -> int | None:
        beyond = 0 if host == teller else record.ahead_ms(host)
        return None if beyond is None or offset_ms is None else beyond + offset_ms

    found = {host: ahead_ms(host) for host in {*record.edges_by.values()} - {record.by}}
    clocks = {host: ms for host, ms in found.items() if ms is not None}
    return replace(record, clock_offset_ms=ahead_ms(record.by), clocks=clocks)


def with_course(
    record: Record, host: str, edges: Mapping[str, str], edges_by: Mapping[str, str], clocks: Mapping[str, int]
) -> Record:
    """Return a record with what `host`, which keeps it, noted of the way to it; of one state its own note counts.

    An edge is by the clock of `host` unless `edges_by` names another; `clocks` are what `host` measured of them.
    """
    times = {**record.edges, **edges}
    known = {state: edges_by.get(state, host) if state in edges else record.timed_by(state) for state in times}
    others = {state: by for state, by in known.items() if by != record.by}
    measured = {**clocks, **record.clocks}
    return replace(
        record,
        edges={state: times[state] for state in sorted(times, key=_RANKS.__getitem__)},
        edges_by=others,
        clocks={by: measured[by] for by in dict.fromkeys(others.values()) if by in measured},
        clock_offset_ms=clocks.get(record.by) if record.clock_offset_ms is None else record.clock_offset_ms,
    )
