"""The page of `handoffd status`: lines made of the status as JSON fields, whoever gathered it.

It owns words, order and columns. It knows no terminal: a line says which of its characters bear which colour. The
rule that must stay true: what needs attention comes first, and no line says more than the fields do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from handoffd.protocol.moment import parse_moment
from handoffd.status.model import UNSEEN
from handoffd.view.words import SHORT_TID, duration, printable

Fields = dict[str, Any]
_PEER_HEADS = ("PEER", "LINK", "SINCE", "LAST OK", "ROUND TRIP", "CLOCK", "BACKLOG", "OLDEST")
_SHARED_HEADS = ("WHICHEVER OF", "FOR", "BACKLOG", "OLDEST")
_HANDOFF_HEADS = ("HANDOFFS", "AS", "COUNT", "OLDEST", "ITS T")
_LATENCY_HEADS = ("LAST HOUR", "COUNT", "HALF IN", "90 % IN", "99 % IN")
_GOOD, _BAD, _ODD = typer.colors.GREEN, typer.colors.RED, typer.colors.YELLOW


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its first `painted` characters bear the colour, if there is one. `wraps`: too long, it is folded."""

    text: str = ""
    colour: str | None = None
    painted: int = 0
    wraps: bool = False

    def shown(self, *, colour: bool = True) -> str:
        """Return the line, in its colour if there are to be any."""
        if self.colour is None or not colour:
            return self.text
        return typer.style(self.text[: self.painted], fg=self.colour) + self.text[self.painted :]


def page(told: Fields) -> list[Line]:
    """Return the whole page."""
    now = parse_moment(told["time"])
    return [
        *_warnings(told),
        _head(told, now),
        Line(),
        *_peers(told, now),
        *_shared(told),
        *_handoffs(told),
        *_latency(told),
        *_foot(told),
    ]


def _warnings(told: Fields) -> Iterator[Line]:
    for one in told["warnings"]:
        place = f"{printable(one['peer'])}: " if one["peer"] else ""
        text = f"warning: {place}{printable(one['word'])}: {printable(one['detail'])}; {printable(one['remedy'])}"
        yield Line(text, _BAD, len("warning"), wraps=True)


def _head(told: Fields, now: float) -> Line:
    host, root = printable(told["host"] or "this host"), printable(told["root"])
    if told["daemon"] != "running":
        return Line(f"{host} does not serve {root}: the daemon is {printable(told['daemon'])}", wraps=True)
    ready = "ready" if told["ready"] else "not ready"
    since = duration(now - parse_moment(told["started"]))
    return Line(f"{host} serves {root}: {ready}, up {since}, handoffd {printable(told['version'])}", wraps=True)


def _peers(told: Fields, now: float) -> Iterator[Line]:
    links = told["peers"]
    if not links:
        yield Line("no peers are configured")
    else:
        yield from _table(_PEER_HEADS, [_peer(link, now) for link in links], [_colour(link) for link in links])
    yield Line()


def _peer(link: Fields, now: float) -> tuple[str, ...]:
    backlog, offset, trip = link["backlog"], link["clock_offset_ms"], link["round_trip_ms"]
    return (
        printable(link["peer"]),
        "-" if link["state"] == UNSEEN else printable(link["state"]),
        _ago(link["since"], now),
        _ago(link["last_success"], now),
        "-" if trip is None else f"{trip:.1f} ms",
        "-" if offset is None else f"{offset:+d} ms",
        str(backlog["count"]),
        _oldest(backlog),
    )


def _shared(told: Fields) -> Iterator[Line]:
    rows = [
        (
            printable(", ".join(one["homes"]) or "no listed peer now"),
            printable(one["agent"]),
            str(one["count"]),
            _oldest(one),
        )
        for one in told["shared"]
    ]
    if rows:
        yield from _table(_SHARED_HEADS, rows, [None] * len(rows))
        yield Line()


def _oldest(tally: Fields) -> str:
    return duration(tally["oldest_s"]) if tally["count"] else "-"


def _colour(link: Fields) -> str | None:
    if link["state"] == UNSEEN:
        return None
    return _BAD if link["error"] or link["state"] != "up" else _GOOD


def _handoffs(told: Fields) -> Iterator[Line]:
    rows = [(one["state"], one["role"], one) for one in told["handoffs"]]
    rows += [("in doubt", f"sender to {printable(one['peer'])}", one) for one in told["in_doubt"]]
    if not rows:
        yield Line("no handoff is open")
    else:
        cells = [(printable(state), role, *_tally(one)) for state, role, one in rows]
        yield from _table(_HANDOFF_HEADS, cells, [_ODD if state == "in doubt" else None for state, _, _ in rows])
    yield Line()


def _tally(one: Fields) -> tuple[str, str, str]:
    return str(one["count"]), duration(one["oldest_s"]), printable(one["oldest_tid"])[:SHORT_TID]


def _latency(told: Fields) -> Iterator[Line]:
    rows = [
        (step.replace("_", " "), str(one["count"]), *(_span(one[key]) for key in ("p50_s", "p90_s", "p99_s")))
        for step, one in (told["latency"] or {}).items()
        if one["count"]
    ]
    if rows:
        yield from _table(_LATENCY_HEADS, rows, [None] * len(rows))
        yield Line()


def _foot(told: Fields) -> Iterator[Line]:
    if told["ended"] is not None:
        ended = ", ".join(f"{count} {reason}" for reason, count in told["ended"].items())
        yield Line(f"ended since the start: {ended or 'none'}", wraps=True)
    yield Line(f"disk: {told['disk']['free_bytes'] / (1 << 30):.1f} GiB free")


def _ago(moment: str | None, now: float) -> str:
    return "-" if moment is None else duration(now - parse_moment(moment))


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return duration(seconds) if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str | None]) -> Iterator[Line]:
    cells = [heads, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row, colour in zip(cells, [None, *colours], strict=True):
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield Line(text, colour, widths[0] + 2 + widths[1] if colour else 0)
