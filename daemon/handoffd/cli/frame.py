"""Pages as a terminal of some size shows them, and the codes that draw one over the one before.

It owns folding, cutting and the order of control codes; it writes nothing. The rules that must stay true: a frame
never has more rows than the window, no row is wider than it, and nothing is erased before what replaces it is there,
so that nothing flickers.
"""

import textwrap
from collections.abc import Iterator, Sequence

from handoffd.cli.status_page import Line

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
"""The cursor."""
CLEAR = "\x1b[H\x1b[2J"
"""The whole window: only after its size changed, when nobody can tell where the rows of the last frame are."""
_BEGIN, _END = "\x1b[?2026h\x1b[?7l", "\x1b[?7h\x1b[?2026l"
"""Terminals that know how show what is between at once; none wraps, should a character be wider than it looks."""
_TO_END_OF_ROW, _TO_END_OF_WINDOW = "\x1b[K", "\x1b[J"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_INDENT = "  "
_NARROWEST = 8


def fitted(lines: Sequence[Line], columns: int, rows: int) -> list[Line]:
    """Return the lines as rows of a window; what does not fit below is counted in the last row."""
    columns = max(columns, _NARROWEST)
    shown = [row for line in lines for row in _rows(line, columns)]
    while shown and not shown[-1].text:
        shown.pop()
    if len(shown) <= max(rows, 1):
        return shown
    kept = shown[: max(rows - 1, 0)]
    more = sum(1 for row in shown[len(kept) :] if row.text)
    return [*kept, Line(f"{_ELLIPSIS} {more} more lines"[:columns])]


def _rows(line: Line, columns: int) -> Iterator[Line]:
    if len(line.text) <= columns:
        yield line
    elif not line.wraps:
        yield Line(line.text[: columns - 1] + _ELLIPSIS, line.colour, min(line.painted, columns))
    else:
        first, *others = textwrap.wrap(line.text, columns, subsequent_indent=_INDENT, break_on_hyphens=False)
        yield Line(first, line.colour, line.painted)
        yield from map(Line, others)


def drawn(rows: Sequence[Line], before: int, *, colour: bool) -> str:
    """Return what draws these rows over the `before` rows of the last frame, at whose end the cursor is."""
    home = "\r" + (f"\x1b[{before - 1}A" if before > 1 else "")
    body = "\r\n".join(row.shown(colour=colour) + _TO_END_OF_ROW for row in rows)
    return f"{_BEGIN}{home}{body}{_TO_END_OF_WINDOW}{_END}"
