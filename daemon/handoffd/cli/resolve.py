"""`handoffd resolve`: the operator gives up a handoff that is in doubt.

It owns the question before it is done. The rule that must stay true: what is given up is called unknown for ever,
never delivered or not delivered.
"""

from pathlib import Path

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.operator import ask
from handoffd.cli.picture import SHORT_TID, print_json
from handoffd.cli.root import CONFIG, JSON, ROOT, opened
from handoffd.cli.show import IDENT, chosen, several
from handoffd.custody.place import Role


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("resolve")(resolve)


def resolve(
    ident: str = IDENT,
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    as_json: bool = JSON,
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """Give up a handoff in doubt: it ends as outcome_unknown, and later verdicts of the peer are ignored."""
    with opened(config, root) as ground:
        entry, others = chosen(ground, ident)
        short = entry.tid[:SHORT_TID]
        if entry.role is not Role.SENDER or entry.ended:
            raise Failure(f"{short} is not open and sent by this host; there is nothing to give up")
        for line in several(ident, others):
            typer.echo(line, err=True)
        if not yes and not typer.confirm(f"{short} may have reached an agent. End it as outcome_unknown?", err=True):
            raise Failure("nothing was changed", ExitCode.FAILED)
        told = ask(ground.path, "POST", "/operator/resolve", {"tid": entry.tid})
    if as_json:
        print_json(told)
    else:
        typer.echo(f"{short} has ended: {told['state']} ({told['record']['reason']})")
