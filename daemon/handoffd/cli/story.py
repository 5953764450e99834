"""One handoff's life on both hosts as one list of steps, in this host's time.

It owns merging the journal's lines with the times a peer's record gives, and the correction by the clocks' offset. It
reads no file. The rule that must stay true: a time of the peer's clock is never shown as ours without saying by how
much it was corrected, or that it was not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handoffd.cli.chronicle import Line
from handoffd.custody.entry import Entry
from handoffd.custody.place import Role
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.reason import RANK, State
from handoffd.protocol.record import Record

_NO_NEWS = frozenset({"at", "event", "host", "tid", "handoff_id", "from", "to", "peer_at", "clock_offset_ms", "role"})
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
    """All steps in order of time; `entry` is None if only the journal still knows of it."""

    tid: str
    host: str
    entry: Entry | None
    offset: Offset | None
    steps: tuple[Step, ...]
    has_lines: bool
    names: Mapping[str, Any]

    @property
    def has_untold_offset(self) -> bool:
        """Whether some times are by another clock, nobody knows how far from ours."""
        return any(step.as_told for step in self.steps)


def story(tid: str, host: str | None, entry: Entry | None, lines: Sequence[Line]) -> Story:
    """Return the story of one handoff from its journal lines (oldest first) and what the files say."""
    here = host or _here(entry, lines)
    offset = _offset(entry, lines)
    elsewhere = _times_elsewhere(entry, lines)
    steps = [*_from_lines(here, lines, elsewhere, offset), *_from_record(here, entry, lines, elsewhere, offset)]
    return Story(tid, here, entry, offset, tuple(sorted(steps, key=_order)), bool(lines), _names(lines))


def _here(entry: Entry | None, lines: Sequence[Line]) -> str:
    record = entry.record if entry else None
    if record is not None and not _is_told_by_peer(record):
        return record.by
    return next((str(line["host"]) for line in lines if "host" in line), THIS_HOST)


def _is_told_by_peer(record: Record) -> bool:
    return record.peer is not None and record.by == record.peer


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


def _offset(entry: Entry | None, lines: Sequence[Line]) -> Offset | None:
    record = entry.record if entry else None
    if entry and record and record.clock_offset_ms is not None and _is_told_by_peer(record):
        return Offset(record.by, record.clock_offset_ms, entry.since)
    for line in reversed(lines):
        at = _seconds(line["at"])
        if isinstance(line.get("clock_offset_ms"), int) and isinstance(line.get("peer"), str) and at is not None:
            return Offset(line["peer"], line["clock_offset_ms"], at)
    return None


def _times_elsewhere(entry: Entry | None, lines: Sequence[Line]) -> dict[str, tuple[str, float]]:
    """Return (host, POSIX seconds by its clock) of each state that was reached at another host."""
    times = {state: at for state, at in _edges(entry).items() if _is_elsewhere(state, entry)}
    told = {state: (entry.peer if entry else None, at) for state, at in times.items()}
    told |= {_state(line): (line.get("peer"), str(line["peer_at"])) for line in lines if "peer_at" in line}
    parsed = {state: (host, _seconds(text)) for state, (host, text) in told.items()}
    return {state: (str(host or "?"), at) for state, (host, at) in parsed.items() if at is not None}


def _edges(entry: Entry | None) -> Mapping[str, str]:
    return entry.record.edges if entry and entry.record else {}


def _is_elsewhere(state: str, entry: Entry | None) -> bool:
    # A sender hears of every state but queued from its peer; only the end may be its own to write.
    record = entry.record if entry else None
    if record is None or entry is None or entry.role is not Role.SENDER:
        return False
    return _is_told_by_peer(record) if state == record.state else state != State.QUEUED


def _from_lines(
    here: str, lines: Sequence[Line], elsewhere: Mapping[str, tuple[str, float]], offset: Offset | None
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
            yield _step_elsewhere(line["event"], *happened, offset, source="journal", known_at=at, words=words)


def _from_record(
    here: str,
    entry: Entry | None,
    lines: Sequence[Line],
    elsewhere: Mapping[str, tuple[str, float]],
    offset: Offset | None,
) -> Iterator[Step]:
    in_lines = {_state(line) for line in lines}
    for state, text in _edges(entry).items():
        if state in in_lines:
            continue
        at = _seconds(text)
        if state in elsewhere:
            yield _step_elsewhere(state, *elsewhere[state], offset, source="outcome")
        elif at is not None:
            yield Step(at, here, state, "outcome")


def _step_elsewhere(event: str, host: str, at: float, offset: Offset | None, **more: Any) -> Step:
    if offset is None or offset.host != host:
        return Step(at, host, event, as_told=True, **more)
    return Step(at - offset.ms / 1000, host, event, **more)


def _state(line: Line) -> str:
    return str(line.get("state") or line["event"])


def _seconds(text: object) -> float | None:
    try:
        return parse_moment(str(text))
    except ValueError:
        return None
