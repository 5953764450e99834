"""The voice bootstrap: what a voice server reads once, at session start, to go on with an inherited call.

It knows the file's form (overview.md section 3) and nothing of claims. The rules that must stay true: the file
appears whole and durable or not at all, and a waiting one is never replaced.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from handoffd.agent.directory import DIRECTORY_MODE, flush, write_new
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import TransferId

SOURCE = "voice_handoff"
_CARRIED = (
    "handoff_id",
    "caller_hash",
    "from_agent",
    "to_agent",
    "reason",
    "expires_at",
    "transcript",
    "context_summary",
    "pending_actions",
    "resume_hint",
)


def bootstrap_path(state: Path, handoff_id: str) -> Path:
    """Return `{state}/handoffs/{handoff_id}.json`, all but alphanumerics, `-` and `_` dropped from the id."""
    kept = "".join(letter for letter in handoff_id if (letter.isascii() and letter.isalnum()) or letter in "-_")
    return state / "handoffs" / f"{kept}.json"


def write_bootstrap(state: Path, fields: Mapping[str, Any], tid: TransferId, now: float) -> Path:
    """Write the bootstrap of a claimed payload, durably. Raises FileExistsError if one of that id is still unread."""
    path = bootstrap_path(state, fields["handoff_id"])
    if not path.parent.is_dir():
        with contextlib.suppress(FileExistsError):  # of another name than what is still unread
            path.parent.mkdir(DIRECTORY_MODE)
    document = bootstrap(fields, now) | {"tid": tid}
    write_new(path, json.dumps(document, indent=2).encode("ascii"))
    try:
        flush(path.parent, state)
    except OSError:  # its handoff will be rejected, and a session that finds it would begin all the same
        path.unlink(missing_ok=True)
        raise
    return path


def withdraw_bootstrap(state: Path, handoff_id: str, tid: TransferId) -> None:
    """Remove this handoff's bootstrap if nobody has read it, so that a refused handoff starts no session."""
    path = bootstrap_path(state, handoff_id)
    with contextlib.suppress(FileNotFoundError):
        # Two handoffs may share the id, so the file says whose it is.
        if _owner(path.read_bytes()) == tid:
            path.unlink()
            flush(path.parent)


def _owner(data: bytes) -> object:
    """Return the tid that a bootstrap names; None for what another program wrote."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document.get("tid") if isinstance(document, dict) else None


def bootstrap(fields: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the bootstrap's fields for a payload claimed at `now`."""
    return {
        "protocol_version": 1,
        "source": SOURCE,
        "accepted_at": format_moment(now),
        "resume_context": resume_context(fields),
        **{key: fields[key] for key in _CARRIED if key in fields},
    }


def resume_context(fields: Mapping[str, Any]) -> str:
    """Return what the next speaker must know, as text that is never empty."""
    return "\n".join(_lines(fields))


def _lines(fields: Mapping[str, Any]) -> Iterable[str]:
    yield f"This conversation was handed over by {fields['from_agent']}. Reason: {fields['reason'] or 'not given'}."
    for title, key in (("Summary", "context_summary"), ("Next", "resume_hint"), ("Pending", "pending_actions")):
        if fields.get(key):
            value = fields[key]
            yield f"{title}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
    if fields["transcript"]:
        yield "Transcript so far:"
        yield from (f"{turn['role']}: {turn['text']}" for turn in fields["transcript"])
