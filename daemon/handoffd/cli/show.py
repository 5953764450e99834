"""`handoffd show`: everything this host's files say of one handoff.

It owns the choice among several of one name and the layout of the page. The rule that must stay true: no word of a
transcript is printed unless --payload asks for it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.picture import (
    SHORT_TID,
    ambiguous,
    coloured,
    duration,
    entry_fields,
    expiry,
    offset_words,
    peer_words,
    print_json,
    printable,
    way,
)
from handoffd.cli.root import CONFIG, JSON, ROOT, Root, opened
from handoffd.custody.entry import Entry
from handoffd.custody.layout import ARCHIVE, OUTCOME, REJECTED
from handoffd.custody.place import PLACES, Role
from handoffd.custody.reading import SHORTEST_PREFIX
from handoffd.custody.remains import MEANS, Found, remains
from handoffd.protocol.moment import format_moment
from handoffd.protocol.reason import State
from handoffd.view.payload import payload_facts, payload_of
from handoffd.view.story import story_of

IDENT = typer.Argument(help="T, its first 8 digits or more, or a handoff_id.", metavar="ID", show_default=False)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show")(show)


def show(
    ident: str = IDENT,
    payload: bool = typer.Option(False, "--payload", help="Print the payload's exact bytes, transcript and all."),
    as_json: bool = JSON,
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """Show one handoff: its record, its files, its payload without the transcript."""
    with opened(config, root, unserved=True) as ground:
        entry, others = chosen(ground, ident)
        found = remains(ground.path, entry)
        data = payload_of(ground.path, entry, found)
        if payload:
            _print_payload(entry, data)
        elif as_json:
            print_json(_document(ground, entry, others, found, data))
        else:
            for line in (*_page(ground, entry), *_so_far(ground, entry), *_files(entry, found), *_payload_lines(data)):
                typer.echo(line)
    for line in several(ident, others):
        typer.echo(line, err=True)


def chosen(ground: Root, ident: str) -> tuple[Entry, list[Entry]]:
    """Return the newest handoff of this name, and the others. Raises Failure if there is none."""
    found = ground.reading.find(ident)
    if not found:
        raise Failure(not_found(ground, ident))
    return found[0], found[1:]


def the_one(ground: Root, ident: str) -> Entry:
    """Return the handoff of this name, to change it. Raises Failure if there is none, or if several bear the name."""
    entry, others = chosen(ground, ident)
    if others:
        raise Failure(ambiguous(ident, [(one.tid, one.word) for one in (entry, *others)]), ExitCode.USAGE)
    return entry


def not_found(ground: Root, ident: str) -> str:
    """Return where one looked in vain, and what may help."""
    if broken := ground.reading.unreadable(ident):
        path = f"{ground.path}/relay/outcome/{broken[0]}.json"
        return f"{path} is no record that can be read; `handoffd fsck` tells more, the other host has its own"
    looked = f"looked in {ground.path}/handoff, rejected and relay/outbox, sent, inbox, outcome"
    if len(ident) < SHORTEST_PREFIX:
        return f"{printable(ident)}: no such handoff ({looked}); give at least {SHORTEST_PREFIX} digits of T"
    return f"{printable(ident)}: no such handoff ({looked}); `handoffd events --limit 0 --handoff ID` may remember it"


def several(ident: str, others: list[Entry]) -> Iterator[str]:
    """Tell of the handoffs that were not chosen."""
    if others:
        tids = ", ".join(entry.tid[:SHORT_TID] for entry in others[:10])
        yield f"handoffd: {len(others) + 1} handoffs answer to {printable(ident)}; this is the newest; others: {tids}"


def _print_payload(entry: Entry, data: bytes | None) -> None:
    if data is None:
        raise Failure(f"no file here holds the payload of {entry.tid[:SHORT_TID]} any more; ask the other host")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def _document(ground: Root, entry: Entry, others: list[Entry], found: list[Found], data: bytes | None) -> Any:
    files = [{"place": each.what.value, "path": each.path} for each in found]
    fields = entry_fields(entry, ground.now)
    return {
        **fields,
        "files": fields["files"] + files,
        "payload": None if data is None else _facts(data),
        "others": [other.tid for other in others],
    }


def _facts(data: bytes) -> dict[str, Any]:
    try:
        return payload_facts(data)
    except (ValueError, RecursionError):
        return {"size": len(data)}


def _page(ground: Root, entry: Entry) -> Iterator[str]:
    doubt_s = entry.doubt_s(ground.now)
    doubt = "" if doubt_s is None else f", in doubt for {duration(doubt_s)}"
    yield _row("handoff", entry.handoff_id)
    yield _row("T", entry.tid)
    yield f"{'state':10} {coloured(entry.word)}{doubt}" + (f" ({printable(entry.means)})" if entry.means else "")
    yield _row("route", f"{way(entry.sender, entry.to)}; {_custody_words(entry)}")
    yield _row("file", entry.file)
    yield _row("ended" if entry.ended else "since", _moment(entry.since, ground.now))
    if entry.expires_at is not None:
        yield _row("expires", f"{format_moment(entry.expires_at)} ({expiry(entry.expires_at, ground.now)})")
    yield from _outcome(entry)


def _custody_words(entry: Entry) -> str:
    if entry.role is Role.LOCAL:
        return "in no daemon's custody"
    return f"this host is its {entry.role.value}; peer {peer_words(entry)}"


def _outcome(entry: Entry) -> Iterator[str]:
    record = entry.record
    if record is None:
        return
    teller = record.onward or record.peer
    told_by = f", told by {teller}" if record.clock_offset_ms is not None and record.by != teller else ""
    yield _row("reason", f"{record.reason}; delivered: {record.delivered}; by the word of {record.by}{told_by}")
    if record.artefact is not None:
        artefact = record.artefact
        yield _row("artefact", f"{artefact.name}, {artefact.size} bytes, sha256 {artefact.sha256[:SHORT_TID]}")
    for host in dict.fromkeys((*record.edges_by.values(), record.by)):
        ahead_ms = record.ahead_ms(host)
        if ahead_ms is not None:
            yield _row("clock", offset_words(host, ahead_ms))
    for state, at in record.edges.items():
        yield _row(state, f"{at} by the clock of {record.timed_by(state)}")


def _so_far(ground: Root, entry: Entry) -> Iterator[str]:
    """Tell when an open handoff reached which state and where: the files do not say, the journal remembers."""
    if entry.record is not None:
        return
    for step in story_of(ground.journal, ground.host, entry, entry.tid).steps:
        if step.event in set(State):
            untold = " (by its own clock, which was not compared with ours)" if step.as_told else ""
            yield _row(step.event, f"{format_moment(step.at)} at {step.host}{untold}")


def _moment(at: float, now: float) -> str:
    return f"{format_moment(at)} ({duration(now - at)} ago)"


def _files(entry: Entry, found: list[Found]) -> Iterator[str]:
    rows = [(seen.path, PLACES[seen.place][1]) for seen in entry.sightings]
    rows += [(each.path, MEANS[each.what]) for each in found if each.path not in {path for path, _ in rows}]
    for number, (path, means) in enumerate(rows):
        yield _row("" if number else "files", f"{path}: {means}")


def _payload_lines(data: bytes | None) -> Iterator[str]:
    if data is None:
        yield _row(
            "payload", f"not here any more (not in relay/, {ARCHIVE}/, {REJECTED}/); {OUTCOME}/ holds no payload"
        )
        return
    facts = _facts(data)
    yield _row("payload", f"{facts['size']} bytes; {facts.get('transcript_entries', '?')} transcript entries")
    if "fields" in facts:
        yield _row("", f"reason {facts.get('reason') or '-'}; initiated {facts.get('initiated_at')}")
        yield _row("", "fields: " + ", ".join(facts["fields"]))


def _row(head: str, text: object) -> str:
    return f"{head:10} {printable(text)}"
