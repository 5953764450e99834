"""JSON schemas (2020-12) of every body, by name, as the OpenAPI document and its tests read them.

Lists of words and limits come from `protocol`, so a new reason or state cannot be missing here.
"""

from typing import Any

from handoffd.hub.answer import STATUS_WORD
from handoffd.protocol.admission import REQUIRED
from handoffd.protocol.reason import Delivered, Problem, Reason, State
from handoffd.protocol.timing import BATCH_ITEMS, STATES_ITEMS, STATES_WAIT_S

Schema = dict[str, Any]

TID: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
IDENT: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"}
AGENT: Schema = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"}
HOST: Schema = {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{0,62}$"}
NONCE: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
TEXT: Schema = {"type": "string"}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _words(kind: type[State] | type[Reason] | type[Problem] | type[Delivered]) -> Schema:
    return {"type": "string", "enum": [word.value for word in kind]}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


STAMP: Schema = {"epoch": TEXT, "time": MOMENT}

RECORD: Schema = _object(
    {"tid": TID, "state": _words(State), "by": TEXT, "at": TEXT},
    {
        "handoff_id": _or_null(TEXT),
        "identity": _or_null(TID),
        "from": _or_null(AGENT),
        "to": _or_null(AGENT),
        "peer": _or_null(TEXT),
        "file": _or_null(TEXT),
        "reason": _or_null(_words(Reason)),
        "delivered": _or_null(_words(Delivered)),
        "expires_at": _or_null(TEXT),
        "clock_offset_ms": _or_null({"type": "integer"}),
        "detail": TEXT,
        "artefact": _or_null(_object({"name": TEXT, "sha256": TID, "size": {"type": "integer", "minimum": 0}})),
        "edges": {"type": "object", "additionalProperties": TEXT},
        "edges_by": {"type": "object", "additionalProperties": TEXT},
        "clocks": {"type": "object", "additionalProperties": {"type": "integer"}},
        "onward": TEXT,
        "in_doubt": {"type": "boolean"},
    },
)

HANDOFF: Schema = _object(
    {
        "handoff_id": _or_null(TEXT),
        "status": {"type": "string", "enum": sorted(set(STATUS_WORD.values()))},
        "tid": TID,
        "state": _words(State),
        "record": _ref("Record"),
        **STAMP,
    },
    {"reason": _words(Reason), "safe_to_retry": {"type": "boolean"}},
)

PROBLEM: Schema = _object(
    {
        "type": {"type": "string", "const": "about:blank"},
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": TEXT,
        "reason": {"type": "string", "enum": [*_words(Reason)["enum"], *_words(Problem)["enum"]]},
        "final": {"type": "boolean"},
        "time": MOMENT,
    },
    {"epoch": TEXT, "tid": TID, "record": _ref("Record"), "refused_epoch": TEXT, "unpaired": {"type": "boolean"}},
)

PAYLOAD: Schema = {
    "type": "object",
    "required": list(REQUIRED),
    "description": "A signed handoff of protocol version 1. Its exact bytes are carried; section 6.1 of "
    "docs/custody.md lists the rules, of which a schema can say only these.",
    "properties": {
        "protocol_version": {"const": 1},
        "handoff_id": IDENT,
        "caller_hash": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "from_agent": AGENT,
        "to_agent": AGENT,
        "reason": TEXT,
        "initiated_at": MOMENT,
        "expires_at": MOMENT,
        "transcript": {
            "type": "array",
            "items": _object({"role": {"enum": ["user", "assistant", "system"]}, "text": TEXT}),
        },
        "hmac": {"type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$"},
    },
}

ITEM: Schema = _object(
    {"tid": TID, "payload": {"type": "string", "description": "the exact text of the payload"}},
    {"path": _or_null({"type": "array", "items": HOST, "maxItems": 32})},
)

_TIDS: Schema = {"type": "array", "items": TID}

SCHEMAS: dict[str, Schema] = {
    "Record": RECORD,
    "Handoff": HANDOFF,
    "Problem": PROBLEM,
    "Payload": PAYLOAD,
    "Artefact": {"type": "object", "description": "The final bytes, when they differ from the payload."},
    "Rejection": {
        "type": "object",
        "description": "The agent's words in `reason`; or, if there is an `hmac`, the final bytes.",
        "properties": {"reason": _or_null(TEXT)},
    },
    "Nonce": {"type": "object", "properties": {"nonce": _or_null(NONCE)}},
    "Batch": _object({"items": {"type": "array", "maxItems": BATCH_ITEMS, "items": ITEM}}),
    "BatchResults": _object(
        {
            "results": {
                "type": "array",
                "items": _object({"tid": _or_null(TID), "code": {"type": "integer"}}),
            },
            **STAMP,
        }
    ),
    "StatesQuery": {
        "type": "object",
        "properties": {
            "known": _or_null(
                {
                    "type": "object",
                    "propertyNames": TID,
                    "additionalProperties": _words(State),
                    "maxProperties": STATES_ITEMS,
                }
            ),
            "since": _or_null(TEXT),
            "wait": {"type": ["number", "null"], "minimum": 0, "description": f"seconds, cut to {STATES_WAIT_S:g}"},
            "tell": _or_null(
                {
                    "type": "object",
                    "propertyNames": TID,
                    "additionalProperties": _ref("Record"),
                    "maxProperties": STATES_ITEMS,
                    "description": "a peer that dials in: its own records; `known` and `since` are not looked at then",
                }
            ),
            "more": {"type": ["boolean", "null"], "description": "with `tell`: there is more to tell at once"},
        },
    },
    "StatesNews": _object(
        {"states": {"type": "object", "additionalProperties": _ref("Record")}, "cursor": TEXT, **STAMP},
        {"reset": {"type": "boolean"}, "lost": {"type": "array", "items": TID}},
    ),
    "Wishes": _object({**dict.fromkeys(("take", "verdict", "forget"), _TIDS), **STAMP}),
    "StatesAnswer": {"anyOf": [_ref("StatesNews"), _ref("Wishes")]},
    "LeaseTids": _object({"tids": {"type": "array", "items": TID, "maxItems": BATCH_ITEMS}}),
    "LeaseResults": _object(
        {
            "results": {
                "type": "array",
                "items": _object(
                    {"tid": _or_null(TID), "code": {"type": "integer"}},
                    {"payload": TEXT, "path": {"type": "array", "items": HOST}},
                ),
            },
            **STAMP,
        }
    ),
    "Tids": _object({"tids": {"type": "array", "items": TID, "maxItems": STATES_ITEMS}}),
    "States": _object({"states": {"type": "object", "additionalProperties": _ref("Record")}, **STAMP}),
    "Hello": _object(
        {
            "version": TEXT,
            "homes": {"type": "array", "items": AGENT},
            "link": {"enum": ["push", "pull"]},
            **STAMP,
        },
        {"challenge": NONCE, "accepted": {"type": "boolean"}},
    ),
    "Health": _object({"status": {"enum": ["ok", "ready"]}, **STAMP}),
    "Status": _object(
        {
            "format": {"type": "integer"},
            "host": HOST,
            "root": TEXT,
            "version": TEXT,
            "daemon": {"enum": ["running"]},
            "ready": {"type": "boolean"},
            "started": MOMENT,
            "warnings": _list("Concern"),
            "peers": {"type": "array", "items": {"type": "object"}},
            "handoffs": {"type": "array", "items": {"type": "object"}},
            "in_doubt": {"type": "array", "items": {"type": "object"}},
            "ended": {"type": "object", "additionalProperties": {"type": "integer"}},
            "latency": {"type": "object"},
            "journal": {"type": "object"},
            "disk": {"type": "object"},
            **STAMP,
        }
    ),
    "Concern": _object({"word": TEXT, "peer": _or_null(HOST), "detail": TEXT, "remedy": TEXT}),
    "PairStep": {"type": "object", "description": "One step of a pairing (docs/pairing.md)."},
    "TokenChange": {"type": "object", "properties": {"sha256": _or_null(TID)}},
    "CertificateChange": _object(
        {"certificate": {"type": "string", "description": "one PEM certificate"}},
        {"signature": _or_null({"type": "string", "pattern": "^([0-9a-f]{2}){0,256}$"})},
    ),
    "InviteOpen": _object({"invite": TEXT, "peer": HOST, "lifetime_s": {"type": "number", "minimum": 0}}),
    "InviteNext": _object({"invite": TEXT}, {"wait": {"type": "number", "minimum": 0}}),
    "InviteReply": _object({"invite": TEXT, "answer": {"type": "object"}}),
    "InviteEnd": _object({"invite": TEXT, "word": TEXT}, {"detail": TEXT}),
    "Came": _object({"came": {"type": "object"}, **STAMP}),
    "Reloaded": _object({"problems": {"type": "array", "items": TEXT}, **STAMP}),
    "Note": _object({"event": TEXT}, {"peer": TEXT, "detail": TEXT}),
    "Tid": _object({"tid": TID}),
    "Journey": _object(
        {
            "tid": TID,
            "state": _words(State),
            "record": _ref("Record"),
            "at": _object({"asked": MOMENT, "taken": MOMENT, "posted": _or_null(MOMENT), "home": MOMENT}),
            **STAMP,
        }
    ),
    "PageLink": _object(
        {
            "code": TEXT,
            "within_s": {"type": "number"},
            "near": {"type": "array", "items": TEXT},
            "far": {"type": "array", "items": TEXT},
            **STAMP,
        }
    ),
    "PageCode": _object({"code": TEXT}),
    "PageSession": _object({"token": TEXT, "until": MOMENT, "time": MOMENT}),
    "Story": {"type": "object", "description": "As `handoffd trace --json` tells it."},
    "Standing": _object({"tid": TID, "state": _words(State), "record": _ref("Record"), **STAMP}),
}
