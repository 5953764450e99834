"""The meters of a running daemon: states reached, ends by reason, odd events, and how long steps and flushes took.

It owns plain numbers, so that a custody edge costs a few additions and no lock, no label and no text. The rule that
must stay true: each number has one writer (the custody thread counts handoffs and flushes, the event loop the link's
and the configuration's events, and the hooks'; of two `parked` at the same moment one may not be counted), every key
exists from the start, and readers take what they find.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

from handoffd.protocol.name import CANARY_AGENT
from handoffd.protocol.reason import Reason, State
from handoffd.status.latency import FLUSH_BOUNDS_S, History, Spread, Step

ROLES: Final = ("sender", "receiver", "local")
ODD_EVENTS: Final = (
    *("broken", "parked", "quarantined", "unroutable", "left_alone", "stale_claim", "in_doubt", "artefact_missing"),
    *("clock_jumped", "link_up", "link_down", "link_conflict", "news_stopped", "config_reloaded", "config_refused"),
    *("hooked", "hook_failed"),
)
"""Words of the journal (docs/journal.md) that are counted besides the states."""
FLUSHES: Final = ("files", "directories", "filesystem")
"""What is flushed: a group of new files, written and flushed; a group of directories; everything at once."""
TIMED_LIMIT: Final = 40_000
"""Handoffs timed at once in one role; beyond it the oldest are not timed, which no meter is worth the memory for."""

Value = TypeVar("Value")
_STATES = {state.value: state for state in State}
_REASONS: dict[object, Reason] = {reason.value: reason for reason in Reason}
_NEVER: Final = (None, 0.0)
_NEXT: dict[tuple[State | None, State], Step] = {
    (State.STORED, State.PUBLISHED): Step.STORED_TO_PUBLISHED,
    (State.PUBLISHED, State.CLAIMED): Step.PUBLISHED_TO_CLAIMED,
}
_WORKED = frozenset({Reason.COMPLETED, Reason.REJECTED_BY_AGENT})


class Meters:
    """All of them. `edge` is for whoever writes the journal, `flushed` for whoever flushes; the rest is for reading."""

    def __init__(self) -> None:
        self._reached: dict[object, dict[State, int]] = {role: dict.fromkeys(State, 0) for role in ROLES}
        self._ended: dict[object, dict[Reason, int]] = {role: dict.fromkeys(Reason, 0) for role in ROLES}
        self.events = dict.fromkeys(ODD_EVENTS, 0)
        self.steps = {step: Spread() for step in Step}
        self.flushes = {what: Spread(FLUSH_BOUNDS_S) for what in FLUSHES}
        self.history = History()
        self._taken: dict[object, float] = {}
        self._unanswered: dict[object, float] = {}
        self._here: dict[object, tuple[State, float]] = {}

    @property
    def states(self) -> dict[tuple[str, State], int]:
        """How many handoffs reached which state, by role."""
        return {(role, state): count for role in ROLES for state, count in self._reached[role].items()}

    @property
    def endings(self) -> dict[tuple[str, Reason], int]:
        """How many handoffs ended for which reason, by role."""
        return {(role, reason): count for role in ROLES for reason, count in self._ended[role].items()}

    def flushed(self, what: str, seconds: float) -> None:
        """Count one flush of a group."""
        self.flushes[what].add(seconds)

    def edge(self, event: str, fields: Mapping[str, object], now: float, passed_s: float) -> None:
        """Count an event of the journal; `now` is POSIX seconds, `passed_s` a clock that never jumps."""
        tid, role, state = fields.get("tid"), fields.get("role"), _STATES.get(event)
        if fields.get("to") == CANARY_AGENT:
            return  # nobody's handoff, and its times are told to whoever sent it
        if state is None:
            self._odd(event, tid, passed_s)
        elif (counts := self._reached.get(role)) is not None:
            counts[state] += 1
            reason = _REASONS.get(fields["reason"]) if "reason" in fields else None
            if reason is not None:
                self._ended[role][reason] += 1
                if reason is Reason.DUPLICATE:
                    return  # the end of a copy: its T goes on
            if role == "sender":
                self._time_sent(tid, state, reason, now, passed_s)
            elif role == "receiver":
                self._time_here(tid, state, reason, now, passed_s)

    def _odd(self, event: str, tid: object, passed_s: float) -> None:
        if event in self.events:
            self.events[event] += 1
        elif event == "started":
            _remember(self._taken, tid, passed_s)
            _remember(self._unanswered, tid, passed_s)

    def _time_sent(self, tid: object, state: State, reason: Reason | None, now: float, passed_s: float) -> None:
        unanswered = self._unanswered.pop(tid, None)
        if reason is not None:
            taken = self._taken.pop(tid, None)
            if taken is not None and reason in _WORKED:
                self._took(Step.TAKE_TO_HOME, passed_s - taken, now)
            return
        if unanswered is not None:
            self._took(Step.TAKE_TO_STORED, passed_s - unanswered, now)
        if state is State.CLAIMED and tid in self._taken:
            self._took(Step.TAKE_TO_CLAIMED, passed_s - self._taken[tid], now)

    def _time_here(self, tid: object, state: State, reason: Reason | None, now: float, passed_s: float) -> None:
        before, since_s = self._here.pop(tid, _NEVER)
        if reason is None:
            # A file that waits for room on the disk is noted as stored once more: the first time counts.
            _remember(self._here, tid, (state, since_s if before is state else passed_s))
            step = _NEXT.get((before, state))
        else:
            step = Step.CLAIMED_TO_FINAL if before is State.CLAIMED and reason in _WORKED else None
        if step is not None:
            self._took(step, passed_s - since_s, now)

    def _took(self, step: Step, seconds: float, now: float) -> None:
        self.steps[step].add(seconds)
        self.history.add(step, seconds, now)


def _remember(timed: dict[object, Value], tid: object, value: Value) -> None:
    timed[tid] = value
    if len(timed) > TIMED_LIMIT:
        del timed[next(iter(timed))]
