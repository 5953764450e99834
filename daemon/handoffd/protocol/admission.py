"""Strict admission: the one gate between untrusted bytes and an agent's directory (custody.md section 6.1).

It owns every rule an admitted payload keeps and knows neither files nor keys: the HMAC's form is checked here, its
truth by the agent that holds the secret. The rule that must stay true: what is admitted makes no existing agent's
validator raise, and the bytes pass unchanged, however they are spaced or ordered.
"""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import CANARY_AGENT, AgentName, BadName, agent_name, handoff_id, is_caller_hash
from handoffd.protocol.payload import Envelope, identity_of, transfer_id

DEPTH_LIMIT = 64
"""Levels of nesting; an agent's parser recurses once a level."""
NUMBER_LIMIT_CHARS = 64
"""Longer integers make some agents' parsers raise (Python's int() stops at 4,300 digits)."""
PROTOCOL_VERSION = 1
REQUIRED = (
    "protocol_version",
    "handoff_id",
    "caller_hash",
    "from_agent",
    "to_agent",
    "reason",
    "initiated_at",
    "expires_at",
    "transcript",
    "hmac",
)
ROLES = ("user", "assistant", "system")

_HMAC = re.compile(r"[A-Za-z0-9+/]{43}=\Z")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = [0] * 256
_STEP[ord("[")] = _STEP[ord("{")] = 1
_STEP[ord("]")] = _STEP[ord("}")] = -1


class Inadmissible(Exception):
    """The payload breaks a rule; `detail` is one sentence naming the place, never any of the transcript."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def admit(data: bytes, *, agents: Collection[str], max_ttl_s: float, limit_bytes: int) -> Envelope:
    """Return the envelope of a payload that keeps every rule. Raises Inadmissible.

    `agents` is the allow-list for sender and target. Expiry is not looked at here: it needs a clock.
    """
    fields = _document(data, limit_bytes)
    _check_fixed_fields(fields)
    _check_transcript(fields["transcript"])
    sender, to = _pair(fields, agents)
    initiated_at, expires_at = _lifetime(fields, max_ttl_s)
    try:
        label = handoff_id(fields["handoff_id"])
    except BadName as error:
        raise Inadmissible(f"handoff_id: {error}") from None
    hmac = str(fields["hmac"])
    return Envelope(
        tid=transfer_id(data),
        identity=identity_of(sender, to, label, hmac),
        handoff_id=label,
        caller_hash=str(fields["caller_hash"]),
        sender=sender,
        to=to,
        hmac=hmac,
        initiated_at=initiated_at,
        expires_at=expires_at,
        expires_text=str(fields["expires_at"]),
    )


def _document(data: bytes, limit_bytes: int) -> Mapping[str, object]:
    if len(data) > limit_bytes:
        raise Inadmissible(f"{len(data)} bytes; at most {limit_bytes} are carried")
    if data.startswith(b"\xef\xbb\xbf"):
        raise Inadmissible("starts with a byte order mark; write UTF-8 without one")
    _check_depth(data)
    document = _parse(data)
    if not isinstance(document, dict):
        raise Inadmissible("the document is not one JSON object")
    if _ESCAPED_SURROGATE.search(data):
        _check_surrogates(document)
    return document


def _check_depth(data: bytes) -> None:
    if data.count(b"{") + data.count(b"[") <= DEPTH_LIMIT:
        return  # the usual case: too few brackets to be too deep, wherever they stand
    brackets = _outside_strings(data).translate(None, _NOT_BRACKETS)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > DEPTH_LIMIT:
        raise Inadmissible(f"nested deeper than {DEPTH_LIMIT} levels")


def _outside_strings(data: bytes) -> bytes:
    # A backslash outside a string may hide brackets here, but no parser gets past it.
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def _parse(data: bytes) -> object:
    try:
        return _DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        raise Inadmissible(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Inadmissible(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Inadmissible("an object has the same key twice; readers would disagree on its value")
    return fields


def _integer(literal: str) -> int:
    if len(literal) > NUMBER_LIMIT_CHARS:
        raise Inadmissible(f"a number has more than {NUMBER_LIMIT_CHARS} characters")
    return int(literal)


def _real(literal: str) -> float:
    if len(literal) > NUMBER_LIMIT_CHARS:
        raise Inadmissible(f"a number has more than {NUMBER_LIMIT_CHARS} characters")
    value = float(literal)
    if math.isinf(value):
        raise Inadmissible("a number is too large for a double")
    return value


def _constant(word: str) -> object:
    raise Inadmissible(f"{word} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_constant)
_RAW = json.JSONEncoder(ensure_ascii=False)


def _check_surrogates(document: object) -> None:
    try:
        _RAW.encode(document).encode()
    except UnicodeEncodeError:
        raise Inadmissible("a string holds half of a surrogate pair, which is no character") from None


def _check_fixed_fields(fields: Mapping[str, object]) -> None:
    for name in REQUIRED:
        if name not in fields:
            raise Inadmissible(f"{name} is missing")
    version = fields["protocol_version"]
    if type(version) is not int or version != PROTOCOL_VERSION:  # True == 1 == 1.0
        raise Inadmissible(f"protocol_version is not the integer {PROTOCOL_VERSION}")
    if not isinstance(fields["reason"], str):
        raise Inadmissible("reason is not a string")
    if not is_caller_hash(fields["caller_hash"]):
        raise Inadmissible("caller_hash is not 16 lower-case hex digits")
    hmac = fields["hmac"]
    if not (isinstance(hmac, str) and _HMAC.match(hmac)):
        raise Inadmissible("hmac is not 44 characters of base64")


def _check_transcript(transcript: object) -> None:
    if not isinstance(transcript, list):
        raise Inadmissible("transcript is not a list")
    for index, turn in enumerate(transcript):
        if not isinstance(turn, dict):
            raise Inadmissible(f"transcript[{index}] is not an object")
        if turn.get("role") not in ROLES:
            raise Inadmissible(f"transcript[{index}].role is not one of {', '.join(ROLES)}")
        if not isinstance(turn.get("text"), str):
            raise Inadmissible(f"transcript[{index}].text is not a string")


def _pair(fields: Mapping[str, object], agents: Collection[str]) -> tuple[AgentName, AgentName]:
    sender, to = _agent(fields, "from_agent", agents), _agent(fields, "to_agent", agents)
    if CANARY_AGENT in (sender, to):
        if sender != to:
            raise Inadmissible(f"{CANARY_AGENT} is reserved: daemons alone hand over to it, and only from it")
    elif sender == to:
        raise Inadmissible("from_agent and to_agent are the same")
    return sender, to


def _agent(fields: Mapping[str, object], field: str, agents: Collection[str]) -> AgentName:
    try:
        name = agent_name(fields[field])
    except BadName as error:
        raise Inadmissible(f"{field}: {error}") from None
    if name not in agents:
        raise Inadmissible(f"{field} {name} is not a known agent; add it to the configuration if it should be")
    return name


def _lifetime(fields: Mapping[str, object], max_ttl_s: float) -> tuple[float, float]:
    initiated_at, expires_at = _moment(fields, "initiated_at"), _moment(fields, "expires_at")
    lifetime_s = expires_at - initiated_at
    if not 0 < lifetime_s <= max_ttl_s:
        words = f"the lifetime, initiated_at to expires_at, is {lifetime_s:g} s"
        raise Inadmissible(f"{words}; it must be more than 0 and at most {max_ttl_s:g} s")
    return initiated_at, expires_at


def _moment(fields: Mapping[str, object], field: str) -> float:
    text = fields[field]
    if not isinstance(text, str):
        raise Inadmissible(f"{field} is not a string")
    try:
        return parse_moment(text)
    except ValueError as error:
        raise Inadmissible(f"{field}: {error}") from None
