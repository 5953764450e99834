"""The command line for operators and agents: every verb but `run`.

It owns the list of command modules and turns their failures into lines on standard error. A module `cli/<name>.py`
offers `register(app)`, raises `Failure` or `ConfigError`, and prints results on standard output. The rule that must
stay true: nothing here is imported by `handoffd run`.
"""

import sys
from collections.abc import Sequence

import typer
from typer.exceptions import Abort, TyperException

from handoffd.cli import (
    cert,
    check,
    claim,
    completion,
    demo,
    doctor,
    events,
    fsck,
    init,
    invite,
    join,
    listen,
    ls,
    page,
    prune,
    reject,
    resend,
    resolve,
    send,
    service,
    show,
    status,
    token,
    trace,
    unpair,
    wait,
)
from handoffd.cli.failure import ExitCode, Failure
from handoffd.config import ConfigError
from handoffd.facts import lines

COMMANDS = (
    init,
    invite,
    join,
    unpair,
    token,
    cert,
    check,
    doctor,
    fsck,
    demo,
    send,
    listen,
    status,
    ls,
    show,
    trace,
    events,
    page,
    reject,
    resolve,
    resend,
    prune,
    service,
    completion,
    wait,
    claim,
)

EPILOG = (
    "Configuration: --config, else $HANDOFFD_CONFIG, ./handoffd.yaml, ~/.config/handoffd/handoffd.yaml, "
    "/etc/handoffd/handoffd.yaml."
)


def application() -> typer.Typer:
    """Return the application with every command registered."""
    app = typer.Typer(name="handoffd", no_args_is_help=True, add_completion=False, epilog=EPILOG)
    app.callback()(_overview)
    for module in COMMANDS:
        module.register(app)
    app.command("run")(_run)
    return app


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = application()(list(arguments), prog_name="handoffd", standalone_mode=False)
    except (ConfigError, Failure) as error:
        return _failed(str(error), error.code if isinstance(error, Failure) else ExitCode.USAGE)
    except Abort as abort:
        if isinstance(abort.__cause__, KeyboardInterrupt):  # in the middle of something; a question has none
            return _failed("interrupted", ExitCode.INTERRUPTED)
        return _failed("aborted; nothing was changed", ExitCode.FAILED)
    except TyperException as error:
        message = error.format_message()  # empty when the help text was the answer
        of = getattr(error, "ctx", None)
        command = of.command_path if of is not None else "handoffd"
        return _failed(f"{message.rstrip('.')}; see `{command} --help`" if message else "", error.exit_code)
    return code if isinstance(code, int) else ExitCode.OK


def _show_version(wanted: bool) -> None:
    if wanted:
        print(*lines(), sep="\n")
        raise typer.Exit


def _overview(
    version: bool = typer.Option(
        False, "--version", help="Print the version, the commit and what it runs on, and stop.", callback=_show_version
    ),
) -> None:
    """Carry signed handoffs between the shared directories of agents on different hosts."""


def _run(config: str = typer.Option("", "--config", help="Configuration file.")) -> None:
    """Carry handoffs until told to stop: the daemon itself."""
    raise Failure("`run` must be the first word: handoffd run --config FILE", ExitCode.USAGE)


def _failed(text: str, code: int) -> int:
    for line in text.splitlines():
        print(f"handoffd: {line}", file=sys.stderr)
    return int(code)
