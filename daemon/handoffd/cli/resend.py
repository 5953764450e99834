"""`handoffd resend`: hand over once more what did not arrive, as a new handoff that names the old one.

It owns the question before somebody may do the same work twice. It is an agent's tool: it needs the pair's secret and
the shared directory, no daemon. The rule that must stay true: what may have been claimed is sent again only on request.
"""

import json
from contextlib import suppress
from pathlib import Path

import typer

from handoffd.agent import ANYONE, Inadmissible, Mailbox, Written, read_secret
from handoffd.agent.directory import Directories
from handoffd.agent.earlier import Earlier, NotFound, NotSigned, Several, find_earlier
from handoffd.cli.agent_side import explained, root_of
from handoffd.cli.confirm import YES, confirm
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.note import journal_of
from handoffd.cli.picture import ambiguous, printable, way
from handoffd.cli.root import CONFIG, Root, wall_s
from handoffd.custody.layout import RELAY


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("resend")(resend)


def resend(
    ident: str = typer.Argument(
        help="handoff_id, T, its first 8 digits or more, or the path of a file.", metavar="ID", show_default=False
    ),
    secret_file: Path = typer.Option(
        ..., "--secret-file", help="Secret shared by the two agents (mode 0600).", readable=False
    ),
    root: Path | None = typer.Option(None, "--root", help="Shared directory.", show_default=False, readable=False),
    ttl_s: float | None = typer.Option(None, "--ttl-s", help="Seconds to claim it in; default: as before."),
    reason: str | None = typer.Option(None, "--reason", help="Another reason than before."),
    yes: bool = YES,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    config: Path | None = CONFIG,
) -> None:
    """Write an earlier handoff anew, signed and linked to the old one by its field `resend_of`."""
    place = root_of(config, root)
    with explained(place):
        secret = read_secret(secret_file)
        places = Directories(place)
        places.make()
        earlier = _found(places, ident, secret)
        if not earlier.is_certainly_unclaimed():
            confirm(_question(earlier), yes=yes)
        sender = Mailbox(place, earlier.envelope.sender, {ANYONE: secret})
        written = _written(sender, earlier, earlier.ttl_s if ttl_s is None else ttl_s, reason)
    _note(place, written, earlier)
    _print(written, earlier, as_json=as_json)


def _found(places: Directories, ident: str, secret: bytes) -> Earlier:
    try:
        return find_earlier(places, ident, secret)
    except Several as error:
        words = ambiguous(ident, [(one.tid, one.path.parent.name) for one in error.found])
        raise Failure(words, ExitCode.USAGE) from None
    except NotFound as error:
        words = "one that is still on its way is in relay/: wait for its end, or take it back with `handoffd reject`"
        raise Failure(f"{printable(error)}; {words}") from None
    except NotSigned as error:
        raise Failure(f"{printable(error)}; write a new one with `handoffd send`", ExitCode.FAILED) from None
    except Inadmissible as error:
        raise Failure(f"{printable(ident)} is not admissible and never was: {error.detail}") from None


def _question(earlier: Earlier) -> str:
    envelope, place = earlier.envelope, earlier.path.parent.name
    words = {
        "handoff": "still waits to be claimed",
        "claimed": "is claimed, and somebody may be working on it",
        "archive": "was completed",
    }.get(place, "may have been claimed")
    name = f"{envelope.handoff_id} ({way(envelope.sender, envelope.to)})"
    return f"{name} {words}: {envelope.to} may do the same work twice. Send it again?"


def _written(mailbox: Mailbox, earlier: Earlier, ttl_s: float, reason: str | None) -> Written:
    try:
        return mailbox.write_handoff(earlier.draft(ttl_s, reason))
    except (Inadmissible, ValueError, OverflowError) as error:
        raise Failure(f"nothing was written: {error}", ExitCode.USAGE) from None


def _note(place: Path, written: Written, earlier: Earlier) -> None:
    """Write a line of the journal, where this user may and a daemon has made one."""
    ground = Root(place, None, wall_s())
    with suppress(PermissionError):
        if not (place / RELAY).is_dir():
            return
        journal, envelope = journal_of(ground), written.envelope
        names = {"tid": envelope.tid, "handoff_id": envelope.handoff_id, "sender": envelope.sender, "to": envelope.to}
        journal.write("resent", **names, file=written.path.name, detail=f"again: {earlier.tid}")
        journal.flush()


def _print(written: Written, earlier: Earlier, *, as_json: bool) -> None:
    envelope = written.envelope
    if not as_json:
        print(f"{envelope.handoff_id}  {written.path}")
        return
    fields = {
        "handoff_id": envelope.handoff_id,
        "tid": envelope.tid,
        "from": envelope.sender,
        "to": envelope.to,
        "file": written.path.name,
        "expires_at": envelope.expires_text,
        "resend_of": {"handoff_id": earlier.envelope.handoff_id, "tid": earlier.tid},
    }
    print(json.dumps(fields))
