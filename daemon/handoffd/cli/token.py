"""`handoffd token`: renew or take away what an agent or a peer is known by.

It owns the order of steps. The rules that must stay true: during a renewal the old token and the new one are both
accepted, so no request fails; a token that is taken away works no more when the command returns, if a daemon runs.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.bond import Bond
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.picture import print_json, print_steps
from handoffd.cli.root import CONFIG, JSON
from handoffd.cli.side import Side
from handoffd.config import Config, load, locate, read_document
from handoffd.pairing.dial import NoAnswer, Turned, Unreached
from handoffd.pairing.store import Kept
from handoffd.pairing.trust import digest_of_token, hashes_text, new_token

OVERLAP_S = 30.0
"""Requests that were under way with the old token have ended by then: the longest, a poll, hangs for 25 s."""
_NAME = typer.Argument(help="A peer, or an agent of this host with a token.", metavar="NAME")

Say = Callable[[str], None]
Told = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Renew or take away the token of a peer or an agent.")
    group.command("rotate")(rotate)
    group.command("revoke")(revoke)
    app.add_typer(group, name="token")


def rotate(
    name: str = _NAME,
    settle: bool = typer.Option(False, "--settle", help="Only end an earlier rotation: accept the new token alone."),
    overlap: float = typer.Option(OVERLAP_S, help="Seconds both tokens of a peer are accepted.", min=0, max=86_400),
    as_json: bool = JSON,
    config: Path | None = CONFIG,
) -> None:
    """Make a new token: the one this host presents to a peer, or the one an agent presents to this host.

    A peer is told, both tokens work for a while, then the new one alone. An agent must be given its new token by you:
    both work until `--settle`.
    """
    path, say = locate(config, os.environ), print_steps(as_json=as_json)
    with _alone(path, name, load(path)):
        side = Side(load(path))  # what was before this turn may be another's work by now
        side.check_writable()
        if name in side.config.peers:
            bond = Bond(side, name)
            told = _settle_peer(side, bond, say) if settle else _rotate_peer(side, bond, overlap, say)
        else:
            hashes = _hashes_of_agent(side, name)
            told = _settle_agent(side, name, hashes, say) if settle else _rotate_agent(side, name, hashes, say)
    if as_json:
        print_json(told)


@contextmanager
def _alone(path: Path, name: str, config: Config) -> Iterator[None]:
    """Hold the lock of who rotates: of two at once the second would end the first one's new token. Raises Failure."""
    stanza = Side(config).stanza(name)
    place = stanza if name in config.peers and stanza.exists() else path
    with place.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            words = f"another `handoffd token rotate` is under way for {name}; run this again when it has ended"
            raise Failure(words, ExitCode.TRY_AGAIN) from None
        yield


def revoke(name: str = _NAME, as_json: bool = JSON, config: Path | None = CONFIG) -> None:
    """Accept no token of this peer or agent any more; what it waits for ends at once."""
    side = Side(load(locate(config, os.environ)))
    if name in side.config.peers:
        hashes = Bond(side, name).hashes_file
        remedy = f"handoffd invite --replace {name}"
        if hashes is None:
            raise Failure(f"{name} presents no token to this host")
    else:
        hashes = _hashes_of_agent(side, name)
        remedy = f"handoffd token rotate {name}"
    # A digest whose token nobody has ever seen: the file stays one that says who is meant, and opens for nobody.
    nobody = hashes_text([digest_of_token(new_token())], f"revoked; to let {name} in again: {remedy}")
    running = _change(side, [Kept(hashes, nobody)])
    if hashes.read_bytes() != nobody:
        raise Failure(f"{hashes} was changed by another meanwhile; run this again: {name} may still be let in")
    side.note("token_revoked", name, f"no token of {name} is accepted any more")
    if as_json:
        print_json({"name": name, "revoked": True, "running": running})
        return
    when = "" if running else "; no daemon runs here, so this holds from its next start"
    print(f"no token of {name} is accepted any more{when}; to let it in again: {remedy}")


# --------------------------------------------------------------------------------------------- a peer's


def _rotate_peer(side: Side, bond: Bond, overlap_s: float, say: Say) -> Told:
    file = bond.token_file
    if not bond.url or file is None:
        raise Failure(f"{bond.name} dials in, so this host presents no token to it; rotate on {bond.name}")
    token = new_token()
    _tell(bond, {"sha256": digest_of_token(token)})
    _change(side, [Kept(file, f"{token}\n".encode(), is_secret=True)])
    say(f"{bond.name} accepts the new token beside the old one, and this host presents it")
    if overlap_s:
        say(f"waiting {overlap_s:g} s for requests under way; Ctrl-C leaves both accepted")
        _pause(bond, overlap_s)
    bond.token = token
    return _settle_peer(side, bond, say)


def _pause(bond: Bond, overlap_s: float) -> None:
    try:
        time.sleep(overlap_s)
    except KeyboardInterrupt:
        words = f"both tokens are accepted at {bond.name}; to end that: handoffd token rotate --settle {bond.name}"
        raise Failure(words, ExitCode.INTERRUPTED) from None


def _settle_peer(side: Side, bond: Bond, say: Say) -> Told:
    if not bond.url:
        raise Failure(f"{bond.name} dials in, so this host presents no token to it; rotate on {bond.name}")
    _tell(bond, {})
    side.note("token_rotated", bond.name, f"{bond.name} accepts the new token alone")
    say(f"{bond.name} accepts the new token alone")
    return {"name": bond.name, "settled": True, "token_file": bond.token_file and str(bond.token_file)}


def _tell(bond: Bond, fields: dict[str, object]) -> None:
    try:
        bond.ask("token", fields)
    except (Unreached, NoAnswer) as error:
        words = f"{bond.name} does not answer ({error}); the token in use stays; try again when its link is up"
        raise Failure(words, ExitCode.UNREACHABLE) from None
    except Turned as error:
        raise Failure(f"{bond.name} refuses: {error.detail}; the token in use stays") from None


# --------------------------------------------------------------------------------------------- an agent's


def _hashes_of_agent(side: Side, name: str) -> Path:
    files = read_document(side.config.path).agent_tokens
    if name not in files:
        known = ", ".join([*side.config.peers, *files]) or "none"
        words = f"{name} is neither a peer nor an agent with a token; there are: {known}"
        raise Failure(f"{words}; an agent's first token: handoffd init --agent {name}", ExitCode.USAGE)
    return side.directory / files[name]


def _secret_of(hashes: Path) -> Path:
    return hashes.with_suffix(".token")


def _present(name: str, side: Side, hashes: Path) -> str | None:
    """Return the digest of the token in the agent's file, if it is accepted."""
    try:
        digest = digest_of_token(_secret_of(hashes).read_text().strip())
    except FileNotFoundError:
        return None
    return digest if bytes.fromhex(digest) in side.config.agent_tokens[name] else None


def _rotate_agent(side: Side, name: str, hashes: Path, say: Say) -> Told:
    token = new_token()
    known = _present(name, side, hashes)
    present = [known] if known else sorted(each.hex() for each in side.config.agent_tokens[name])
    _change(side, [Kept(hashes, hashes_text([*present, digest_of_token(token)]))])
    _hand_out(side, Kept(_secret_of(hashes), f"{token}\n".encode(), is_secret=True, keeps_access=True))
    side.note("token_rotated", name, "two tokens are accepted until it is settled")
    say(f"the new token of {name} is in {_secret_of(hashes)}; the old one is accepted too")
    say(f"when {name} uses the new one: handoffd token rotate --settle {name}")
    return {"name": name, "settled": False, "token_file": str(_secret_of(hashes))}


def _hand_out(side: Side, secret: Kept) -> None:
    """Write an agent's token; the file stays whose it is, and open to whom it was."""
    try:
        side.store().put([secret])
    except OSError as error:
        words = f"{secret.path}: {error.strerror}; {secret.path.name} is as it was, and good"
        raise Failure(f"{words}; run this again as root, or as the one it belongs to") from None


def _settle_agent(side: Side, name: str, hashes: Path, say: Say) -> Told:
    present = _present(name, side, hashes)
    if present is None:
        raise Failure(f"{_secret_of(hashes)} holds no token that is accepted; nothing was changed; rotate first")
    _change(side, [Kept(hashes, hashes_text([present]))])
    side.note("token_rotated", name, "the new token alone is accepted")
    say(f"the token in {_secret_of(hashes)} alone is accepted of {name}")
    return {"name": name, "settled": True, "token_file": str(_secret_of(hashes))}


def _change(side: Side, files: list[Kept]) -> bool:
    """Write files and have them read; tell whether a daemon runs. Raises Failure; then all is as it was."""
    try:
        before = side.store().put(files)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}; nothing was changed") from None
    problems = side.reload()
    if problems:
        side.store().undo(before)
        raise Failure("\n".join(["the daemon refuses its configuration, so nothing was changed:", *problems]))
    return problems is not None
