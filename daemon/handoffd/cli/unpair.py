"""`handoffd unpair`: end a pairing on this side, and tell both sides what is left to do.

It owns the order: what is open is looked at first, the stanza goes before the files it names, and the peer, which still
believes us, is told when this half is gone. The rule that must stay true: no handoff is touched; those that are open
end by the rules of custody, and nobody is left to think otherwise.
"""

import os
from collections import Counter
from pathlib import Path

import typer

from handoffd.cli.belonging import Belongings, belongings, check_removable
from handoffd.cli.bond import Bond
from handoffd.cli.failure import Failure
from handoffd.cli.root import CONFIG
from handoffd.cli.side import Side
from handoffd.config import load, locate
from handoffd.custody.place import Role
from handoffd.custody.reading import Reading
from handoffd.pairing.dial import NoAnswer, Turned, Unreached
from handoffd.pairing.store import Kept


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("unpair")(unpair)


def unpair(
    peer: str = typer.Argument(help="The peer to part from.", metavar="PEER"),
    force: bool = typer.Option(False, "--force", help="Even with handoffs open between the two."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    config: Path | None = CONFIG,
) -> None:
    """End the pairing with a host: its stanza, token and certificate are removed here, and it is told."""
    side = Side(load(locate(config, os.environ)))
    found = belongings(side.config, peer)
    check_removable(found)
    opened = _open(side, peer)
    if opened and not force:
        words = f"{_counted(opened)} with {peer} are open (handoffd ls --peer {peer})"
        remedy = "let them end, or end them with `handoffd reject` or `handoffd resolve` on their sender's host"
        raise Failure(f"{words}; {remedy}; or part now with --force: {_fate(opened, peer)}")
    if not yes and not typer.confirm(f"End the pairing with {peer} on this host?", err=True):
        raise Failure("nothing was changed")
    bond = Bond(side, peer)
    problems = _remove(side, found)
    told = _farewell(bond, by_daemon=problems == [])
    side.note("unpaired", peer, f"{_counted(opened)} were open" if opened else "nothing was open")
    print(f"{side.config.host} is no longer paired with {peer}")
    for file in found.left:
        print(f"{file} stays: it lies outside of {side.directory}")
    if opened:
        print(f"open were {_counted(opened)}: {_fate(opened, peer)}")
    print(f"on {peer}, which {told}: handoffd unpair {side.config.host}")
    if problems:
        raise Failure("\n".join(["but the daemon refuses its configuration and goes on with the old:", *problems]))


def _open(side: Side, peer: str) -> Counter[Role]:
    """Count what is open between the two, by our part in it."""
    reading = Reading(side.config.root)
    standings = [each for each in reading.standings() if not each.ended]
    meant = [each for each in standings if any(seen.peer == peer for seen in each.sightings)]
    return Counter(each.row.role or Role.LOCAL for each in meant)


def _counted(opened: Counter[Role]) -> str:
    names = {Role.SENDER: "sent there", Role.RECEIVER: "received from there"}
    return ", ".join(f"{number} {names.get(role, role.value)}" for role, number in sorted(opened.items()))


def _fate(opened: Counter[Role], peer: str) -> str:
    fates = []
    if opened[Role.SENDER]:
        fates.append(
            "what was sent there stays in custody; unsent it expires, sent it ends in doubt as outcome_unknown"
        )
    if opened[Role.RECEIVER]:
        fates.append(f"what came from there can still be claimed here, but {peer} will not hear of its end")
    return "; ".join(fates) or "they stay in custody and end at their time"


def _farewell(bond: Bond, *, by_daemon: bool) -> str:
    """Tell the peer, which still knows our token; return how that went.

    `by_daemon`: ours runs and has let go, so it tells a peer that dials in why its token is refused.
    """
    if not bond.url:
        return "dials in and is told when it calls next" if by_daemon else "dials in and could not be told"
    try:
        bond.ask("farewell", {})
    except (Unreached, NoAnswer, Turned) as error:
        return f"could not be told ({error})"
    return "was told"


def _remove(side: Side, found: Belongings) -> list[str] | None:
    """Take the files away and have the daemon let go; return why that was refused, None if none runs.

    Raises Failure: all is as it was.
    """
    try:
        side.store().put([Kept(file, None) for file in (found.stanza, *found.files)])
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}; nothing was changed") from None
    return side.reload()
