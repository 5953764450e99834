"""`handoffd claim` and `handoffd complete`: one claim at a hub, for agents that speak HTTP and nothing else.

It owns printing the payload, exact bytes, and nothing else on standard output. The rule that must stay true: what is
printed was claimed by this call, or by an earlier one with the same nonce.
"""

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from handoffd.agent import read_secrets
from handoffd.agent.hub import POLL_S, Hub, Offered, Refused
from handoffd.agent.proof import proven
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.given import read_given, seconds
from handoffd.cli.hub_side import CA, FINGERPRINT, HUB, PATIENCE_S, TOKEN_FILE, hub_of, needed, served
from handoffd.cli.picture import SHORT_TID, printable
from handoffd.output import OutputFailed, ReaderLeft
from handoffd.protocol import name
from handoffd.protocol.admission import Inadmissible
from handoffd.protocol.payload import label, route

_RACE_LOST = (409, 410)
FINAL_LIMIT_BYTES = 1 << 20


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("claim")(claim)
    app.command("complete")(complete)


def claim(
    ident: str | None = typer.Argument(None, help="T or handoff_id; without it the oldest one.", metavar="[ID]"),
    hub_url: str | None = HUB,
    token_file: Path | None = TOKEN_FILE,
    secret_file: list[str] = typer.Option(
        [], "--secret-file", help="FILE or NAME=FILE: reject what is not signed with it; may be repeated."
    ),
    nonce: str | None = typer.Option(None, "--nonce", help="The same nonce again gets the same bytes again."),
    wait_s: float = typer.Option(0.0, "--wait-s", callback=seconds, help="Wait so long for one, up to 25 s."),
    ca: Path | None = CA,
    fingerprint: str | None = FINGERPRINT,
) -> None:
    """Claim a handoff at a hub and print its exact bytes: exit 0, 75 if none waits, 1 if another was first."""
    hub = needed(hub_of(hub_url, token_file, ca, fingerprint), "claim")
    own = _nonce(nonce)
    with served(hub):
        known = read_secrets(secret_file)
        offered = _claimed(hub, ident, own, min(wait_s, POLL_S))
        if offered is None:
            print("handoffd: nothing waits", file=sys.stderr)
            raise typer.Exit(ExitCode.TRY_AGAIN)
        if known:
            _prove(hub, offered, known)
    found = route(offered.data)
    print(printable(f"{found.handoff_id if found else None}  {offered.tid}"), file=sys.stderr)
    try:
        sys.stdout.buffer.write(offered.data)
        sys.stdout.flush()
    except (OutputFailed, ReaderLeft):
        print(f"handoffd: it is claimed; once more: handoffd claim {offered.tid} --nonce {own} …", file=sys.stderr)
        raise


def _nonce(given: str | None) -> str:
    if given is None:
        return secrets.token_hex(16)
    try:
        return name.nonce(given)
    except name.BadName as error:
        raise Failure(f"--nonce: {error}", ExitCode.USAGE) from None


def _claimed(hub: Hub, ident: str | None, nonce: str, wait_s: float) -> Offered | None:
    if ident is not None:
        return hub.accept(ident, nonce, PATIENCE_S)
    while True:
        seen = hub.poll(wait_s, PATIENCE_S)
        if seen is None:
            return None
        try:
            return hub.accept(seen.tid, nonce, PATIENCE_S)
        except Refused as refused:
            if refused.status not in _RACE_LOST:
                raise


def _prove(hub: Hub, offered: Offered, known: Mapping[str, bytes]) -> None:
    found = route(offered.data)
    try:
        proven(offered.data, found.sender if found else "", found.to if found else "", known)
    except Inadmissible as refusal:
        hub.reject(offered.tid, refusal.detail, PATIENCE_S)
        raise Failure(f"{offered.tid[:SHORT_TID]} was rejected: {refusal.detail}") from None


def complete(
    ident: str = typer.Argument(help="T or handoff_id of the claim.", metavar="ID", show_default=False),
    hub_url: str | None = HUB,
    token_file: Path | None = TOKEN_FILE,
    final: Path | None = typer.Option(
        None, "--final", help="FILE with its last bytes: the payload with more in it.", readable=False
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the hub's answer."),
    ca: Path | None = CA,
    fingerprint: str | None = FINGERPRINT,
) -> None:
    """End a claim of this agent at a hub well. Again: again exit 0; 1 if it has ended otherwise."""
    hub = needed(hub_of(hub_url, token_file, ca, fingerprint), "complete")
    data = None if final is None else _final(final)
    with served(hub):
        told = hub.complete(ident, data, PATIENCE_S)
    print(json.dumps(told) if as_json else f"{told['tid'][:SHORT_TID]} {told['state']}")


def reject_over(hub: Hub, ident: str, words: str, *, as_json: bool) -> None:
    """End a claim of this agent with a reason; what `handoffd reject --hub` does. Raises Failure."""
    with served(hub):
        told = hub.reject(ident, words, PATIENCE_S)
    print(json.dumps(told) if as_json else f"{told['tid'][:SHORT_TID]} {told['state']}")


def _final(path: Path) -> bytes:
    data = read_given("--final", path, FINAL_LIMIT_BYTES)
    if None in label(data):
        words = "the payload with more in it, handoff_id and hmac unchanged, or nobody can tell whose it is"
        raise Failure(f"--final {path}: give {words}", ExitCode.USAGE)
    return data
