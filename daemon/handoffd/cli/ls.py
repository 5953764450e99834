"""`handoffd ls`: what is open on this host, and what ended last.

It owns choosing and ordering; reading is custody's. Files only: with the daemon stopped or running it shows what the
directories prove, and nothing more.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.given import MOST
from handoffd.cli.picture import (
    SHORT_TID,
    duration,
    entry_fields,
    expiry,
    peer_words,
    print_json,
    printable,
    table,
    way,
)
from handoffd.cli.root import CONFIG, ROOT, opened
from handoffd.custody.entry import Entry, Standing
from handoffd.custody.place import LEGAL
from handoffd.custody.reading import Reading
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import State

LIMIT = 200
"""Open handoffs shown unless asked for more; each costs one file read."""
ENDED_LIMIT = 10
"""Ended ones shown unless asked for more."""
SEARCH_LIMIT = 5_000
"""Outcomes read in search of those that fit, unless --all: below a second, where a month's worth may take ten."""
IN_DOUBT = "in_doubt"
WORDS = sorted({row.word for row in LEGAL if row.word != "ended"} | {state.value for state in State} | {IN_DOUBT})
HEADS = ("STATE", "FROM -> TO", "HANDOFF_ID", "AGE", "EXPIRES", "PEER", "T")

Wanted = Callable[[Entry], bool]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many open and ended handoffs to show, how many outcomes to read for it; None: all."""

    waiting: int | None
    ended: int | None
    search: int | None


NO_BOUNDS = Bounds(None, None, None)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ls")(ls)


def ls(
    state: str = typer.Option("", "--state", help=f"Only this state: {', '.join(WORDS)}."),
    peer: str = typer.Option("", "--peer", help="Only what goes to or came from this peer."),
    agent: str = typer.Option("", "--agent", help="Only what is from or to this agent."),
    limit: int | None = typer.Option(
        None,
        "--limit",
        min=1,
        max=MOST,
        show_default=False,
        help=f"So many open and so many ended ({LIMIT} and {ENDED_LIMIT}).",
    ),
    everything: bool = typer.Option(False, "--all", "-a", help="All of them, however many."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON array."),
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """List handoffs: the open ones, oldest first, then those that ended last."""
    if state and state not in WORDS:
        raise Failure(f"--state {printable(state)}: no such state; one of {', '.join(WORDS)}", ExitCode.USAGE)
    bounds = NO_BOUNDS if everything else Bounds(limit or LIMIT, limit or ENDED_LIMIT, SEARCH_LIMIT)
    with opened(config, root, unserved=True) as ground:
        entries, notes = _chosen(ground.reading, _wanted(state, peer, agent, ground.now), bounds)
    if as_json:
        print_json([entry_fields(entry, ground.now) for entry in entries])
    else:
        _print(entries, ground.now)
    for note in notes:
        typer.echo(f"handoffd: {note}", err=True)


def _chosen(reading: Reading, wanted: Wanted, bounds: Bounds) -> tuple[list[Entry], list[str]]:
    """Return what to show, and what to say about what is not shown."""
    notes = []
    standings = reading.standings()
    waiting = filter(wanted, _open(reading, standings))
    shown = list(islice(waiting, bounds.waiting))
    if next(waiting, None) is not None:
        notes.append(f"more than {len(shown)} are open; --all or a larger --limit shows them")
    tids = reading.newest_outcomes()
    ended = list(islice(filter(wanted, _ended(reading, standings, tids[: bounds.search])), bounds.ended))
    oldest_s = ended[-1].since if len(ended) == bounds.ended else 0.0
    untaken = islice(filter(wanted, reading.newest_reasons(bounds.search, oldest_s)), bounds.ended)
    ended = sorted([*ended, *untaken], key=lambda entry: entry.since, reverse=True)[: bounds.ended]
    if len(ended) != bounds.ended and len(tids) > (bounds.search or len(tids)):
        notes.append(f"only the last {bounds.search} of {len(tids)} that ended were searched; --all searches them all")
    return shown + ended, notes


def _wanted(state: str, peer: str, agent: str, now: float) -> Wanted:
    def is_wanted(entry: Entry) -> bool:
        right_state = state in ("", entry.word) or (state == IN_DOUBT and entry.doubt_s(now) is not None)
        return (
            right_state and peer in ("", entry.peer, entry.onward) and (not agent or agent in (entry.sender, entry.to))
        )

    return is_wanted


def _open(reading: Reading, standings: Iterable[Standing]) -> Iterator[Entry]:
    for standing in reading.oldest_first(standing for standing in standings if not standing.ended):
        entry = reading.entry(standing)
        if entry is not None and not entry.ended:
            yield entry


def _ended(reading: Reading, standings: Iterable[Standing], tids: Iterable[TransferId]) -> Iterator[Entry]:
    unfinished = {standing.tid: standing for standing in standings if standing.ended}
    for tid in tids:
        standing = unfinished.get(tid)
        entry = reading.entry(standing) if standing else reading.ended(tid)
        if entry is not None:
            yield entry


def _print(entries: list[Entry], now: float) -> None:
    if not entries:
        typer.echo("nothing is open, and nothing has ended yet that fits")
        return
    rows = [_row(entry, now) for entry in entries]
    for line in table(HEADS, rows, [row[0].split(" for ")[0] for row in rows]):
        typer.echo(line)


def _row(entry: Entry, now: float) -> tuple[str, ...]:
    doubt_s = entry.doubt_s(now)
    return (
        entry.word if doubt_s is None else f"in doubt for {duration(doubt_s)}",
        way(entry.sender, entry.to),
        printable(entry.handoff_id),
        duration(now - entry.since),
        "-" if entry.ended else expiry(entry.expires_at, now),
        peer_words(entry),
        entry.tid[:SHORT_TID],
    )
