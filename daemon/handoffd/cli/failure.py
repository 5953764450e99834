"""How a command fails: one sentence with its remedy, and an exit code a script can act on.

It knows no command. The rule that must stay true: a code means the same in every command.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit code tells; from 69 on, the meanings of sysexits.h."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 69
    FLUSH_FAILED = 74
    TRY_AGAIN = 75
    PERMISSION = 77
    INTERRUPTED = 130


class Failure(Exception):
    """The command can't do what was asked; the message says what was wrong and what to do next."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
