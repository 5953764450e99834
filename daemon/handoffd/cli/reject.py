"""`handoffd reject`: the writer of a handoff takes it back before anybody has claimed it.

It owns the question, the way by what state it is in, and the words for what came of it. The rules that must stay true:
`revoked` is said only when no agent can have it, and a claim that was first is told as such.
"""

import time
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.claim import reject_over
from handoffd.cli.confirm import YES, confirm
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.given import seconds
from handoffd.cli.hub_side import CA, FINGERPRINT, HUB, TOKEN_FILE, hub_of
from handoffd.cli.note import host_of, journal_of
from handoffd.cli.operator import NotRunning, ask
from handoffd.cli.picture import SHORT_TID, print_json, printable, way
from handoffd.cli.root import CONFIG, JSON, ROOT, Root, opened
from handoffd.cli.show import IDENT, the_one
from handoffd.clock import SystemClock
from handoffd.custody.byhand import Changed, beside, stopped
from handoffd.custody.entry import Entry
from handoffd.custody.layout import UnsafeRoot
from handoffd.custody.place import Place, Role
from handoffd.protocol.record import to_fields

PATIENCE_S = 5.0
"""A verdict takes a round trip; longer means that the peer is away."""
_LOOK_EVERY_S = 0.05
_OPEN = frozenset({"queued", "stored", "leased", "published"})

Told = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reject")(reject)


def reject(
    ident: str = IDENT,
    yes: bool = YES,
    timeout_s: float = typer.Option(
        PATIENCE_S, "--timeout-s", callback=seconds, help="Wait so long for the peer's verdict."
    ),
    as_json: bool = JSON,
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
    hub_url: str | None = HUB,
    token_file: Path | None = TOKEN_FILE,
    reason: str = typer.Option("", "--reason", help="With --hub: why, in words."),
    ca: Path | None = CA,
    fingerprint: str | None = FINGERPRINT,
) -> None:
    """Take back a handoff of this host that nobody has claimed. With --hub: end a claim of this agent, unasked."""
    hub = hub_of(hub_url, token_file, ca, fingerprint, root)
    if hub is not None:
        reject_over(hub, ident, reason, as_json=as_json)
        return
    with opened(config, root) as ground:
        entry = the_one(ground, ident)
        _refuse_strangers(entry)
        if not entry.ended:
            confirm(_question(entry), yes=yes)
        told = _taken_back(ground, entry)
        if told["state"] in _OPEN and "wish" not in told:
            told = _after_verdict(ground, entry, told, timeout_s)
    if as_json:
        print_json(told)
    else:
        typer.echo(_words(entry, told))
    if told["state"] != "revoked":
        raise typer.Exit(ExitCode.TRY_AGAIN if told["state"] in _OPEN else ExitCode.FAILED)


def _refuse_strangers(entry: Entry) -> None:
    if entry.role not in (Role.SENDER, Role.LOCAL):
        raise Failure(f"{entry.tid[:SHORT_TID]} is not sent by this host; withdraw it where it was written")


def _question(entry: Entry) -> str:
    name = printable(entry.handoff_id or entry.tid[:SHORT_TID])
    return f"{name} ({way(entry.sender, entry.to)}) is {entry.word}. Take it back, so that nobody gets it?"


def _taken_back(ground: Root, entry: Entry) -> Told:
    if entry.record is not None:
        return {"tid": entry.tid, "state": entry.record.state.value, "record": to_fields(entry.record)}
    try:
        return _untaken(ground, entry) if entry.role is Role.LOCAL else _in_custody(ground, entry)
    except Changed:
        raise Failure(f"{entry.tid[:SHORT_TID]} moved on meanwhile; try again", ExitCode.TRY_AGAIN) from None


def _untaken(ground: Root, entry: Entry) -> Told:
    journal = journal_of(ground)
    try:
        with beside(ground.path, host_of(ground), SystemClock(), journal) as hand:
            record = hand.withdraw(entry)
    finally:
        journal.flush()
    return {"tid": record.tid, "state": record.state.value, "record": to_fields(record)}


def _in_custody(ground: Root, entry: Entry) -> Told:
    try:
        return ask(ground.path, "POST", "/operator/withdraw", {"tid": entry.tid})
    except NotRunning:
        pass
    refuse_half_taken(entry)
    journal = journal_of(ground)
    try:
        with stopped(ground.path, host_of(ground), SystemClock(), journal) as hand:
            hand.wish(entry)
    except UnsafeRoot as error:
        raise Failure(str(error), ExitCode.TRY_AGAIN) from None
    finally:
        journal.flush()
    return {"tid": entry.tid, "state": entry.word, "wish": "written down"}


def refuse_half_taken(entry: Entry) -> None:
    """Only the daemon can go on with a take that a crash cut short. Raises Failure."""
    if any(seen.place is Place.TAKING for seen in entry.sightings):
        words = "a take was cut short, and only the daemon can go on with it; start it (`handoffd run`), then try again"
        raise Failure(f"{entry.tid[:SHORT_TID]}: {words}", ExitCode.UNREACHABLE)


def _after_verdict(ground: Root, entry: Entry, told: Told, patience_s: float) -> Told:
    """Wait for the peer's answer, which the daemon writes to relay/outcome/."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        found = ground.reading.outcome(entry.tid)
        if found is not None:
            return {"tid": entry.tid, "state": found[0].state.value, "record": to_fields(found[0])}
        time.sleep(_LOOK_EVERY_S)
    return told


def _words(entry: Entry, told: Told) -> str:
    tid, state = entry.tid[:SHORT_TID], told["state"]
    if state == "revoked":
        return f"{tid} is withdrawn: no agent has it"
    if "wish" in told:
        return f"{tid} is {state}, and the daemon is stopped: when it starts it asks {entry.peer} to give it back"
    if state in _OPEN:
        detail = told.get("record", {}).get("detail")
        words = f"{tid} is {state}; {entry.peer} is asked to give it back, again and again, restarts included"
        warning = f"\nwarning: {printable(detail)}" if detail else ""
        return f"{words}: `handoffd show {tid}` tells what came of it{warning}"
    return f"{tid} was {state} already; it cannot be taken back"
