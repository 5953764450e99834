"""Counting the open handoffs of a host: by state, with the oldest, and by what is wrong with them.

It owns the count and the spans from which waiting becomes a concern. Where the handoffs are read, from the engine's
memory or from the directories, it does not know. The rule that must stay true: both ways of reading are counted by
the same rules.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from handoffd.custody.entry import DOUBT_AFTER_S
from handoffd.custody.household import SHARED
from handoffd.custody.opened import Open
from handoffd.custody.place import Role
from handoffd.protocol.reason import State
from handoffd.protocol.timing import STALE_CLAIM_S
from handoffd.status.model import Census, Tally

UNCLAIMED_S: Final = 30.0
"""A file that lies in handoff/ for less than this is nobody's fault: half of the usual lifetime of a minute."""
UNCLAIMED_SHARE: Final = 0.5
"""... and one that lives longer is waited for until half of its life is over."""

Key = TypeVar("Key")


@dataclass(slots=True)
class _Sum:
    count: int = 0
    since: float = 0.0
    tid: str | None = None

    def add(self, since: float, tid: str | None) -> None:
        if not self.count or since < self.since:
            self.since, self.tid = since, tid
        self.count += 1


@dataclass(slots=True)
class _Sums:
    states: dict[tuple[str, str], _Sum] = field(default_factory=dict)
    backlogs: dict[str, _Sum] = field(default_factory=dict)
    doubts: dict[str, _Sum] = field(default_factory=dict)
    shared: dict[str, _Sum] = field(default_factory=dict)
    unclaimed: dict[str, _Sum] = field(default_factory=dict)
    stuck: dict[str, _Sum] = field(default_factory=dict)

    def add_outward(self, one: Open, now: float, late_s: float) -> None:
        if (one.peer or "").startswith(SHARED):  # never leased, so never in doubt
            self.shared.setdefault(one.to or "", _Sum()).add(one.since, one.tid)
            return
        doubt_s = late_s - DOUBT_AFTER_S.get(one.state, float("inf"))
        if doubt_s > 0:
            self.doubts.setdefault(one.peer or "", _Sum()).add(now - doubt_s, one.tid)
        # What a relay says it has stored lies in its outbox/ as well: the next host has not got it.
        if one.state == (State.STORED if one.role is Role.RELAY else State.QUEUED):
            self.backlogs.setdefault(one.peer or "", _Sum()).add(one.since, one.tid)

    def add_received(self, one: Open, now: float, late_s: float) -> None:
        if one.state == State.PUBLISHED and _lies_long(one, now):
            self.unclaimed.setdefault(one.to or "", _Sum()).add(one.since, one.tid)
        if one.state == State.CLAIMED and late_s > STALE_CLAIM_S:
            self.stuck.setdefault(one.to or "", _Sum()).add(now - late_s, one.tid)


def take(handoffs: Iterable[Open], now: float) -> Census:
    """Count them; `now` is POSIX seconds."""
    sums = _Sums()
    for one in handoffs:
        sums.states.setdefault((one.role.value, one.state), _Sum()).add(one.since, one.tid)
        late_s = now - (one.expires_at or now)
        if one.role in (Role.SENDER, Role.RELAY):
            sums.add_outward(one, now, late_s)
        elif one.role is Role.RECEIVER:
            sums.add_received(one, now, late_s)
    return Census(
        _tallies(sums.states, now),
        _tallies(sums.backlogs, now),
        _tallies(sums.doubts, now),
        _tallies(sums.shared, now),
        _tallies(sums.unclaimed, now),
        _tallies(sums.stuck, now),
    )


def _lies_long(one: Open, now: float) -> bool:
    life_s = (one.expires_at or one.since) - one.since
    return now - one.since > max(UNCLAIMED_S, UNCLAIMED_SHARE * life_s)


def _tallies(sums: Mapping[Key, _Sum], now: float) -> dict[Key, Tally]:
    return {key: Tally(one.count, max(0.0, now - one.since), one.tid) for key, one in sums.items()}
