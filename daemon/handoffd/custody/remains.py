"""What is left of one handoff in the directories agents use: its payload, its final artefact, the reason beside it.

It owns telling these from other handoffs' files, which may bear the same name or the same handoff_id. It scans names
of whole directories, so it is for a person's question about one handoff, never for the daemon.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from handoffd.custody.entry import Entry
from handoffd.custody.layout import ARCHIVE, CLAIMED, ORIGINAL, REASON, REJECTED
from handoffd.custody.reading import read_file
from handoffd.protocol.name import is_file_name, suffixed
from handoffd.protocol.payload import label
from handoffd.protocol.record import BadRecord, decode


class Remain(StrEnum):
    """What a file of the agents' directories is to a handoff."""

    PAYLOAD = "payload"
    ARTEFACT = "artefact"
    REASON = "reason"
    WORDS = "words"
    NAMESAKE = "namesake"


MEANS: dict[Remain, str] = {
    Remain.PAYLOAD: "the payload, byte for byte",
    Remain.ARTEFACT: "the final artefact",
    Remain.REASON: "why it was rejected",
    Remain.WORDS: "the rejecting agent's words",
    Remain.NAMESAKE: "same handoff_id, other bytes",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One such file; `path` is relative to the root."""

    path: str
    what: Remain


def remains(root: Path, entry: Entry) -> list[Found]:
    """Return the files in claimed/, archive/ and rejected/ that belong to this handoff."""
    found = []
    for directory in (CLAIMED, ARCHIVE, REJECTED):
        for name in _candidates(root / directory, entry):
            read = read_file(root / directory / name)
            what = None if read is None else _what(name, read[0], entry)
            if what is not None:
                found.append(Found(f"{directory}/{name}", what))
    return found


def _candidates(directory: Path, entry: Entry) -> list[str]:
    likely, short, by_id = _likely_names(entry), entry.tid[:12], f"-{entry.handoff_id or entry.tid}.json"

    def is_one(name: str) -> bool:
        stem = name.removesuffix(REASON).removesuffix(ORIGINAL)
        return stem in likely or stem.endswith(by_id) or short in name

    return sorted(filter(is_one, os.listdir(directory)))


def _likely_names(entry: Entry) -> set[str]:
    artefact = entry.record.artefact if entry.record else None
    plain = {name for name in (entry.file, artefact and artefact.name) if name and is_file_name(name)}
    return plain | {suffixed(name, entry.tid) for name in plain}


def _what(name: str, data: bytes, entry: Entry) -> Remain | None:
    if name.endswith(REASON):
        return _reason(data, entry, name)
    digest = sha256(data).hexdigest()
    if digest == entry.tid:
        return Remain.PAYLOAD
    artefact = entry.record.artefact if entry.record else None
    if artefact is not None and digest == artefact.sha256:
        return Remain.ARTEFACT
    handoff_id, _ = label(data)
    return Remain.NAMESAKE if handoff_id is not None and handoff_id == entry.handoff_id else None


def _reason(data: bytes, entry: Entry, name: str) -> Remain | None:
    try:
        return Remain.REASON if decode(data).tid == entry.tid else None
    except BadRecord:
        # An agent's own words beside a published name, which carries T; any other text could be anybody's.
        return Remain.WORDS if entry.tid in name else None
