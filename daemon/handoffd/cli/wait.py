"""`handoffd wait`: sleep until something can be claimed for an agent, and say what; it claims nothing.

It owns the sleep. The rule that must stay true: what is told was there at the look, and may be another's by the time it
is read: only a claim decides.
"""

import json
import os
import time
from pathlib import Path

import typer

from handoffd.agent.directory import Directories, open_regular, read_all
from handoffd.agent.waiting import Waiting
from handoffd.agent.wake import POLL_S, Wake
from handoffd.cli.agent_side import agent_of, explained, root_for
from handoffd.cli.failure import ExitCode
from handoffd.cli.given import seconds
from handoffd.cli.hub_side import CA, FINGERPRINT, HUB, TOKEN_FILE, hub_of
from handoffd.cli.over_hub import wait_over
from handoffd.cli.picture import printable
from handoffd.cli.root import CONFIG
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import AgentName
from handoffd.protocol.payload import route, transfer_id
from handoffd.protocol.timing import ROUTE_LIMIT_BYTES

LOOK_S = 5.0
"""Between looks where the kernel tells of arrivals: a look costs some 0.1 ms, and only a lost hint waits for it."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("wait")(wait)


def wait(
    agent: str = typer.Option(..., "--agent", help="The agent to wait for."),
    root: Path | None = typer.Option(None, "--root", help="Shared directory.", show_default=False, readable=False),
    timeout_s: float | None = typer.Option(None, "--timeout-s", callback=seconds, help="Exit 75 after so long."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    hub_url: str | None = HUB,
    token_file: Path | None = TOKEN_FILE,
    ca: Path | None = CA,
    fingerprint: str | None = FINGERPRINT,
    config: Path | None = CONFIG,
) -> None:
    """Block until something can be claimed for an agent: exit 0, or 75 after --timeout-s. Claims nothing."""
    name, hub = agent_of("--agent", agent), hub_of(hub_url, token_file, ca, fingerprint, root)
    wake = Wake()
    with wake.signals():
        if hub is not None:
            found = wait_over(hub, name, timeout_s, wake)
        else:
            place = root_for(config, root, name)
            with explained(place):
                found = _waited(place, name, timeout_s, wake)
    if found is None:
        raise typer.Exit(ExitCode.INTERRUPTED if wake.stopping else ExitCode.TRY_AGAIN)
    print(json.dumps(found) if as_json else printable(f"{found['handoff_id']}  {found.get('path') or found['tid']}"))


def _waited(root: Path, agent: AgentName, timeout_s: float | None, wake: Wake) -> dict[str, object] | None:
    places = Directories(root)
    places.make()
    waiting = Waiting(places, agent)
    until = None if timeout_s is None else time.monotonic() + timeout_s
    with wake.arrivals(places.handoff) as is_told:
        while not wake.stopping:
            for name in waiting.names(time.time()):  # noqa: TID251
                found = _seen(places.handoff / name)
                if found is not None:
                    return found
            left_s = LOOK_S if is_told else POLL_S
            if until is not None:
                left_s = min(left_s, until - time.monotonic())
                if left_s <= 0:
                    return None
            wake.wait(left_s)
    return None


def _seen(path: Path) -> dict[str, object] | None:
    fd = open_regular(path)
    if fd is None:
        return None
    try:
        data = read_all(fd, ROUTE_LIMIT_BYTES)
    finally:
        os.close(fd)
    found = route(data)
    if found is None:
        return None
    return {
        "handoff_id": found.handoff_id,
        "tid": transfer_id(data),
        "from": found.sender,
        "expires_at": None if found.expires_at is None else format_moment(found.expires_at),
        "path": str(path),
    }
