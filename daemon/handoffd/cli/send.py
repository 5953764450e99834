"""`handoffd send`: write a signed handoff into a shared root, as an agent does, but durably.

It owns the options and what is printed. It needs no daemon: the file is for whoever carries or claims it.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from handoffd.agent import ANYONE, DEFAULT_TTL_S, Draft, End, Ends, Inadmissible, Mailbox, Written, read_secret
from handoffd.cli.agent_side import agent_of, configured, explained, warn_of_stranger
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.given import read_given, seconds
from handoffd.cli.hub_side import CA, FINGERPRINT, HUB, TOKEN_FILE, hub_of, served
from handoffd.cli.over_hub import Waiting, send_over
from handoffd.cli.picture import printable
from handoffd.cli.root import CONFIG
from handoffd.protocol.timing import PAYLOAD_LIMIT_BYTES

OUTCOME_PATIENCE_S = 60.0
"""How long past expiry --wait goes on by default: a peer that was away is asked for its verdict after 30 s."""
_CALLER_HASH_CHARS = 16


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("send")(send)


def send(
    sender: str = typer.Option(..., "--from", help="The agent that hands over."),
    to: str = typer.Option(..., "--to", help="The agent that shall take it."),
    secret_file: Path = typer.Option(
        ..., "--secret-file", help="Secret shared by the two agents (mode 0600).", readable=False
    ),
    root: Path | None = typer.Option(None, "--root", help="Shared directory.", show_default=False, readable=False),
    reason: str = typer.Option("", "--reason", help="Why it is handed over."),
    caller: str | None = typer.Option(None, "--caller", help="Who called; only a hash of it is written."),
    caller_hash: str | None = typer.Option(None, "--caller-hash", help="The hash itself: 16 lower-case hex digits."),
    ttl_s: float = typer.Option(DEFAULT_TTL_S, "--ttl-s", help="Seconds in which it must be claimed."),
    transcript: str | None = typer.Option(None, "--transcript", help="JSON list of {role, text, ts?}: FILE, or -."),
    summary: str | None = typer.Option(None, "--summary", help="Text for context_summary."),
    field: list[str] = typer.Option([], "--field", help="Another field, NAME=JSON; may be repeated."),
    wait: bool = typer.Option(False, "--wait", help="Wait for the outcome: exit 0 completed, 1 otherwise ended."),
    timeout_s: float | None = typer.Option(
        None,
        "--timeout-s",
        callback=seconds,
        help=f"With --wait: exit 75 after so long (default: lifetime + {OUTCOME_PATIENCE_S:g} s).",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    hub_url: str | None = HUB,
    token_file: Path | None = TOKEN_FILE,
    ca: Path | None = CA,
    fingerprint: str | None = FINGERPRINT,
    config: Path | None = CONFIG,
) -> None:
    """Write a signed handoff, durably, under a name nobody has; or hand it to a hub."""
    draft = Draft(
        to=agent_of("--to", to),
        reason=_text("--reason", reason),
        transcript=_transcript(transcript),
        summary=None if summary is None else _text("--summary", summary),
        caller_hash=_caller_hash(caller, caller_hash),
        ttl_s=ttl_s,
        extra=_extra(field),
    )
    patience_s = ttl_s + OUTCOME_PATIENCE_S if timeout_s is None else timeout_s
    hub = hub_of(hub_url, token_file, ca, fingerprint, root)
    if hub is not None:
        with served(hub):
            pair = agent_of("--from", sender), read_secret(secret_file)
        raise typer.Exit(send_over(hub, draft, pair, Waiting(wait, patience_s), as_json=as_json))
    place = _root(config, sender, draft) if root is None else root
    with explained(place):
        mailbox = Mailbox(place, agent_of("--from", sender), {ANYONE: read_secret(secret_file)})
        ends = Ends(mailbox.places)
        written = _written(mailbox, draft)
        end = _waited(ends, written, patience_s) if wait else None
    _print(mailbox, written, end, as_json=as_json, waited=wait)
    raise typer.Exit(_exit_code(end) if wait else ExitCode.OK)


def _root(named: Path | None, sender: str, draft: Draft) -> Path:
    """Return the configuration's root, with a warning if the daemon would not carry this."""
    config, to = configured(named), draft.to
    known = sorted({*config.agents, *config.homes})
    warn_of_stranger(config, sender, "the daemon leaves its files in handoff/ alone")
    if to not in known and config.default_peer is None:
        print(
            f"handoffd: warning: no agent is called {to} in {config.path} (known: {', '.join(known) or 'none'}); "
            "unless that changes, the handoff ends as unroutable when it expires",
            file=sys.stderr,
        )
    if draft.ttl_s > config.limits.max_ttl_s:
        words = f"--ttl-s {draft.ttl_s:g} is more than limits.max_ttl_s, {config.limits.max_ttl_s:g}, in {config.path}"
        print(f"handoffd: warning: {words}; the daemon will refuse the handoff", file=sys.stderr)
    return config.root


def _waited(ends: Ends, written: Written, patience_s: float) -> End | None:
    try:
        return ends.wait(written.envelope, patience_s)
    except KeyboardInterrupt:
        ident = written.envelope.handoff_id
        words = f"waits no longer; the handoff is written and goes on: {ident}  {written.path}"
        raise Failure(f"{words}\n`handoffd reject {ident}` takes it back", ExitCode.INTERRUPTED) from None


def _written(mailbox: Mailbox, draft: Draft) -> Written:
    try:
        return mailbox.write_handoff(draft)
    except (Inadmissible, ValueError, OverflowError) as error:
        raise Failure(f"nothing was written: {error}", ExitCode.USAGE) from None


def _caller_hash(caller: str | None, caller_hash: str | None) -> str | None:
    if caller is None:
        return caller_hash
    if caller_hash is not None:
        raise Failure("--caller and --caller-hash say the same thing; give one", ExitCode.USAGE)
    return hashlib.sha256(caller.encode(errors="surrogateescape")).hexdigest()[:_CALLER_HASH_CHARS]


def _transcript(source: str | None) -> Sequence[Any]:
    if source is None:
        return ()
    try:
        turns = _plain(read_given("--transcript", Path(source), PAYLOAD_LIMIT_BYTES))
    except (ValueError, RecursionError) as error:
        raise Failure(f"--transcript {source}: not JSON: {error}", ExitCode.USAGE) from None
    if not isinstance(turns, list):
        raise Failure(f"--transcript {source}: not a JSON list of {{role, text, ts?}}", ExitCode.USAGE)
    return turns


def _field(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Failure(f"--field {text}: give NAME=JSON, such as --field urgent=true", ExitCode.USAGE)
    try:
        return name, _plain(value)
    except (ValueError, RecursionError):
        raise Failure(f"--field {name}: {value!r} is not JSON; text needs quotes: '\"…\"'", ExitCode.USAGE) from None


def _plain(text: str | bytes) -> Any:
    """Return what JSON says, of which every number and character is one. Raises ValueError, RecursionError."""
    value = json.loads(text)
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


def _extra(texts: Sequence[str]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in map(_field, texts):
        if name in fields:
            raise Failure(f"--field {name}: given twice; keep one", ExitCode.USAGE)
        fields[name] = value
    return fields


def _text(option: str, given: str) -> str:
    try:
        given.encode()
    except UnicodeEncodeError:  # how Python holds a byte of the command line that is no text
        raise Failure(f"{option}: it is not UTF-8; give text", ExitCode.USAGE) from None
    return given


def _exit_code(end: End | None) -> ExitCode:
    if end is None:
        return ExitCode.TRY_AGAIN
    return ExitCode.OK if end.state == "completed" else ExitCode.FAILED


def _print(mailbox: Mailbox, written: Written, end: End | None, *, as_json: bool, waited: bool) -> None:
    state = end.state if end else _standing(mailbox, written)
    if as_json:
        print(json.dumps(_fields(written, end, state)))
        return
    print(f"{written.envelope.handoff_id}  {written.path}")
    if end is not None:
        print(printable(f"{end.state}  {end.path}  {end.words}".rstrip()))
    elif waited:
        print(f"no outcome yet: {state}; `handoffd show {written.envelope.handoff_id}` tells more", file=sys.stderr)


def _fields(written: Written, end: End | None, state: str) -> dict[str, object]:
    envelope = written.envelope
    fields: dict[str, object] = {
        "handoff_id": envelope.handoff_id,
        "tid": envelope.tid,
        "from": envelope.sender,
        "to": envelope.to,
        "file": written.path.name,
        "expires_at": envelope.expires_text,
        "state": state,
    }
    return fields | ({"detail": end.words, "path": str(end.path)} if end else {})


def _standing(mailbox: Mailbox, written: Written) -> str:
    """Return where the file is now, in words for a person: nobody else may have moved it yet."""
    if written.path.exists():
        return "written"
    return "claimed" if (mailbox.places.claimed / written.path.name).exists() else "taken"
