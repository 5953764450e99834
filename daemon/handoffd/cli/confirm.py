"""Asking before something is done that cannot be undone.

It owns the one question. The rule that must stay true: without a terminal and without --yes nothing is done.
"""

import sys

import typer

from handoffd.cli.failure import ExitCode, Failure

YES = typer.Option(False, "--yes", "-y", help="Do not ask; for scripts.")


def confirm(question: str, *, yes: bool) -> None:
    """Return when the operator agrees. Raises Failure."""
    if yes:
        return
    if not sys.stdin.isatty():
        words = "nothing was changed: this asks first, and there is no terminal to ask on; give --yes if you mean it"
        raise Failure(f"{question}\n{words}", ExitCode.USAGE)
    if not typer.confirm(question, err=True):
        raise Failure("nothing was changed", ExitCode.FAILED)
