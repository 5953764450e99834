"""How a command fails: one sentence with its remedy, and an exit code a script can act on.

It knows no command. The rule that must stay true: a code means the same in every command.
"""

from enum import IntEnum

from handoffd.config import ConfigError


class ExitCode(IntEnum):
    """What a command's exit code tells; from 69 on, the meanings of sysexits.h; from 130 on, 128 and a signal."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 69
    FLUSH_FAILED = 74
    TRY_AGAIN = 75
    PERMISSION = 77
    INTERRUPTED = 130
    READER_LEFT = 141


class Failure(Exception):
    """The command can't do what was asked; the message says what was wrong and what to do next."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def unusable(error: ConfigError, other_way: str = "") -> Failure:
    """Return the failure that a configuration is which cannot be used; `other_way`: a line on how to do without."""
    words = "\n".join(filter(None, (str(error), other_way)))
    return Failure(words, ExitCode.PERMISSION if error.closed else ExitCode.USAGE)
