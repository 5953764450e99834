"""`handoffd trace`: one handoff's whole story over both hosts, from either end, with the daemon stopped as well.

It owns finding the handoff and printing the timeline; view/story.py puts it together.
"""

from collections.abc import Iterator
from pathlib import Path

import typer

from handoffd.cli.failure import Failure
from handoffd.cli.picture import brief, coloured, print_json, printable, way
from handoffd.cli.root import CONFIG, JSON, ROOT, opened
from handoffd.cli.show import IDENT, not_found, several
from handoffd.protocol.moment import format_moment
from handoffd.view.fields import story_facts, story_fields, story_notes
from handoffd.view.story import Step, Story, story_of

ROUNDING_MS = 2
"""What rounding makes of two times and an offset, each told in whole milliseconds."""


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
        told = story_of(ground.journal, ground.host, found[0] if found else None, ident)
        if not found and not told.has_lines:
            raise Failure(not_found(ground, ident))
    if as_json:
        print_json(story_fields(told, found[1:]))
    else:
        for line in (*_head(told), *_timeline(told), *story_notes(told)):
            typer.echo(line)
    for line in several(ident, found[1:]):
        typer.echo(line, err=True)


def _head(told: Story) -> Iterator[str]:
    first = story_facts(told)
    state = printable(first["state"])
    reason = f", {printable(first['reason'])}" if first["reason"] not in (None, first["state"]) else ""
    yield f"{printable(first['handoff_id'])}  {way(first['from'], first['to'])}  {coloured(state)}{reason}"
    yield f"T {told.tid}"
    yield f"times in UTC by the clock of {told.host}"


def _timeline(told: Story) -> Iterator[str]:
    width = max((len(step.host) for step in told.steps), default=0)
    for step in told.steps:
        after_ms = round((step.at - told.steps[0].at) * 1000)
        mark = "?" if step.as_told else " "
        words = " ".join(_words(step))
        event = coloured(step.event, printable(step.event).ljust(12))
        host = printable(step.host).ljust(width)
        yield f"{after_ms:+10,} ms{mark} {format_moment(step.at)}  {host}  {event} {words}".rstrip()


def _words(step: Step) -> Iterator[str]:
    for key, value in (step.words or {}).items():
        if value != step.host:
            yield f"{key}={brief(value)}"
    if step.known_at is not None and not step.as_told:
        yield f"(known here {_lateness(round((step.known_at - step.at) * 1000))})"
    elif step.known_at is not None:
        yield f"(known here at {format_moment(step.known_at)})"


def _lateness(after_ms: int) -> str:
    """Return how much later something was known here; nothing is known before it happens, whatever the clocks say."""
    if after_ms > 0:
        return f"{after_ms:,} ms later"
    wrong = f"; the measured offset is wrong by at least {-after_ms:,} ms" if after_ms < -ROUNDING_MS else ""
    return f"at once{wrong}"
