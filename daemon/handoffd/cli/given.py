"""What options are given, numbers and files, and which of them make no sense.

It knows no command. The rule that must stay true: what could not be worked with is refused before anything is done,
with the name of its option.
"""

import math
import sys
from contextlib import nullcontext
from pathlib import Path

import typer

from handoffd.cli.failure import ExitCode, Failure

MOST = 1_000_000_000
"""The largest number of rows that may be asked for."""


def seconds(given: float | None) -> float | None:
    """Return a number of seconds, 0 or more, as a callback of its option. Raises typer.BadParameter, of nan too."""
    if given is not None and not 0 <= given < math.inf:
        raise typer.BadParameter(f"{given:g} is no number of seconds")
    return given


def read_given(option: str, path: Path, limit_bytes: int) -> bytes:
    """Return what is in a file that an option names, which may be a pipe, as of `<(…)`, or `-`. Raises Failure."""
    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise Failure(f"{option} {path}: {error.strerror}", ExitCode.USAGE) from None
    if not data or len(data) > limit_bytes:
        has = f"more than {limit_bytes} bytes" if data else "nothing in it"
        raise Failure(f"{option} {path}: it has {has}; name the right file", ExitCode.USAGE)
    return data
