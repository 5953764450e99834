"""One handoff's life on both hosts as one list of steps, in this host's time.

It owns merging the journal's lines with the times a record gives, and the correction by the clocks' offsets. It reads
no file but the journal. The rule that must stay true: a time of another clock is never shown as ours without saying by
how much it was corrected, or that it was not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handoffd.custody.entry import Entry
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.reason import RANK, State
from handoffd.view.chronicle import Chronicle, Line, about

_NO_NEWS = frozenset(
    {"at", "event", "host", "tid", "handoff_id", "from", "to", "peer_at", "timed_by", "clock_offset_ms", "role"}
)
THIS_HOST = "this host"


@dataclass(frozen=True, slots=True)
class Offset:
    """How far another host's clock is ahead of ours (ms), and when that was measured (POSIX seconds)."""

    host: str
    ms: int
    measured_at: float


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened at `host`. `at`: POSIX seconds by our clock, unless `as_told` by the other's.

    `known_at`: when this host wrote that it knew, if it happened elsewhere.
    """

    at: float
    host: str
    event: str
    source: str
    as_told: bool = False
    known_at: float | None = None
    words: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """All steps in order of time; `entry` is None if only the journal still knows of it.

    `offsets` are those of the clocks that were measured, in the order in which their hosts come into the story.
    """

    tid: str
    host: str
    entry: Entry | None
    offsets: tuple[Offset, ...]
    steps: tuple[Step, ...]
    has_lines: bool
    names: Mapping[str, Any]

    @property
    def has_untold_offset(self) -> bool:
        """Whether some times are by another clock, nobody knows how far from ours."""
        return any(step.as_told for step in self.steps)


def story_of(journal: Path, host: str | None, entry: Entry | None, ident: str) -> Story:
    """Return the story of what the files call `entry`, else of what the journal calls `ident`."""
    by_name = about(entry.handoff_id or entry.tid) if entry else about(ident)
    by_tid = about(entry.tid) if entry else by_name
    names = {ident, *((entry.tid, entry.handoff_id or entry.tid) if entry else ())}
    lines = [line for line in Chronicle(journal).mentioning(names) if by_name(line) or by_tid(line)]
    tid = entry.tid if entry else next((str(line["tid"]) for line in reversed(lines) if "tid" in line), "")
    # What two agents of this host have between them is noted before its bytes are hashed.
    return story(tid, host, entry, [line for line in lines if line.get("tid", tid) == tid])


def story(tid: str, host: str | None, entry: Entry | None, lines: Sequence[Line]) -> Story:
    """Return the story of one handoff from its journal lines (oldest first) and what the files say."""
    here = host or _here(entry, lines)
    offsets = _offsets(here, entry, lines)
    elsewhere = _times_elsewhere(here, entry, lines)
    steps = [*_from_lines(here, lines, elsewhere, offsets), *_from_record(here, entry, lines, elsewhere, offsets)]
    return Story(
        tid, here, entry, tuple(offsets.values()), tuple(sorted(steps, key=_order)), bool(lines), _names(lines)
    )


def _here(entry: Entry | None, lines: Sequence[Line]) -> str:
    record = entry.record if entry else None
    if record is not None and record.by != record.peer and record.clock_offset_ms is None:
        return record.by
    return next((str(line["host"]) for line in lines if "host" in line), THIS_HOST)


def _names(lines: Sequence[Line]) -> dict[str, Any]:
    """Return what the lines call the handoff, its ends, and the last state they tell."""
    known: dict[str, Any] = {
        key: line[key] for line in lines for key in ("handoff_id", "from", "to", "role", "reason") if key in line
    }
    states = [line["event"] for line in lines if line["event"] in set(State)]
    return {**known, "state": states[-1] if states else None}


def _order(step: Step) -> tuple[float, int]:
    # Of one millisecond, the lower state first.
    return round(step.at, 3), RANK[State(step.event)] if step.event in set(State) else -1


def _offsets(here: str, entry: Entry | None, lines: Sequence[Line]) -> dict[str, Offset]:
    found: dict[str, Offset] = {}
    record = entry.record if entry else None
    if entry and record:
        for host in dict.fromkeys((*record.edges_by.values(), record.by)):
            ahead_ms = record.ahead_ms(host)
            if ahead_ms is not None and host != here:
                found[host] = Offset(host, ahead_ms, entry.since)
    for line in reversed(lines):
        timed_by, ahead_ms, at = _timed_by(line), line.get("clock_offset_ms"), _seconds(line["at"])
        if isinstance(ahead_ms, int) and timed_by is not None and timed_by not in found and at is not None:
            found[timed_by] = Offset(timed_by, ahead_ms, at)
    return found


def _timed_by(line: Line) -> str | None:
    """Return the host by whose clock a line's `peer_at` is: the peer that told, unless it told of another one."""
    host = line.get("timed_by") or line.get("peer")
    return host if isinstance(host, str) else None


def _times_elsewhere(here: str, entry: Entry | None, lines: Sequence[Line]) -> dict[str, tuple[str, float]]:
    """Return (host, POSIX seconds by its clock) of each state that was reached at another host."""
    record = entry.record if entry else None
    told = {state: (record.timed_by(state), at) for state, at in record.edges.items()} if record else {}
    told = {state: (host, at) for state, (host, at) in told.items() if host != here}
    told |= {_state(line): (_timed_by(line) or "?", str(line["peer_at"])) for line in lines if "peer_at" in line}
    parsed = {state: (host, _seconds(text)) for state, (host, text) in told.items()}
    return {state: (host, at) for state, (host, at) in parsed.items() if at is not None}


def _edges(entry: Entry | None) -> Mapping[str, str]:
    return entry.record.edges if entry and entry.record else {}


def _from_lines(
    here: str, lines: Sequence[Line], elsewhere: Mapping[str, tuple[str, float]], offsets: Mapping[str, Offset]
) -> Iterator[Step]:
    for line in lines:
        at = _seconds(line["at"])
        if at is None:
            continue
        words = {key: value for key, value in line.items() if key not in _NO_NEWS and value != line["event"]}
        happened = elsewhere.get(_state(line))
        if happened is None:
            yield Step(at, str(line.get("host", here)), str(line["event"]), "journal", words=words)
        else:
            yield _step_elsewhere(line["event"], *happened, offsets, source="journal", known_at=at, words=words)


def _from_record(
    here: str,
    entry: Entry | None,
    lines: Sequence[Line],
    elsewhere: Mapping[str, tuple[str, float]],
    offsets: Mapping[str, Offset],
) -> Iterator[Step]:
    in_lines = {_state(line) for line in lines}
    for state, text in _edges(entry).items():
        if state in in_lines:
            continue
        at = _seconds(text)
        if state in elsewhere:
            yield _step_elsewhere(state, *elsewhere[state], offsets, source="outcome")
        elif at is not None:
            yield Step(at, here, state, "outcome")


def _step_elsewhere(event: str, host: str, at: float, offsets: Mapping[str, Offset], **more: Any) -> Step:
    if host not in offsets:
        return Step(at, host, event, as_told=True, **more)
    return Step(at - offsets[host].ms / 1000, host, event, **more)


def _state(line: Line) -> str:
    return str(line.get("state") or line["event"])


def _seconds(text: object) -> float | None:
    try:
        return parse_moment(str(text))
    except ValueError:
        return None
