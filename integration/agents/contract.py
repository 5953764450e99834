"""What two agents that share a directory agree on, and nothing else.

Owns the four directories, the payload, its signature and the file names, as protocol version 1 has them. Knows of no
daemon, no network and no second host. The rule that must stay true: these agents behave like agents that existed before
the daemon did, so nothing here may be changed to please it. They never flush, and believe what `os.rename` tells them.
"""

import base64
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PLACES = ("handoff", "claimed", "archive", "rejected")
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

Payload = dict[str, Any]


def make_places(root: Path) -> None:
    """Create the four shared directories where they are missing."""
    for place in PLACES:
        (root / place).mkdir(mode=0o770, exist_ok=True)


def timestamp(moment: datetime) -> str:
    """Write an aware moment as agents do: ISO 8601, UTC, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def signature(payload: Payload, secret: bytes) -> str:
    """Return the base64 HMAC-SHA256 over the canonical JSON of all fields but `hmac`."""
    signed = {key: value for key, value in payload.items() if key != "hmac"}
    canonical = json.dumps(signed, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(hmac.new(secret, canonical.encode(), hashlib.sha256).digest()).decode()


def validate(payload: Payload, secret: bytes, now: datetime) -> str | None:
    """Return why this payload is to be refused, or None when it is good.

    Trusting, as existing validators are: hostile input (a number where a text belongs, a missing field, a list instead
    of an object) raises here, and takes the listener down with it.
    """
    for field in REQUIRED:
        if payload[field] is None:
            return f"missing_{field}"
    if payload["protocol_version"] != 1:
        return "unsupported_protocol_version"
    for turn in payload["transcript"]:
        if not turn["role"].lower() or turn["text"].strip() is None:
            return "bad_transcript"
    if not hmac.compare_digest(signature(payload, secret), payload["hmac"]):
        return "bad_hmac"
    if datetime.fromisoformat(payload["expires_at"]) <= now:
        return "expired"
    return None


def replace_into(directory: Path, name: str, content: bytes) -> None:
    """Write a file the way agents do: `.NAME.tmp` beside it, then `os.replace`. Never flushed."""
    temporary = directory / f".{name}.tmp"
    temporary.write_bytes(content)
    os.replace(temporary, directory / name)


def note(ledger: Path, agent: str, what: str, **fields: object) -> None:
    """Append one JSON line to the agent's own log, in a single write so that lines of two processes never mix."""
    line = json.dumps({"at": timestamp(datetime.now(UTC)), "agent": agent, "what": what, **fields})
    with ledger.open("ab", buffering=0) as log:
        log.write(line.encode() + b"\n")


def digest(content: bytes) -> str:
    """Return the lower-case hex SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()
