"""The table of results: its rows, whether a target was met, and its place in docs/benchmarks.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HEADINGS = ("figure", "floor", "handoffd", "ratio", "target", "met")
BEGIN, END = "<!-- begin: made by `python -m benchmarks --write` -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `limit` bounds the value, or its ratio to the floor; it is absent where nothing is promised."""

    figure: str
    value: float | None
    unit: str
    floor: float | None = None
    limit: float | None = None
    sense: Literal["at most", "at least"] = "at most"
    limits_ratio: bool = False

    @property
    def met(self) -> bool | None:
        """Tell whether the target was met, or None without one."""
        compared = self._ratio if self.limits_ratio else self.value
        if self.limit is None or compared is None:
            return None
        return compared <= self.limit if self.sense == "at most" else compared >= self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `HEADINGS`."""
        ratio = "" if self._ratio is None else f"{self._ratio:.2f}"
        bound = "x floor" if self.limits_ratio else self.unit
        target = "" if self.limit is None else f"{self.sense} {self.limit:,g}{bound}"
        met = "" if self.met is None else "yes" if self.met else "no"
        return (self.figure, self._with_unit(self.floor), self._with_unit(self.value), ratio, target, met)

    @property
    def _ratio(self) -> float | None:
        return self.value / self.floor if self.value is not None and self.floor else None

    def _with_unit(self, value: float | None) -> str:
        if value is None:
            return ""
        digits = 0 if abs(value) >= 100 else 3 if abs(value) < 1 else 2
        return f"{value:,.{digits}f}{self.unit}"


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table that reads well in a terminal too."""
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def write_into(page: Path, text: str) -> None:
    """Put the text between the two marks of a page. Raises ValueError if it has no marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: it needs the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
