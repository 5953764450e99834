"""`handoffd demo`: two hosts on this machine, five scenes, and a check list of what was promised.

It owns options and exit codes. It needs no configuration and leaves nothing behind.
"""

import sys

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.demo import play

EXIT_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    keep: bool = typer.Option(False, "--keep", help="Leave the directory of the demonstration for a look."),
) -> None:
    """Hand a call over and back between two hosts on this machine, and kill daemons on the way."""
    if sys.platform != "linux":
        raise Failure("handoffd runs on Linux", ExitCode.USAGE)
    try:
        kept = play(sys.stdout, keep=keep)
    except KeyboardInterrupt:
        print("handoffd: interrupted; everything that ran was ended", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(ExitCode.OK if kept else ExitCode.FAILED)
