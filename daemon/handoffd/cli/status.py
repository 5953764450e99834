"""`handoffd status`: how this host's daemon, its links and the handoffs in its hands are; what needs attention first.

It owns where the status comes from (the daemon, or the directories when none answers) and the exit code. The rule that
must stay true: exit 0 means that nothing needs attention.
"""

from pathlib import Path
from typing import Any

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.operator import NotRunning, ask
from handoffd.cli.picture import print_json
from handoffd.cli.root import CONFIG, JSON, ROOT, Root, opened, wall_s
from handoffd.cli.status_page import page
from handoffd.cli.watch import watch

PATIENCE_S = 5.0
"""A daemon answers this one within milliseconds, or hangs."""
INTERVAL_S = 2.0
"""Between two looks: what needs a person's attention is not younger."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    follow: bool = typer.Option(False, "--watch", "-w", help="Show it again and again, in place on a terminal."),
    interval: float = typer.Option(
        INTERVAL_S, "--interval", min=0.2, max=86_400, help="Seconds between two looks of --watch."
    ),
    as_json: bool = JSON,
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """Show what needs attention, the links, and the open handoffs; with the daemon stopped, what its files say."""
    with opened(config, root, unserved=True) as ground:
        if follow:
            code = watch(lambda: gathered(ground), verdict, interval, as_json=as_json)
        else:
            told = gathered(ground)
            _show(told, as_json)
            code = verdict(told)
    if code:
        raise typer.Exit(code)


def _show(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    for line in page(told):
        typer.echo(line.shown())


def gathered(ground: Root) -> dict[str, Any]:
    """Return the status as JSON fields: the daemon's, or what the files say if none answers. Raises PermissionError."""
    try:
        return ask(ground.path, "GET", "/operator/status", patience_s=PATIENCE_S)
    except NotRunning:
        silence = None
    except Failure as failure:
        if failure.code != ExitCode.UNREACHABLE:
            raise
        silence = str(failure)
    from handoffd.status.model import fields
    from handoffd.view.stopped import stopped_status

    peers = [(peer.name, peer.url) for peer in ground.config.peers.values()] if ground.config else []
    homes = ground.config.homes if ground.config else {}
    return fields(stopped_status(ground.path, ground.host, peers, wall_s(), silence, homes))


def verdict(told: dict[str, Any]) -> ExitCode:
    """Return the exit code of this status."""
    if told["daemon"] != "running":
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED if told["warnings"] else ExitCode.OK
