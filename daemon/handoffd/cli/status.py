"""`handoffd status`: what the running daemon says of itself: its links, and how much it has in hand.

It owns the layout of the page and its exit code. The rule that must stay true: the words are the daemon's; nothing
here is called delivered or up that the daemon has not seen so.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.failure import ExitCode
from handoffd.cli.operator import ask
from handoffd.cli.picture import print_json, printable
from handoffd.cli.root import CONFIG, JSON, ROOT, opened

_BOOKS = frozenset({"signatures", "forgettable"})
"""Counts of what is remembered, not of handoffs in hand."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(as_json: bool = JSON, config: Path | None = CONFIG, root: Path | None = ROOT) -> None:
    """Show the running daemon's links, with their trouble and its remedy first, and the handoffs in its hands."""
    with opened(config, root) as ground:
        told = ask(ground.path, "GET", "/operator/status")
    if as_json:
        print_json(told)
    else:
        for line in _page(told):
            typer.echo(line)
    if not told["ready"] or any(link["state"] != "up" or link.get("error") for link in told["links"]):
        raise typer.Exit(ExitCode.FAILED)


def _page(told: dict[str, Any]) -> Iterator[str]:
    for link in told["links"]:
        if link.get("error"):
            error = {key: printable(words) for key, words in link["error"].items()}
            yield f"warning: {link['peer']}: {error['word']}: {error['detail']}; {error['remedy']}"
    ready = "ready" if told["ready"] else "not ready"
    yield f"{told['host']} serves {told['root']}: {ready}, handoffd {told['version']}, epoch {told['epoch'][:12]}"
    for link in told["links"]:
        yield _link(link)
    in_hand = {place: number for place, number in told["counts"].items() if place not in _BOOKS}
    words = ", ".join(f"{number} {place.replace('_', ' ')}" for place, number in sorted(in_hand.items()))
    yield f"in hand: {words or 'nothing'}"


def _link(link: dict[str, Any]) -> str:
    words = [f"{link['peer']}  {link['state']} since {link['since']}", str(link["url"])]
    if link["homes"]:
        words.append("agents " + ", ".join(map(printable, link["homes"])))
    if link["round_trip_ms"] is not None:
        words.append(f"round trip {link['round_trip_ms']} ms, clock {link['clock_offset_ms']:+d} ms")
    words.append(f"{link['in_flight']} requests under way, {link['waiting']} handoffs waiting")
    return "  ".join(words)
