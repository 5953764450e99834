"""A handoff as JSON fields: what `ls --json`, `show --json`, `trace --json` and the status page all tell.

It translates values and opens nothing. The rule that must stay true: no field holds a word of a payload but the names
that the record holds too.
"""

from collections.abc import Iterator
from typing import Any

from handoffd.custody.entry import Entry
from handoffd.protocol.moment import format_moment
from handoffd.protocol.record import to_fields
from handoffd.view.story import Step, Story
from handoffd.view.words import offset_words


def entry_fields(entry: Entry, now: float) -> dict[str, Any]:
    """Return an entry as JSON fields: those of a record, and what only this host's files say. Times in seconds."""
    doubt_s = entry.doubt_s(now)
    known = to_fields(entry.record) if entry.record else _open_fields(entry)
    return {
        **known,
        "role": entry.role.value,
        "onward": entry.onward,
        "means": entry.means,
        "in_doubt": doubt_s is not None,
        "in_doubt_s": doubt_s and round(doubt_s, 3),
        "since": format_moment(entry.since),
        "age_s": round(now - entry.since, 3),
        "expires_in_s": None if entry.expires_at is None else round(entry.expires_at - now, 3),
        "files": [{"place": seen.place.value, "path": seen.path} for seen in entry.sightings],
    }


def _open_fields(entry: Entry) -> dict[str, Any]:
    return {
        "tid": entry.tid,
        "handoff_id": entry.handoff_id,
        "from": entry.sender,
        "to": entry.to,
        "peer": entry.peer,
        "file": entry.file,
        "state": entry.word,
        "reason": None,
        "expires_at": None if entry.expires_at is None else format_moment(entry.expires_at),
    }


def story_fields(told: Story, others: list[Entry]) -> dict[str, Any]:
    """Return a story as JSON fields; `others` are handoffs of the same name."""
    return {
        "tid": told.tid,
        **story_facts(told),
        "host": told.host,
        "clocks": [
            {"host": one.host, "offset_ms": one.ms, "measured_at": format_moment(one.measured_at)}
            for one in told.offsets
        ],
        "timeline": [_step_fields(step, told.steps[0].at) for step in told.steps],
        "notes": list(story_notes(told)),
        "others": [other.tid for other in others],
    }


def story_facts(told: Story) -> dict[str, Any]:
    """Return names and state, from the files or else from what the steps say."""
    if told.entry is not None:
        entry = told.entry
        reason = entry.record.reason if entry.record else None
        return {
            "handoff_id": entry.handoff_id,
            "from": entry.sender,
            "to": entry.to,
            "state": entry.word,
            "reason": reason and reason.value,
            "role": entry.role.value,
        }
    return {**dict.fromkeys(("handoff_id", "from", "to", "state", "reason", "role")), **told.names}


def story_notes(told: Story) -> Iterator[str]:
    """Return what a reader must know of the times and of what is missing."""
    for one in told.offsets:
        measured = format_moment(one.measured_at)
        yield f"clock: {offset_words(one.host, one.ms)}, measured {measured}; its times are corrected"
    if told.has_untold_offset:
        yield "clock: times marked ? are by that host's own clock; how far it is from ours was never measured"
    if not told.has_lines:
        times = "; the times are the outcome's" if told.steps else ""
        yield f"journal: no line of it here any more (rotated away, or never written){times}"
    if told.entry is None:
        yield "files: none in handoff/ or relay/ of this host any more; this is what the journal remembers"
    elif not told.entry.ended:
        yield f"files: {told.entry.means}"


def _step_fields(step: Step, start: float) -> dict[str, Any]:
    known_ms = None if step.known_at is None else round((step.known_at - step.at) * 1000)
    return {
        "at": format_moment(step.at),
        "after_ms": round((step.at - start) * 1000),
        "host": step.host,
        "event": step.event,
        "corrected": not step.as_told,
        "known_here_ms": known_ms,
        "source": step.source,
        **(step.words or {}),
    }
