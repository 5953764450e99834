"""A handoff to be written: what its author says, turned into signed version 1 bytes.

It knows the contract's fields and no directory. The rule that must stay true: what is composed here is admissible
everywhere, so that a mistake is told to its author and not found by a daemon later.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from handoffd.protocol.admission import PROTOCOL_VERSION, REQUIRED, Inadmissible, admit
from handoffd.protocol.moment import format_moment
from handoffd.protocol.payload import Envelope
from handoffd.protocol.signature import sign
from handoffd.protocol.timing import MAX_TTL_LIMIT_S, PAYLOAD_LIMIT_BYTES

DEFAULT_TTL_S = 60.0
"""The lifetime existing agents give: someone may be waiting on a telephone line."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What the author decides. `extra` holds further fields, signed like the rest."""

    to: str
    reason: str
    transcript: Sequence[Mapping[str, object]] = ()
    summary: str | None = None
    caller_hash: str | None = None
    ttl_s: float = DEFAULT_TTL_S
    extra: Mapping[str, object] = field(default_factory=dict)


def compose(draft: Draft, sender: str, secret: bytes, now: float) -> tuple[bytes, Envelope]:
    """Return the exact bytes to write and their envelope. Raises Inadmissible, ValueError."""
    taken = sorted({*REQUIRED, "context_summary"} & draft.extra.keys())
    if taken:
        raise ValueError(f"{taken[0]} has its own option; it cannot be an extra field")
    if not 0 < draft.ttl_s <= MAX_TTL_LIMIT_S:  # here too: some numbers are no moment that could be written
        words = f"the lifetime, initiated_at to expires_at, is {draft.ttl_s:g} s"
        raise Inadmissible(f"{words}; it must be more than 0 and at most {MAX_TTL_LIMIT_S:g} s")
    fields = _fields(draft, sender, now)
    fields["hmac"] = sign(fields, secret)
    # The form existing agents write; readers and the HMAC depend on no spacing or order.
    data = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")
    agents = (sender, draft.to)
    return data, admit(data, agents=agents, max_ttl_s=MAX_TTL_LIMIT_S, limit_bytes=PAYLOAD_LIMIT_BYTES)


def _fields(draft: Draft, sender: str, now: float) -> dict[str, object]:
    # Without a caller the hash is random: its names then collide with no other writer's.
    caller = draft.caller_hash or secrets.token_hex(8)
    summary = {} if draft.summary is None else {"context_summary": draft.summary}
    return {
        "protocol_version": PROTOCOL_VERSION,
        "handoff_id": f"{int(now)}-{sender}-{draft.to}-{caller}",
        "caller_hash": caller,
        "from_agent": sender,
        "to_agent": draft.to,
        "reason": draft.reason,
        "initiated_at": format_moment(now),
        "expires_at": format_moment(now + draft.ttl_s),
        "transcript": list(draft.transcript),
        **summary,
        **draft.extra,
    }
