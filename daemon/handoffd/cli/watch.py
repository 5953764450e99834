"""`handoffd status --watch`: the page again and again, in place on a terminal, one after the other elsewhere.

It owns the rhythm. The rule that must stay true: the last page stays readable when it ends.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from handoffd.cli.failure import ExitCode
from handoffd.cli.frame import drawn, fitted
from handoffd.cli.status_page import Line, page
from handoffd.cli.terminal import Ended, Terminal, end_by

Fields = dict[str, Any]


def watch(
    gather: Callable[[], Fields], verdict: Callable[[Fields], ExitCode], interval_s: float, *, as_json: bool
) -> ExitCode:
    """Show the status every `interval_s` seconds until Ctrl-C or `q`; return the verdict on the last one.

    Raises what `gather` raises. Ends this process by SIGTERM and SIGHUP, after the terminal was put right.
    """
    if not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return verdict(_in_place(gather, interval_s))
    return verdict(_one_after_the_other(gather, interval_s, _json if as_json else _text))


def _in_place(gather: Callable[[], Fields], interval_s: float) -> Fields:
    terminal, colour = Terminal(), not os.environ.get("NO_COLOR")
    told, rows = gather(), 0
    try:
        with terminal.drawing():
            while True:
                columns, height = terminal.size()
                before = 0 if terminal.fresh else rows
                shown = fitted([*page(told), Line(), Line(_hint(told, interval_s))], columns, height)
                terminal.draw(drawn(shown, before, colour=colour))
                rows = len(shown)
                if not terminal.wait(interval_s):
                    break
                if not terminal.fresh:
                    told = gather()
    except Ended as end:
        end_by(end.number)
    return told


def _hint(told: Fields, interval_s: float) -> str:
    return f"{told['time'][11:19]} UTC, again every {interval_s:g} s; q ends"


def _one_after_the_other(gather: Callable[[], Fields], interval_s: float, show: Callable[[Fields], str]) -> Fields:
    told = gather()
    try:
        while True:
            print(show(told), flush=True)
            time.sleep(interval_s)
            told = gather()
    except KeyboardInterrupt:
        return told


def _text(told: Fields) -> str:
    head = f"--- {told['time']}"
    return "\n".join([head, *(line.text for line in page(told))])


def _json(told: Fields) -> str:
    return json.dumps(told, separators=(",", ":"))
