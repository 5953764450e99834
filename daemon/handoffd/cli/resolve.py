"""`handoffd resolve`: the operator gives up a handoff that is in doubt.

It owns the question before it is done. The rules that must stay true: what is given up is called unknown for ever,
never delivered or not delivered; and what is not in doubt is given up only by force.
"""

from pathlib import Path
from typing import Any

import typer

from handoffd.cli.confirm import YES, confirm
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.note import host_of, journal_of
from handoffd.cli.operator import NotRunning, ask
from handoffd.cli.picture import SHORT_TID, duration, expiry, print_json, way
from handoffd.cli.reject import refuse_half_taken
from handoffd.cli.root import CONFIG, JSON, ROOT, Root, opened
from handoffd.cli.show import IDENT, the_one
from handoffd.clock import SystemClock
from handoffd.custody.byhand import Changed, stopped
from handoffd.custody.entry import Entry
from handoffd.custody.layout import UnsafeRoot
from handoffd.custody.place import Role
from handoffd.protocol.record import to_fields


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("resolve")(resolve)


def resolve(
    ident: str = IDENT,
    yes: bool = YES,
    force: bool = typer.Option(False, "--force", help="Also what is not in doubt: still in time, or claimed."),
    as_json: bool = JSON,
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """Give up a handoff in doubt: it ends as outcome_unknown, and later verdicts of the peer are ignored."""
    with opened(config, root) as ground:
        entry = the_one(ground, ident)
        _refuse_known(entry, ground.now, force=force)
        confirm(_question(entry, ground.now), yes=yes)
        told = _given_up(ground, entry)
    if as_json:
        print_json(told)
        return
    typer.echo(f"{entry.tid[:SHORT_TID]} has ended: {told['state']} ({told['record']['reason']})")
    if "stopped" in told:
        typer.echo("the daemon is stopped; its next start moves the file to rejected/", err=True)


def _refuse_known(entry: Entry, now: float, *, force: bool) -> None:
    short = entry.tid[:SHORT_TID]
    if entry.role is not Role.SENDER or entry.ended:
        raise Failure(f"{short} is not open and sent by this host; there is nothing to give up")
    if entry.doubt_s(now) is None and not force:
        words = f"{short} is not in doubt: {entry.word} at {entry.peer}, expires {expiry(entry.expires_at, now)}"
        raise Failure(f"{words}; `handoffd reject {short}` asks for it back, --force gives it up all the same")


def _question(entry: Entry, now: float) -> str:
    doubt_s = entry.doubt_s(now)
    since = f"{entry.word}, and not in doubt" if doubt_s is None else f"in doubt for {duration(doubt_s)}"
    words = f"{entry.tid[:SHORT_TID]} ({way(entry.sender, entry.to)}) is {since}; it may have reached an agent"
    return f"{words}. End it as outcome_unknown?"


def _given_up(ground: Root, entry: Entry) -> dict[str, Any]:
    try:
        return ask(ground.path, "POST", "/operator/resolve", {"tid": entry.tid})
    except NotRunning:
        pass
    refuse_half_taken(entry)
    journal = journal_of(ground)
    try:
        with stopped(ground.path, host_of(ground), SystemClock(), journal) as hand:
            record = hand.give_up(entry)
    except UnsafeRoot as error:
        raise Failure(str(error), ExitCode.TRY_AGAIN) from None
    except Changed:
        raise Failure(f"{entry.tid[:SHORT_TID]} moved on meanwhile; try again", ExitCode.TRY_AGAIN) from None
    finally:
        journal.flush()
    return {"tid": entry.tid, "state": record.state.value, "record": to_fields(record), "stopped": True}
