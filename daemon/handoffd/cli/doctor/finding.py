"""What an examination found: one line, with its remedy.

It knows values alone. The rule that must stay true: whatever keeps handoffs from working is a FAILURE with a remedy,
and what was not looked at is UNCHECKED with a reason, never silently fine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much a finding matters; FAILURE makes the exit code 1."""

    FAILURE = "failure"
    WARNING = "warning"
    FINE = "fine"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `word` is the fault's name in docs/troubleshooting.md, or what was found to be fine."""

    level: Level
    word: str
    message: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """Return it as JSON fields."""
        named = {"level": self.level.value, "word": self.word, "message": self.message, "remedy": self.remedy}
        return {**named, **self.facts}


def failure(word: str, message: str, remedy: str) -> Finding:
    """Return what must be repaired."""
    return Finding(Level.FAILURE, word, message, remedy)


def warning(word: str, message: str, remedy: str) -> Finding:
    """Return what works, and will not for long or was hardly meant."""
    return Finding(Level.WARNING, word, message, remedy)


def fine(word: str, message: str) -> Finding:
    """Return what is as it should be."""
    return Finding(Level.FINE, word, message)


def unchecked(word: str, why: str) -> Finding:
    """Return what could not be looked at."""
    return Finding(Level.UNCHECKED, word, why)
