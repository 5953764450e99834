"""`handoffd listen`: claim what arrives for one agent and run a command, write the voice bootstrap, or both.

It owns the options and what is printed: ends on standard error, one line each, so that standard output is the
command's; with --json it is the other way round.
"""

import json
import math
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import typer

from handoffd.agent import Ended, Mailbox, read_secrets
from handoffd.agent.command import Command
from handoffd.agent.listener import Listener, Work
from handoffd.agent.wake import Wake
from handoffd.cli.agent_side import agent_of, explained, root_for
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.hub_side import CA, FINGERPRINT, HUB, TOKEN_FILE, hub_of, served, state_of
from handoffd.cli.over_hub import listen_over
from handoffd.cli.picture import printable
from handoffd.cli.root import CONFIG

_FOR_A_SHELL = re.compile(r"[0-9&]?[<>]|[|;&]+\Z")
"""A word that is a pipe or a redirection to a shell: a command that fails over it rejects every call."""

_ONCE_CODES = {True: ExitCode.OK, False: ExitCode.FAILED, None: ExitCode.TRY_AGAIN}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("listen")(listen)


def listen(
    agent: str = typer.Option(..., "--agent", help="The agent to listen for."),
    secret_file: list[str] = typer.Option(
        ..., "--secret-file", help="FILE for every sender, or NAME=FILE for one (mode 0600); may be repeated."
    ),
    root: Path | None = typer.Option(None, "--root", help="Shared directory.", show_default=False, readable=False),
    command: str | None = typer.Option(
        None,
        "--exec",
        help="Command that gets the payload on standard input; exit 0 completes, else rejects. No shell: sh -c '…'.",
    ),
    timeout_s: float | None = typer.Option(None, "--timeout-s", help="End the command, all of it, after so long."),
    once: bool = typer.Option(
        False, "--once", help="End after one handoff: exit 0 completed, 1 rejected, 75 stopped before."
    ),
    bootstrap: Path | None = typer.Option(
        None,
        "--bootstrap",
        help="Voice server's state directory; gets handoffs/ID.json for each claim.",
        readable=False,
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object per end on standard output."),
    hub_url: str | None = HUB,
    token_file: Path | None = TOKEN_FILE,
    ca: Path | None = CA,
    fingerprint: str | None = FINGERPRINT,
    memory: Path | None = typer.Option(
        None,
        "--state",
        help="With --hub: directory for claims that a crash must not forget.",
        show_default=False,
        readable=False,
    ),
    config: Path | None = CONFIG,
) -> None:
    """Claim handoffs for an agent and work on each once."""
    state = _state(bootstrap)
    work = Work(time.time, _command(command, timeout_s, as_json), state)  # noqa: TID251
    if command is None and state is None:
        raise Failure("nothing to do with a handoff: give --exec COMMAND, --bootstrap DIR, or both", ExitCode.USAGE)
    told, hub = _printer(as_json), hub_of(hub_url, token_file, ca, fingerprint, root)
    if hub is not None:
        name = agent_of("--agent", agent)
        with served(hub):
            known = dict(read_secrets(secret_file))
        completed = listen_over(hub, name, known, work, state_of(hub, name, memory), told, once=once)
        raise typer.Exit(_ONCE_CODES[completed] if once else ExitCode.OK)
    place = root_for(config, root, agent)
    with explained(place, "what was claimed and has not ended the next listener rejects as listener_interrupted"):
        mailbox = Mailbox(place, agent_of("--agent", agent), read_secrets(secret_file), told=told)
        completed = _listen(mailbox, work, once=once)
    raise typer.Exit(_ONCE_CODES[completed] if once else ExitCode.OK)


def _listen(mailbox: Mailbox, work: Work, *, once: bool) -> bool | None:
    wake = Wake()
    with wake.signals(), wake.arrivals(mailbox.places.handoff):
        completed = Listener(mailbox, work, wake, once=once).run()
    wake.close()
    return completed


def _command(text: str | None, timeout_s: float | None, as_json: bool) -> Command | None:
    if text is None:
        return None
    if timeout_s is not None and not 0 < timeout_s < math.inf:
        raise Failure(
            f"--timeout-s {timeout_s:g}: give seconds, more than 0; leave it out for no limit", ExitCode.USAGE
        )
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Failure(f"--exec: {error}: {text}", ExitCode.USAGE) from None
    if not words or shutil.which(words[0]) is None:
        raise Failure(f"--exec: there is no such command: {words[0] if words else text!r}", ExitCode.USAGE)
    meant = next(filter(_FOR_A_SHELL.match, words[1:]), None)
    if meant is not None:
        told = f"--exec: no shell reads {meant!r}, {words[0]} gets it as it is; for a shell write --exec \"sh -c '…'\""
        print(f"handoffd: warning: {told}", file=sys.stderr)
    return Command(words, timeout_s, sys.stderr.fileno() if as_json else None)


def _state(directory: Path | None) -> Path | None:
    if directory is not None and not directory.is_dir():
        raise Failure(f"--bootstrap {directory}: there is no such directory; create it", ExitCode.USAGE)
    if directory is not None and (handoffs := directory / "handoffs").exists() and not handoffs.is_dir():
        raise Failure(f"--bootstrap {directory}: {handoffs} is no directory; move it away", ExitCode.USAGE)
    return directory


def _printer(as_json: bool) -> Callable[[Ended], None]:
    return _print_json if as_json else _print


def _print_json(ended: Ended) -> None:
    fields = {
        "handoff_id": ended.handoff_id,
        "from": ended.sender,
        "state": "rejected" if ended.words else "completed",
        "detail": ended.words,
        "path": str(ended.path),
    }
    print(json.dumps(fields), flush=True)


def _print(ended: Ended) -> None:
    words = f"rejected ({ended.words})" if ended.words else "completed"
    print(printable(f"{ended.handoff_id} from {ended.sender}: {words}"), file=sys.stderr, flush=True)
