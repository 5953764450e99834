"""Names found under a root, read back into what they stand for.

It owns the way from a directory's listing to a place, a T and a peer; what a place means stands in place.py. The
rule that must stay true: a name we would not write is not ours, so it is never taken for a handoff.
"""

from collections.abc import Callable
from dataclasses import dataclass

from handoffd.custody.layout import HANDOFF, INBOX, OUTBOX, OUTCOME, SENT, inbox, outbox, sent
from handoffd.custody.place import Place
from handoffd.protocol.name import (
    ROUTED,
    AgentName,
    BadName,
    FileName,
    TransferId,
    is_file_name,
    is_transfer_id,
    parse_accepted,
    parse_outbox,
    parse_taking,
    tid_of_published,
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One name that was seen. `path` is relative to the root; `name` is X or N; `agent` won an accept."""

    place: Place
    path: str
    tid: TransferId | None = None
    peer: str | None = None
    name: FileName | None = None
    agent: AgentName | None = None


def in_handoff(name: str) -> Sighting | None:
    """Tell what a name in handoff/ is; None: not one that can be carried."""
    tid = tid_of_published(name)
    if tid is None and not is_file_name(name):
        return None
    return Sighting(Place.PUBLISHED if tid else Place.UNTAKEN, f"{HANDOFF}/{name}", tid, None, FileName(name))


def in_outbox(peer: str, name: str) -> Sighting | None:
    """Tell what a name in relay/outbox/<peer>/ is."""
    path = f"{outbox(peer)}/{name}"
    taken = parse_taking(name)
    if taken is not None:
        return Sighting(Place.TAKING, path, None, peer, taken)
    return _carried(Place.OUTBOX, path, peer, name)


def in_sent(peer: str, name: str) -> Sighting | None:
    """Tell what a name in relay/sent/<peer>/ is."""
    return _carried(Place.SENT, f"{sent(peer)}/{name}", peer, name)


def _carried(place: Place, path: str, peer: str, name: str) -> Sighting | None:
    try:
        tid, file = parse_outbox(name)
    except BadName:
        return None
    return Sighting(place, path, tid, peer, file)


_INBOX_ENDINGS = {"": Place.RECEIPT, ROUTED: Place.ROUTED, ".new": Place.ARRIVED, ".pulled": Place.PULLED}


def in_inbox(peer: str, name: str) -> Sighting | None:
    """Tell what a name in relay/inbox/<peer>/ is."""
    path = f"{inbox(peer)}/{name}"
    accepted = parse_accepted(name)
    if accepted is not None:
        published, agent, _ = accepted
        return Sighting(Place.ACCEPTED, path, tid_of_published(published), peer, published, agent)
    stem, dot, ending = name.partition(".json")
    place, tid = _INBOX_ENDINGS.get(ending), tid_of_published(stem + dot)
    return Sighting(place, path, tid, peer, FileName(stem + dot)) if place and tid else None


_OUTCOME_ENDINGS = {".json": Place.OUTCOME, ".payload": Place.PASSED_PAYLOAD, ".artefact": Place.PASSED_ARTEFACT}


def in_outcome(name: str) -> Sighting | None:
    """Tell what a name in relay/outcome/ is."""
    stem, dot, ending = name.partition(".")
    place = _OUTCOME_ENDINGS.get(dot + ending)
    return Sighting(place, f"{OUTCOME}/{name}", TransferId(stem)) if place and is_transfer_id(stem) else None


BY_PEER: dict[str, Callable[[str, str], Sighting | None]] = {INBOX: in_inbox, OUTBOX: in_outbox, SENT: in_sent}
"""What reads the names below each directory that holds one directory for each peer."""
