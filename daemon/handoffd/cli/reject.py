"""`handoffd reject`: the writer of a handoff takes it back before anybody has claimed it.

It owns the words for what came of it. The rule that must stay true: `revoked` is said only when no agent can have it;
a claim that was first is told as such.
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
    app.command("reject")(reject)


def reject(ident: str = IDENT, as_json: bool = JSON, config: Path | None = CONFIG, root: Path | None = ROOT) -> None:
    """Withdraw a handoff this host sends; the peer is asked for an end, and a claim that was first wins."""
    with opened(config, root) as ground:
        entry, others = chosen(ground, ident)
        if entry.role is not Role.SENDER:
            raise Failure(f"{entry.tid[:SHORT_TID]} is not sent by this host; withdraw it where it was written")
        told = ask(ground.path, "POST", "/operator/withdraw", {"tid": entry.tid})
    for line in several(ident, others):
        typer.echo(line, err=True)
    if as_json:
        print_json(told)
    else:
        typer.echo(_words(entry.tid[:SHORT_TID], told["state"]))
    if told["state"] != "revoked":
        raise typer.Exit(ExitCode.TRY_AGAIN if told["state"] in _OPEN else ExitCode.FAILED)


_OPEN = frozenset({"queued", "stored", "leased", "published"})


def _words(tid: str, state: str) -> str:
    if state == "revoked":
        return f"{tid} is withdrawn: no agent has it"
    if state in _OPEN:
        return f"{tid} is {state}; the peer is asked to give it back: `handoffd show {tid}` tells what came of it"
    return f"{tid} was {state} already; it cannot be taken back"
