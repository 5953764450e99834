"""Payloads as a daemon sees them: names, times and the HMAC's text around bytes it never changes.

It owns the envelope, the two identities of a payload (T and S) and the lenient readers used before admission and
on files an agent rewrote. It knows no secret and no file. The rule that must stay true: the lenient readers never
raise, whatever the bytes, and no transcript leaves them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import AgentName, FileName, HandoffId, TransferId, published_name

REJECTION_FIELDS = ("rejection_reason", "reject_reason", "rejected_reason", "error")
REJECTION_WORDS_LIMIT = 500
"""Characters kept of an agent's words (custody.md section 6, Observe)."""

_quote = json.encoder.encode_basestring_ascii


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a daemon knows of an admitted payload; never the transcript."""

    tid: TransferId
    identity: str
    handoff_id: HandoffId
    caller_hash: str
    sender: AgentName
    to: AgentName
    hmac: str
    initiated_at: float
    expires_at: float
    expires_text: str

    @property
    def published_name(self) -> FileName:
        """Return N (custody.md section 2)."""
        return published_name(self.caller_hash, self.tid)


@dataclass(frozen=True, slots=True)
class Route:
    """What routing needs of a file that may be anything; only `sender` and `to` are certain to be there."""

    sender: str
    to: str
    expires_at: float | None
    handoff_id: str | None


def transfer_id(data: bytes) -> TransferId:
    """Return T, the lower-case hex SHA-256 of the exact bytes."""
    return TransferId(hashlib.sha256(data).hexdigest())


def identity_of(sender: str, to: str, handoff_id: str, hmac: str) -> str:
    """Return S, the signed identity (custody.md section 2)."""
    compact = f"[{_quote(sender)},{_quote(to)},{_quote(handoff_id)},{_quote(hmac)}]"
    return hashlib.sha256(compact.encode("ascii")).hexdigest()


def route(data: bytes) -> Route | None:
    """Return where the bytes want to go, or None unless they are an object with text in to_agent and from_agent."""
    return glance(data)[0]


def glance(data: bytes) -> tuple[Route | None, str | None, str | None]:
    """Return `route` and both halves of `label` from one parse: files of many MiB are read this way too."""
    fields = _fields(data)
    sender, to, handoff_id = (_text(fields, key) for key in ("from_agent", "to_agent", "handoff_id"))
    expires_at = _moment(_text(fields, "expires_at"))
    way = None if sender is None or to is None else Route(sender, to, expires_at, handoff_id)
    return way, handoff_id, _text(fields, "hmac")


def label(data: bytes) -> tuple[str | None, str | None]:
    """Return (handoff_id, hmac), each None if unreadable, to match a file that an agent rewrote."""
    fields = _fields(data)
    return _text(fields, "handoff_id"), _text(fields, "hmac")


def rejection_words(data: bytes) -> str:
    """Return the first non-empty text among REJECTION_FIELDS, at most 500 characters, else an empty string."""
    fields = _fields(data)
    found = (_text(fields, key) for key in REJECTION_FIELDS)
    return next((words for words in found if words), "")[:REJECTION_WORDS_LIMIT]


def _fields(data: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(fields: Mapping[str, object], key: str) -> str | None:
    value = fields.get(key)
    # A lone surrogate would raise later, wherever the text is written out.
    return value if isinstance(value, str) and _is_encodable(value) else None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moment(text: str | None) -> float | None:
    try:
        return None if text is None else parse_moment(text)
    except ValueError:
        return None
