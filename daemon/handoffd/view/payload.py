"""A payload's bytes, found among the files of a root, and what may be told of them.

It owns the search. The rule that must stay true: bytes are the payload only if they hash to T.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from handoffd.custody.entry import Entry
from handoffd.custody.reading import read_file
from handoffd.custody.remains import Found, Remain
from handoffd.protocol.payload import transfer_id

_NEVER_SHOWN = frozenset({"transcript", "hmac"})
"""The HMAC is no secret, but nobody reads it; `show --payload` prints it."""


def payload_of(root: Path, entry: Entry, found: Iterable[Found]) -> bytes | None:
    """Return the payload's exact bytes if any file here still holds them."""
    places = [seen.path for seen in entry.sightings] + [each.path for each in found if each.what is Remain.PAYLOAD]
    for path in places:
        read = read_file(root / path)
        if read is not None and transfer_id(read[0]) == entry.tid:
            return read[0]
    return None


def payload_facts(data: bytes) -> dict[str, Any]:
    """Return what may be told of a payload: no transcript, only how long it is."""
    fields = json.loads(data)
    facts: dict[str, Any] = {"size": len(data)}
    if isinstance(fields, dict):
        facts |= {key: fields[key] for key in ("reason", "initiated_at", "expires_at", "caller_hash") if key in fields}
        transcript = fields.get("transcript")
        facts["transcript_entries"] = len(transcript) if isinstance(transcript, list) else None
        facts["fields"] = sorted(key for key in fields if key not in _NEVER_SHOWN)
    return facts
