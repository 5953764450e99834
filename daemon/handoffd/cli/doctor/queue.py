"""Handoffs that stand still: unread, claimed and never finished, or without a word from the peer.

It reads the directories as `handoffd ls` does, and counts and judges by the rules of `handoffd status`; what it adds
are the handoffs between two agents of this host, and those that expired unread. The rule that must stay true: nothing
is called stuck before its own time says so.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from handoffd.cli.doctor.finding import Finding, failure, fine, warning
from handoffd.cli.doctor.patient import Patient
from handoffd.custody.entry import Entry
from handoffd.custody.layout import CLAIMED, RELAY
from handoffd.custody.opened import Open, on_disk
from handoffd.custody.place import Role
from handoffd.custody.reading import Reading, read_file
from handoffd.protocol.name import CANARY_AGENT, is_file_name
from handoffd.protocol.payload import route, transfer_id
from handoffd.protocol.reason import Delivered, Reason, State
from handoffd.protocol.timing import HOUR_S
from handoffd.status import census
from handoffd.status.concern import handoff_concerns

OPEN_LIMIT = 5_000
ENDED_LIMIT = 300
CLAIMED_LIMIT = 2_000
"""Files that are read; with more of them than this something is told of the first ones anyway."""
LEFT_ALONE_S = 60.0
"""A daemon takes what is its own within a scan, and looks again for 2 s at what does not parse."""


def queues(patient: Patient) -> Iterator[Finding]:
    """Look at what is open and at what ended last."""
    root = patient.root
    if root is None or not (root / RELAY / "outcome").is_dir():
        return
    reading = Reading(root)
    entries = list(_open(reading))
    opened = [*on_disk(entries), *_local(entries, patient), *_local_claims(root, entries)]
    found = [
        failure(one.word, f"{one.peer}: {one.detail}" if one.peer else one.detail, one.remedy)
        for one in handoff_concerns(census.take(opened, patient.now_s), {})
    ]
    found += _expired_unread(reading, patient)
    found += _left_alone(entries, patient)
    yield from found
    if not found:
        yield fine("handoffs", f"{len(opened)} open, none stands still")


def _open(reading: Reading) -> Iterator[Entry]:
    standings = reading.oldest_first(one for one in reading.standings() if not one.ended)
    for standing in islice(standings, OPEN_LIMIT):
        entry = reading.entry(standing)
        if entry is not None:
            yield entry


def _local(entries: list[Entry], patient: Patient) -> Iterator[Open]:
    """Return what waits between two agents of this host as if it had been published here."""
    for one in entries:
        if one.role is Role.LOCAL and one.to in patient.agents:
            yield Open(Role.RECEIVER, State.PUBLISHED, one.tid, None, one.to, one.since, one.expires_at)


def _left_alone(entries: list[Entry], patient: Patient) -> Iterator[Finding]:
    """What a running daemon has not taken by now it will not take, or cannot."""
    left = [
        one
        for one in entries
        if one.role is Role.LOCAL and one.to not in patient.agents and patient.now_s - one.since > LEFT_ALONE_S
    ]
    if left and patient.runs:
        message = f"{len(left)} in handoff/ that the daemon does not take, the oldest {Path(left[0].file or '').name}"
        why = "`handoffd events --limit 0` says why (`left_alone`, `unroutable`), then correct its writer or the clock"
        remedy = f"{why}; where it says nothing, the disk takes no more: make room, and it goes by itself"
        yield warning("left_alone", message, remedy)


def _local_claims(root: Path, entries: list[Entry]) -> Iterator[Open]:
    """Return claims between two agents of this host: custody knows nothing of them."""
    held = {Path(seen.path).name for entry in entries for seen in entry.sightings}
    with suppress(OSError):
        for name in islice(sorted(os.listdir(root / CLAIMED)), CLAIMED_LIMIT):
            read = read_file(root / CLAIMED / name) if is_file_name(name) and name not in held else None
            way = route(read[0]) if read else None
            if read is not None and way is not None:
                since, tid = read[1].st_mtime, transfer_id(read[0])
                yield Open(Role.RECEIVER, State.CLAIMED, tid, None, way.to, since, way.expires_at)


def _expired_unread(reading: Reading, patient: Patient) -> Iterator[Finding]:
    """What expired unread is gone from handoff/; told for an hour if nothing has been read since."""
    unread: Counter[str] = Counter()
    read: set[str] = set()
    for tid in reading.newest_outcomes()[:ENDED_LIMIT]:
        entry = reading.ended(tid)
        if entry is None or patient.now_s - entry.since > HOUR_S:
            break
        record, agent = entry.record, entry.to
        if record is None or agent is None or agent == CANARY_AGENT or entry.role is not Role.RECEIVER:
            continue
        if record.delivered is Delivered.CLAIMED:
            read.add(agent)
        elif record.reason is Reason.EXPIRED and "published" in record.edges and agent not in read:
            unread[agent] += 1
    for agent, number in unread.items():
        message = f"{number} for {agent} expired unread within the last hour, and none was read since"
        yield failure("unclaimed", message, f"start {agent}, and see that it looks into {patient.root}/handoff")
