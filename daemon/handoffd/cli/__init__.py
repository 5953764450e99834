"""The command line for operators and agents: every verb but `run`.

It owns the table of command modules and turns their failures into lines on standard error. A module `cli/<name>.py`
offers `register(app)`, raises `Failure` or `ConfigError`, and prints results on standard output. The rules that must
stay true: nothing here is imported by `handoffd run`, and a command loads no other command's module.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import typer
from typer.exceptions import Abort, TyperException

from handoffd.cli.failure import ExitCode, Failure, unusable
from handoffd.config import ConfigError
from handoffd.facts import lines
from handoffd.loading import loading

MODULES: Final[Mapping[str, str]] = {
    "init": "init",
    "invite": "invite",
    "join": "join",
    "unpair": "unpair",
    "token": "token",
    "cert": "cert",
    "check": "check",
    "doctor": "doctor",
    "fsck": "fsck",
    "demo": "demo",
    "send": "send",
    "listen": "listen",
    "status": "status",
    "ls": "ls",
    "show": "show",
    "trace": "trace",
    "events": "events",
    "page": "page",
    "reject": "reject",
    "resolve": "resolve",
    "resend": "resend",
    "prune": "prune",
    "install-service": "service",
    "completion": "completion",
    "wait": "wait",
    "claim": "claim",
    "complete": "claim",
}
"""The module of each command, in the order of `handoffd --help`."""

EPILOG = (
    "Configuration: --config, else $HANDOFFD_CONFIG, ./handoffd.yaml, ~/.config/handoffd/handoffd.yaml, "
    "/etc/handoffd/handoffd.yaml."
)


def application(command: str | None = None) -> typer.Typer:
    """Return the application with this command, or with every one: to load them all takes most of a second."""
    modules = dict.fromkeys(MODULES.values()) if command is None else [MODULES[command]]
    app = typer.Typer(name="handoffd", no_args_is_help=True, add_completion=False, epilog=EPILOG)
    app.callback()(_overview)
    for module in modules:
        with loading():
            importlib.import_module(f"handoffd.cli.{module}").register(app)
    app.command("run")(_run)
    return app


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = application(_named(arguments))(list(arguments), prog_name="handoffd", standalone_mode=False)
    except (ConfigError, Failure) as error:
        failure = error if isinstance(error, Failure) else unusable(error)
        return _failed(str(failure), failure.code)
    except Abort as abort:
        if isinstance(abort.__cause__, KeyboardInterrupt):  # in the middle of something; a question has none
            return _failed("interrupted", ExitCode.INTERRUPTED)
        return _failed("aborted; nothing was changed", ExitCode.FAILED)
    except TyperException as error:
        # Empty when the help text was the answer. "Value error" is typer's word for a choice that is none.
        message = error.format_message().replace(": Value error, ", ": ").rstrip(".")
        of = getattr(error, "ctx", None)
        command = of.command_path if of is not None else "handoffd"
        see = "? See" if message.endswith("?") else "; see"
        return _failed(f"{message.rstrip('?')}{see} `{command} --help`" if message else "", error.exit_code)
    return code if isinstance(code, int) else ExitCode.OK


def _named(arguments: Sequence[str]) -> str | None:
    """Return the command that these arguments certainly mean; None if it takes all of them to tell, or to help."""
    return arguments[0] if arguments and arguments[0] in MODULES else None


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
