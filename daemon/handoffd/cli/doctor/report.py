"""The report on paper: what must be repaired first, what is fine in short, what was not looked at.

It knows findings. The rule that must stay true: a finding is one line, remedy included, and no line of an agent's or a
peer's making steers a terminal.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from handoffd.cli.doctor.finding import Finding, Level
from handoffd.view.words import printable

_HEADS = {Level.FAILURE: "FAIL", Level.WARNING: "warn", Level.FINE: "ok", Level.UNCHECKED: "--"}
_COLOURS = {Level.FAILURE: typer.colors.RED, Level.WARNING: typer.colors.YELLOW, Level.FINE: typer.colors.GREEN}
WORD_WIDTH = 15
"""Most words fit; the few longer ones push their text aside."""
LINE_LIMIT = 1_000
"""Characters of a line: a certificate's two fingerprints, a path and a remedy."""


def page(findings: Sequence[Finding], host: str) -> Iterator[str]:
    """Return the lines of the report."""
    for level in (Level.FAILURE, Level.WARNING, Level.FINE, Level.UNCHECKED):
        for one in (one for one in findings if one.level is level):
            yield _line(one)
    yield ""
    yield _verdict(findings, host)


def _line(one: Finding) -> str:
    text = f"{one.message}; {one.remedy}" if one.remedy else one.message
    head = typer.style(f"{_HEADS[one.level]:<4}", fg=_COLOURS.get(one.level))
    return f"{head}  {one.word:<{WORD_WIDTH}}  {_harmless(text)}"


def _harmless(text: str) -> str:
    return "".join(printable(char) for char in text)[:LINE_LIMIT]


def _verdict(findings: Sequence[Finding], host: str) -> str:
    count = {level: sum(one.level is level for one in findings) for level in Level}
    left = f"; {_number(count[Level.UNCHECKED], 'thing')} not checked" if count[Level.UNCHECKED] else ""
    if count[Level.FAILURE] or count[Level.WARNING]:
        return f"{host}: {_number(count[Level.FAILURE], 'problem')}, {_number(count[Level.WARNING], 'warning')}{left}"
    return f"{host}: no problem found{left}"


def _number(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def fields(findings: Sequence[Finding], host: str, version: str) -> dict[str, Any]:
    """Return the report as JSON fields."""
    return {
        "ok": not any(one.level is Level.FAILURE for one in findings),
        "host": host,
        "version": version,
        "findings": [one.fields() for one in findings],
    }
