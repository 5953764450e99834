"""The command `handoffd`: picks the daemon or the command line, and owns the last word on errors.

It knows exit codes and standard error, nothing of handoffs. The rule that must stay true: `handoffd run` imports
neither typer nor rich, and every error is one line that begins with `handoffd: `.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from handoffd.loading import loading
from handoffd.output import OutputFailed, ReaderLeft, drop, guarded, nowhere, whispering

EXIT_FAILED, EXIT_USAGE, EXIT_PERMISSION, EXIT_INTERRUPTED, EXIT_READER_LEFT = 1, 2, 77, 130, 141
DEBUG_VARIABLE = "HANDOFFD_DEBUG"


class _Usage(Exception):
    """The command line makes no sense."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Usage(f"run: {message}; see `handoffd run --help`")


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.stderr = whispering(sys.stderr)
    if sys.stdout is None and sys.argv[1:2] != ["run"]:  # as after >&-: what a command tells would be lost, and a claim
        _say("standard output is closed; redirect it, to /dev/null if nobody reads it")
        sys.exit(EXIT_USAGE)
    sys.stdout = guarded(sys.stdout or nowhere())
    sys.exit(outcome(sys.argv[1:]))


def outcome(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is said on standard error."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ReaderLeft:
        drop(sys.stdout)
        return EXIT_READER_LEFT
    except OutputFailed as error:
        drop(sys.stdout)
        _say(f"standard output: {error}; what was to be told is not complete: send it where there is room")
        return EXIT_FAILED
    except _Usage as error:
        _say(str(error))
        return EXIT_USAGE
    except PermissionError as error:
        _say(f"{error.filename or 'permission'}: {error.strerror or error}; run this as the daemon's user")
        return EXIT_PERMISSION
    except Exception as error:
        return _unexpected(error)


def _dispatch(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["run"]:
        return _run(arguments[1:])
    if list(arguments) == ["--version"]:
        from handoffd.facts import lines

        print(*lines(), sep="\n")
        return 0
    with loading():
        from handoffd.cli import invoke

    return invoke(arguments)


def _run(arguments: Sequence[str]) -> int:
    # Until the loop serves it: what is yet to be read is new enough. First of all: to load the daemon takes a while.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    parser = _Parser("handoffd run", description="Carry handoffs until told to stop.")
    parser.add_argument("--config", type=Path, help="configuration file (default: see `handoffd --help`)")
    named = parser.parse_args(arguments).config
    with loading():
        from handoffd.app import run
        from handoffd.config import ConfigError, locate

    try:
        return run(locate(named, os.environ))
    except ConfigError as error:
        _say(str(error))
        return EXIT_PERMISSION if error.closed else EXIT_USAGE


def _say(text: str) -> None:
    for line in text.splitlines() or [""]:
        print(f"handoffd: {line}", file=sys.stderr)


def _unexpected(error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        raise error
    reason = " ".join(str(error).split()) or "no reason given"
    _say(f"unexpected {type(error).__name__}: {reason}; set {DEBUG_VARIABLE}=1 for the traceback")
    return EXIT_FAILED


if __name__ == "__main__":
    main()
