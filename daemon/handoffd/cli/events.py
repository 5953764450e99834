"""`handoffd events`: the journal as a person or a script wants to follow it.

It owns choosing and printing lines; finding them is view/chronicle.py's. It works with the daemon stopped.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.given import MOST
from handoffd.cli.picture import SHORT_TID, brief, coloured, printable, way
from handoffd.cli.root import CONFIG, ROOT, opened
from handoffd.protocol.moment import parse_moment
from handoffd.view.chronicle import Chronicle, Line, Wanted, about, recent, young

POLL_S = 0.25
"""Below what a person notices, and 4 stat calls a second while nothing happens."""
LIMIT = 50
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN = re.compile(r"([0-9]{1,12})([smhd])\Z")
_IN_COLUMNS = frozenset({"at", "event", "host", "tid", "handoff_id", "from", "to"})


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("events")(events)


def events(
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on with what happens, until interrupted."),
    since: str = typer.Option("", "--since", help="Only what is younger: 30s, 10m, 2h, 1d, or a time with zone."),
    handoff: str = typer.Option("", "--handoff", help="Only this handoff: T, its first 8 digits or more, handoff_id."),
    limit: int = typer.Option(
        LIMIT, "--limit", min=0, max=MOST, help="At most so many of the past, the youngest; 0: all."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the lines as they are, one JSON object each."),
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """Show the journal: what happened to handoffs on this host."""
    wanted = about(handoff) if handoff else _any
    show = _print_json if as_json else _print_text
    with opened(config, root) as ground:
        chronicle = Chronicle(ground.journal)
        earliest = since_s(since, ground.now) if since else None
        if limit:
            past: Iterable[Line] = recent(chronicle.backwards(), wanted, earliest, limit)
        else:
            past = young(chronicle.forwards(), wanted, earliest)
        for line in past:
            show(line)
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(chronicle, wanted, show)


def since_s(text: str, now: float) -> float:
    """Return the POSIX seconds that `10m` or a time with zone stands for. Raises Failure."""
    span = _SPAN.match(text)
    if span is not None:
        return now - min(int(span[1]) * _UNIT_S[span[2]], now)
    try:
        return parse_moment(text)
    except ValueError as error:
        message = f"--since {printable(text)}: {error}; or give a span such as 30s, 10m, 2h, 1d"
        raise Failure(message, ExitCode.USAGE) from None


def described(line: Line) -> str:
    """Return a line of the journal as one line of text."""
    event = printable(line["event"])
    names = way(line.get("from"), line.get("to")) if "from" in line or "to" in line else ""
    rest = " ".join(f"{key}={brief(value)}" for key, value in line.items() if _adds(key, value, line))
    tid = printable(line.get("tid", ""))[:SHORT_TID]
    handoff_id = printable(line.get("handoff_id", ""))
    return (
        f"{printable(line['at'])}  {coloured(event, event.ljust(12))} {names:18} {tid:12} {handoff_id}  {rest}".rstrip()
    )


def _adds(key: str, value: object, line: Line) -> bool:
    return key not in _IN_COLUMNS and not (key in ("state", "reason") and value == line["event"])


def _any(_: Line) -> bool:
    return True


def _print_text(line: Line) -> None:
    typer.echo(described(line))


def _print_json(line: Line) -> None:
    print(json.dumps(line, separators=(",", ":")))


def _follow(chronicle: Chronicle, wanted: Wanted, show: Callable[[Line], None]) -> None:
    while True:
        for line in filter(wanted, chronicle.more()):
            show(line)
        sys.stdout.flush()
        time.sleep(POLL_S)
