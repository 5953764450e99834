"""Signed handoffs as an agent writes them, and the two moves of an agent: publish, and claim then archive."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

SIZE_BYTES = 2_048
LIFETIME = timedelta(hours=1)
"""Longer than any section runs: the janitor is not what is measured."""
DIRECTORIES = ("handoff", "claimed", "archive", "rejected")

_SECRET = b"pair-secret-of-the-benchmark"


@dataclass(frozen=True, slots=True)
class Payload:
    """One handoff: its unique caller hash, its label and the bytes of its file."""

    caller_hash: str
    handoff_id: str
    data: bytes

    @property
    def name(self) -> str:
        """Return the file name its writer gives it."""
        return f"{self.caller_hash}-0.json"


def make_payload(size_bytes: int = SIZE_BYTES, lifetime: timedelta = LIFETIME) -> Payload:
    """Return a handoff from bob to alice, new in every respect, of exactly this size."""
    caller_hash = secrets.token_hex(8)
    now = datetime.now(UTC)
    fields = {
        "protocol_version": 1,
        "handoff_id": f"{int(now.timestamp())}-bob-alice-{caller_hash}",
        "caller_hash": caller_hash,
        "from_agent": "bob",
        "to_agent": "alice",
        "reason": "scheduling_capability",
        "initiated_at": now.isoformat(),
        "expires_at": (now + lifetime).isoformat(),
        "transcript": [{"role": "user", "text": ""}],
        "hmac": "=" * 44,
    }
    fields["transcript"] = [{"role": "user", "text": "x" * (size_bytes - len(_canonical(fields)))}]
    del fields["hmac"]
    digest = hmac.digest(_SECRET, _canonical(fields), hashlib.sha256)
    fields["hmac"] = base64.b64encode(digest).decode()
    return Payload(caller_hash, str(fields["handoff_id"]), _canonical(fields))


def make_root(root: Path) -> Path:
    """Make a shared directory with its four parts and return it."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    return root


def write_hidden(root: Path, payload: Payload) -> Path:
    """Write the payload under its temporary name, which nobody looks at."""
    path = root / "handoff" / f".{payload.name}.tmp"
    path.write_bytes(payload.data)
    return path


def publish(root: Path, payload: Payload) -> int:
    """Write and rename as an agent does; return the moment of the rename in ns of CLOCK_MONOTONIC."""
    return reveal(root, payload, write_hidden(root, payload))


def reveal(root: Path, payload: Payload, hidden: Path) -> int:
    """Give the hidden file its name; return the moment just before in ns of CLOCK_MONOTONIC."""
    started_ns = time.monotonic_ns()
    os.replace(hidden, root / "handoff" / payload.name)
    return started_ns


def claim_and_archive(root: Path, name: str, handoff_id: str) -> int:
    """Take the file out of handoff/ and end it in archive/; return the moment of the second rename in ns."""
    os.rename(root / "handoff" / name, root / "claimed" / name)
    ended_ns = time.monotonic_ns()
    os.replace(root / "claimed" / name, root / "archive" / f"{int(time.time())}-bob-alice-{handoff_id}.json")
    return ended_ns


def _canonical(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
