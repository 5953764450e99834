"""What is wrong with a configuration, where, and what to do about it.

It knows nothing of YAML or of the keys. The rule that must stay true: a problem is one line, and no secret is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KeyPath = tuple[str | int, ...]


def dotted(key: KeyPath) -> str:
    """Return a key as a person writes it: `peers.alice-vm.url`, `listen[1].port`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` counts from 1; `key` is empty where the file as a whole is meant.

    `closed`: this user may not read what is there, and another might.
    """

    file: Path
    line: int | None
    key: str
    message: str
    remedy: str
    closed: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        line = ": ".join(part for part in (place, self.key, f"{self.message}; {self.remedy}") if part)
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


class ConfigError(Exception):
    """The configuration can't be used; `str()` is one line a problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)

    @property
    def closed(self) -> bool:
        """Whether nothing but this user's lack of permission is in the way."""
        return all(problem.closed for problem in self.problems)


def who_may_read(file: Path) -> str:
    """Return the remedy for a user whom a file is closed to."""
    return f"run this as the daemon's user, or let this user read it (ls -ld {file.parent} {file})"
