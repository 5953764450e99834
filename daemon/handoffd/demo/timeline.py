"""The timeline: what happened, on which host, by whom, in the order in which it happened.

It owns order, columns and colour. It does not know what lines mean. The rule that must stay true: a line is printed
while the play goes on, held back only as long as an earlier one may still come in.
"""

import os
import time
from dataclasses import dataclass, field
from typing import TextIO

HOLD_BACK_S = 0.05
"""Daemons write their journals a few milliseconds after the fact."""
HOST_WIDTH, ACTOR_WIDTH = 9, 10
COLOURS = {"bob-vm": "36", "alice-vm": "35", "ok": "32", "NO": "31", "heading": "1"}
"""ANSI codes: cyan, magenta, green, red, bold."""


@dataclass(order=True, slots=True)
class Line:
    """One line. At the same millisecond the lower rank comes first: a cause before what it causes."""

    at_ms: int
    rank: int
    host: str = field(compare=False)
    actor: str = field(compare=False)
    words: str = field(compare=False)


class Timeline:
    """Prints lines to `out`, times in milliseconds since it was made."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.has_colour = out.isatty() and not os.environ.get("NO_COLOR")
        self.start_s = time.monotonic()
        self._held: list[Line] = []

    def add(self, at_s: float, rank: int, host: str, actor: str, words: str) -> None:
        """Note one thing that happened, `at_s` by CLOCK_MONOTONIC."""
        self._held.append(Line(_whole_ms(at_s - self.start_s), rank, host, actor, words))

    def release(self, *, everything: bool = False) -> None:
        """Print what no earlier line can precede any more."""
        until_ms = _whole_ms(time.monotonic() - HOLD_BACK_S - self.start_s)
        due = sorted(line for line in self._held if everything or line.at_ms <= until_ms)
        self._held = [line for line in self._held if line not in due]
        for line in due:
            host = self.colour(line.host, line.host.ljust(HOST_WIDTH))
            self.print(f"{line.at_ms:>7,} ms  {host}  {line.actor:<{ACTOR_WIDTH}}  {line.words}")

    def heading(self, text: str) -> None:
        """Print everything so far, then the title of what comes."""
        self.release(everything=True)
        self.print(f"\n{self.colour('heading', text)}")

    def colour(self, word: str, text: str) -> str:
        """Return text in the colour of a word, where a terminal reads it."""
        code = COLOURS.get(word)
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_colour and code else text

    def print(self, text: str) -> None:
        """Print a line at once."""
        print(text, file=self.out, flush=True)


def _whole_ms(seconds: float) -> int:
    """Return full milliseconds; 0.003 s are three of them, though its float is a little less."""
    return int(seconds * 1000 + 0.001)
