"""The record: what is said about one handoff, to a peer, to an agent, to a person, and for ever in `outcome/`.

One shape for all of them (custody.md section 9). It holds no payload text. Decoding is strict because records
come from peers and from disk: a record that does not parse is refused, never half used.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handoffd.protocol.name import BadName, TransferId, agent_name, file_name, handoff_id, transfer_id
from handoffd.protocol.reason import STATE_OF, Delivered, Reason, State, is_final

DETAIL_LIMIT = 500
"""Characters of `detail`; the length custody.md section 6 grants a rejecting agent's words."""
NAME_LIMIT_BYTES = 255
"""NAME_MAX of Linux: whatever name an agent archived under, it is told."""
_EDGES = frozenset(state.value for state in State)


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
    """What is known of one transfer. `at` and `edges` are in the clock of `by`, the host that saw the state."""

    tid: TransferId
    state: State
    by: str
    at: str
    handoff_id: str | None = None
    identity: str | None = None
    sender: str | None = None
    to: str | None = None
    peer: str | None = None
    file: str | None = None
    reason: Reason | None = None
    delivered: Delivered | None = None
    expires_at: str | None = None
    clock_offset_ms: int | None = None
    detail: str = ""
    artefact: Artefact | None = None
    in_doubt: bool = False
    edges: Mapping[str, str] = field(default_factory=dict)

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
    if record.in_doubt:
        fields["in_doubt"] = True
    return fields


def encode(record: Record) -> bytes:
    """Return the record as one line of JSON, as stored in `outcome/T.json` and `X.reason`."""
    return json.dumps(to_fields(record), separators=(", ", ": ")).encode() + b"\n"


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
        file=_name(fields, "file", file_name),
        reason=None if reason is None else Reason(reason),
        delivered=None if delivered is None else Delivered(delivered),
        expires_at=_text(fields, "expires_at"),
        clock_offset_ms=_whole(fields, "clock_offset_ms"),
        detail=(_text(fields, "detail") or "")[:DETAIL_LIMIT],
        artefact=_artefact(fields.get("artefact")),
        in_doubt=fields.get("in_doubt") is True,
        edges=_read_edges(fields.get("edges")),
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
    return {word: at[:40] for word, at in value.items() if word in _EDGES and isinstance(at, str)}


def raised(record: Record, state: State, at: str) -> Record:
    """Return the record at a higher, non-final state, its edge noted."""
    return replace(record, state=state, at=at, edges={**record.edges, state.value: at})
