"""The tables of docs/http-api.md, made from the code; `python -m handoffd.hub.reference PAGE` rewrites them in it.

It owns the markers between which a table stands, and knows nothing of the page's other words.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from handoffd.hub.refusal import SENTENCE
from handoffd.hub.route import Route
from handoffd.hub.table import ROUTES
from handoffd.protocol.reason import HTTP_STATUS, PROBLEM_STATUS, STATE_OF


def tables() -> dict[str, str]:
    """Return each table's markdown by the name of its markers."""
    return {"routes": _routes(), "problems": _problems(), "reasons": _reasons()}


def rewrite(page: str) -> str:
    """Return the page with every marked table replaced. Raises ValueError for markers that are not there."""
    for name, table in tables().items():
        marked = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        if not marked.search(page):
            raise ValueError(f"the page has no lines `<!-- {name} -->` and `<!-- /{name} -->`")
        page = marked.sub(lambda _, text=table: text, page)  # type: ignore[misc]
    return page


def _routes() -> str:
    rows = (
        (f"`{route.method} {route.path}`", route.audience.value, route.summary, _limit(route), _statuses(route))
        for route in ROUTES
    )
    return _table(("call", "for", "what it does", "body", "answers"), rows)


def _limit(route: Route) -> str:
    if route.body is None:
        return ""
    size = f"{route.body.limit_bytes >> 10} KiB" if route.body.limit_bytes else "`max_payload`"
    return f"{route.body.schema}, {size}" + ("" if route.body.required else ", optional")


def _statuses(route: Route) -> str:
    return ", ".join(str(status) for status in (*sorted(route.replies), *route.statuses()))


def _problems() -> str:
    rows = ((f"`{problem}`", str(status), SENTENCE[problem]) for problem, status in PROBLEM_STATUS.items())
    return _table(("reason", "status", "meaning"), rows)


def _reasons() -> str:
    rows = (
        (f"`{reason}`", str(STATE_OF[reason]), str(status), SENTENCE[reason]) for reason, status in HTTP_STATUS.items()
    )
    return _table(("reason", "state", "status of a repeated POST", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(rewrite(path.read_text()))
