"""`handoffd trace`: one handoff's whole story over both hosts, from either end, with the daemon stopped as well.

It owns finding the handoff and printing the timeline; story.py puts it together.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.chronicle import Chronicle, about
from handoffd.cli.failure import Failure
from handoffd.cli.picture import brief, coloured, offset_words, print_json, printable, way
from handoffd.cli.root import CONFIG, JSON, ROOT, Root, opened
from handoffd.cli.show import IDENT, not_found, several
from handoffd.cli.story import Step, Story, story
from handoffd.custody.entry import Entry
from handoffd.protocol.moment import format_moment


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trace")(trace)


def trace(
    ident: str = IDENT,
    as_json: bool = JSON,
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """Tell one handoff's story over both hosts, with times corrected for the peer's clock."""
    with opened(config, root) as ground:
        found = ground.reading.find(ident)
        told = _story(ground, found[0] if found else None, ident)
        if not found and not told.has_lines:
            raise Failure(not_found(ground, ident))
    if as_json:
        print_json(_document(told, found[1:]))
    else:
        for line in (*_head(told), *_timeline(told), *_notes(told)):
            typer.echo(line)
    for line in several(ident, found[1:]):
        typer.echo(line, err=True)


def _story(ground: Root, entry: Entry | None, ident: str) -> Story:
    by_name = about(entry.handoff_id or entry.tid) if entry else about(ident)
    by_tid = about(entry.tid) if entry else by_name
    lines = [line for line in Chronicle(ground.journal).backwards() if by_name(line) or by_tid(line)][::-1]
    tid = entry.tid if entry else next((str(line["tid"]) for line in reversed(lines) if "tid" in line), "")
    # What two agents of this host have between them is noted before its bytes are hashed.
    return story(tid, ground.host, entry, [line for line in lines if line.get("tid", tid) == tid])


def _head(told: Story) -> Iterator[str]:
    first = _facts(told)
    state = printable(first["state"])
    reason = f", {printable(first['reason'])}" if first["reason"] not in (None, first["state"]) else ""
    yield f"{printable(first['handoff_id'])}  {way(first['from'], first['to'])}  {coloured(state)}{reason}"
    yield f"T {told.tid}"
    yield f"times in UTC by the clock of {told.host}"


def _facts(told: Story) -> dict[str, Any]:
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


def _timeline(told: Story) -> Iterator[str]:
    width = max((len(step.host) for step in told.steps), default=0)
    for step in told.steps:
        after_ms = (step.at - told.steps[0].at) * 1000
        mark = "?" if step.as_told else " "
        words = " ".join(_words(step))
        event = coloured(step.event, printable(step.event).ljust(12))
        host = printable(step.host).ljust(width)
        yield f"{after_ms:+10,.0f} ms{mark} {format_moment(step.at)}  {host}  {event} {words}".rstrip()


def _words(step: Step) -> Iterator[str]:
    for key, value in (step.words or {}).items():
        if value != step.host:
            yield f"{key}={brief(value)}"
    if step.known_at is not None and not step.as_told:
        # Whole milliseconds: the offset is no better, and "-0 ms" would be the sign of a rounding.
        yield f"(known here {round((step.known_at - step.at) * 1000):,} ms later)"
    elif step.known_at is not None:
        yield f"(known here at {format_moment(step.known_at)})"


def _notes(told: Story) -> Iterator[str]:
    if told.offset is not None:
        measured = format_moment(told.offset.measured_at)
        yield f"clock: {offset_words(told.offset.host, told.offset.ms)}, measured {measured}; its times are corrected"
    if told.has_untold_offset:
        yield "clock: times marked ? are by that host's own clock; how far it is from ours was never measured"
    if not told.has_lines:
        times = "; the times are the outcome's" if told.steps else ""
        yield f"journal: no line of it here any more (rotated away, or never written){times}"
    if told.entry is None:
        yield "files: none left on this host; this is what the journal remembers"
    elif not told.entry.ended:
        yield f"files: {told.entry.means}"


def _document(told: Story, others: list[Entry]) -> dict[str, Any]:
    offset = told.offset
    return {
        "tid": told.tid,
        **_facts(told),
        "host": told.host,
        "clock": offset
        and {"host": offset.host, "offset_ms": offset.ms, "measured_at": format_moment(offset.measured_at)},
        "timeline": [_step_fields(step, told.steps[0].at) for step in told.steps],
        "notes": list(_notes(told)),
        "others": [other.tid for other in others],
    }


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
