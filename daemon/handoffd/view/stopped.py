"""The status of a root whose daemon does not answer: what its directories prove, and nothing more.

It owns the reading; counting and judging are `status`'s. The rule that must stay true: what only a running daemon
knows (links, latencies, ends since the start) is left out, not guessed.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from handoffd import __version__
from handoffd.custody.layout import OUTBOX, RELAY, SENT
from handoffd.custody.opened import on_disk
from handoffd.custody.reading import Reading
from handoffd.status import census
from handoffd.status.concern import judged
from handoffd.status.model import UNSEEN, Disk, LinkStatus, Status


def stopped_status(
    root: Path,
    host: str | None,
    peers: Iterable[tuple[str, str | None]],
    now: float,
    silence: str | None = None,
    homes: Mapping[str, Sequence[str]] | None = None,
) -> Status:
    """Return it; `peers` are the configured ones with their URL, `now` is POSIX seconds. Raises PermissionError.

    `silence`: what came of asking a daemon that is there and does not answer. `homes`: the peers that each
    remote agent lives at.
    """
    reading, urls = Reading(root), dict(peers)
    entries = (reading.entry(standing) for standing in reading.standings())
    names = sorted({*urls, *_peers_of(root)})
    return judged(
        Status(
            host=host,
            root=str(root),
            version=__version__,
            epoch=_epoch(root),
            now=now,
            links=tuple(LinkStatus(name, UNSEEN, url=urls.get(name)) for name in names),
            census=census.take(on_disk(entries), now),
            disk=Disk.at(root),
            running=None,
            silence=silence,
            homes=homes or {},
        )
    )


def _peers_of(root: Path) -> set[str]:
    """Return the peers that directories were made for; `@agent` is no peer."""
    return {name for kind in (OUTBOX, SENT) for name in _names(root / kind) if not name.startswith("@")}


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _epoch(root: Path) -> str | None:
    try:
        return (root / RELAY / "epoch").read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
