"""How handoffs look on a terminal: columns, ages, colours, and text from agents made harmless.

It knows values, no files. The rule that must stay true: nothing an agent or a peer wrote reaches a terminal without
`printable`.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence

import typer

from handoffd.view.fields import entry_fields
from handoffd.view.words import SHORT_TID, brief, duration, expiry, offset_words, peer_words, printable, way

__all__ = [
    "SHORT_TID",
    "ambiguous",
    "brief",
    "coloured",
    "duration",
    "entry_fields",
    "expiry",
    "offset_words",
    "peer_words",
    "print_json",
    "print_steps",
    "printable",
    "table",
    "way",
]
"""The words and fields of `handoffd.view` beside our own: commands need to look in one place only."""

_COLOURS = {
    "completed": typer.colors.GREEN,
    "claimed": typer.colors.CYAN,
    "rejected": typer.colors.RED,
    "refused": typer.colors.RED,
    "uncertain": typer.colors.MAGENTA,
    "unknown": typer.colors.MAGENTA,
    "in doubt": typer.colors.MAGENTA,
    "in_doubt": typer.colors.MAGENTA,
    "journal_gap": typer.colors.MAGENTA,
    "expired": typer.colors.YELLOW,
    "revoked": typer.colors.YELLOW,
}


def ambiguous(ident: str, found: Sequence[tuple[str, str]]) -> str:
    """Return why nothing is done to what several bear the name of; `found`: T and where each stands."""
    each = ", ".join(f"{tid[:SHORT_TID]} ({standing})" for tid, standing in found[:10])
    words = f"{len(found)} handoffs answer to {printable(ident)}, and nothing was changed; name one by its T"
    return f"{words}: {each}"


def coloured(word: str, text: str | None = None) -> str:
    """Return text (by default the word) in the word's colour; typer.echo drops it where no terminal reads."""
    return typer.style(word if text is None else text, fg=_COLOURS.get(word))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], colour_by: Sequence[str]) -> list[str]:
    """Return aligned lines under their heads; `colour_by` gives each row the word its first cell is coloured by."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if not colour_by:
        return lines
    first = widths[0]
    painted = [coloured(word, line[:first]) + line[first:] for word, line in zip(colour_by, lines[1:], strict=True)]
    return [lines[0], *painted]


def print_json(value: object) -> None:
    """Print one JSON document; ASCII, so nothing in it can steer a terminal."""
    print(json.dumps(value, indent=2))


def print_steps(*, as_json: bool) -> Callable[[str], None]:
    """Return what prints each step of a command at once: on standard error if its JSON is on standard output."""
    return lambda text: print(text, file=sys.stderr if as_json else sys.stdout, flush=True)
