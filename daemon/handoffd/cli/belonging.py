"""What of this host's files belongs to one peer and goes with it, by what the configuration says.

It reads and removes nothing. The rule that must stay true: a file that lies outside of the configuration's directory is
not the peer's. That nobody else is known by the same file, the configuration sees to: two parties never share a secret.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handoffd.cli.failure import ExitCode, Failure
from handoffd.config import Config, ConfigError, Document, peer_files, read_document

NOBODY = "peers: {}\n"
"""A file of peers.d/ that names none."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """A peer's `stanza`, and the `files` it names; `left` are those that lie elsewhere and stay."""

    stanza: Path
    files: tuple[Path, ...]
    left: tuple[Path, ...]


def belongings(config: Config, peer: str) -> Belongings:
    """Return what goes with this peer. Raises Failure: it is no peer, or not in a file of its own."""
    if peer not in config.peers:
        known = ", ".join(config.peers) or "none"
        raise Failure(f"{peer} is no peer of this host; its peers: {known}", ExitCode.USAGE)
    places = peer_files(config.path)
    stanza = places[peer]
    if stanza == config.path:
        raise Failure(f"{peer} is configured by hand in {stanza}; take it out there, then reload")
    others = sorted(name for name, file in places.items() if file == stanza and name != peer)
    if others:
        raise Failure(f"{stanza} configures {', '.join(others)} too; take {peer} out there, then reload")
    try:
        read_document(config.path, {stanza: NOBODY})
    except ConfigError as error:
        raise Failure(f"without {peer} the configuration would be refused: {error}") from None
    document, base = read_document(config.path), config.path.parent
    named = [base / name for name in _named(document, peer)]
    own = [file for file in named if file.parent.resolve().is_relative_to(base.resolve())]
    return Belongings(stanza, tuple(own), tuple(file for file in named if file not in own))


def check_removable(found: Belongings) -> None:
    """Tell early that this user cannot take them away. Raises Failure."""
    for file in (found.stanza, *found.files):
        try:
            file.parent.stat()
        except FileNotFoundError:
            continue  # and so is the file
        if not os.access(file.parent, os.W_OK | os.X_OK):
            remedy = f"run this as the one it belongs to (ls -ld {file.parent}); nothing was changed"
            raise Failure(f"{file} cannot be removed by this user; {remedy}", ExitCode.PERMISSION)


def _named(document: Document, peer: str) -> Iterator[str]:
    stanza = document.peers[peer]
    yield from (name for name in (stanza.token, stanza.accepts, stanza.certificate) if name)
