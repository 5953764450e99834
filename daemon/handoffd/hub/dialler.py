"""Diallers: the peers that dial in, as the hub remembers them from call to call, in memory only.

It owns which challenge each has to repeat, how far its clock is from ours, and whether it is here. It knows no handoff.
The rule that must stay true: a challenge is used once, and there is one for each peer, so that an old hello changes
nothing.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from handoffd.protocol.moment import format_moment, parse_moment
from handoffd.protocol.offset import ClockOffset
from handoffd.protocol.timing import REQUEST_TOTAL_S, STATES_WAIT_S

ECHO_LIMIT = 200
AWAY_S = STATES_WAIT_S + REQUEST_TOTAL_S
"""A peer that dials in and is unheard for so long is away: its polls follow one another."""


@dataclass(slots=True)
class Dialler:
    """One peer that dials in. `heard_at` is the event loop's time, `heard_s` and `since_s` are POSIX seconds.

    `answered`: the time that stood in our last answer to its hello, and CLOCK_MONOTONIC then.
    """

    challenge: str = ""
    epoch: str = ""
    version: str = ""
    heard_at: float | None = None
    heard_s: float | None = None
    since_s: float | None = None
    here: bool = False
    watch: asyncio.TimerHandle | None = None
    answered: tuple[str, float] | None = None
    shared: tuple[str, ...] = ()
    """Agents that it calls local as this host does: until that is mended it begins no session."""
    offset: ClockOffset = field(default_factory=ClockOffset)


class Diallers:
    """Who dials in. `turned` is called with a peer's name when it has come, or has not been heard for AWAY_S."""

    def __init__(self, clock: Callable[[], float], turned: Callable[[str, bool], None]) -> None:
        self._clock, self._turned = clock, turned
        self._known: dict[str, Dialler] = {}

    def challenge(self, peer: str) -> str:
        """Return a new challenge; it replaces the one before."""
        dialler = self._known.setdefault(peer, Dialler())
        dialler.challenge = secrets.token_hex(16)
        return dialler.challenge

    def takes(self, peer: str, proof: str | None) -> bool:
        """Tell whether this is the challenge to be repeated, and use it up."""
        dialler = self._known.get(peer)
        if dialler is None or not dialler.challenge or not proof or dialler.challenge != proof:
            return False
        dialler.challenge = ""
        return True

    def welcome(self, peer: str, epoch: str, version: str) -> None:
        """Note a hello that was accepted."""
        dialler = self._known.setdefault(peer, Dialler())
        dialler.epoch, dialler.version, dialler.shared = epoch, version, ()
        self.hear(peer)
        if not dialler.here:
            dialler.here, dialler.since_s = True, self._clock()
            self._turned(peer, True)

    def dispute(self, peer: str, shared: tuple[str, ...]) -> bool:
        """Note agents that the peer calls local as this host does; tell whether that is news."""
        dialler = self._known.setdefault(peer, Dialler())
        before, dialler.shared = dialler.shared, shared
        return before != shared

    def hear(self, peer: str) -> None:
        """Note that the peer has just called."""
        loop, dialler = asyncio.get_running_loop(), self._known.setdefault(peer, Dialler())
        dialler.heard_at, dialler.heard_s = loop.time(), self._clock()
        if dialler.watch is None:
            dialler.watch = loop.call_later(AWAY_S, self._look_after, peer)

    def answered(self, peer: str, time: str) -> None:
        """Note that a hello is answered now with this time: the next one may tell when that came."""
        self._known.setdefault(peer, Dialler()).answered = (time, monotonic())

    def measure(self, peer: str, echo: str | None) -> None:
        """Take what a hello tells of the peer's clock: the time we answered last, its own when that came, its own now.

        What is not that, or tells of another answer (an operator's `doctor` said hello between), is no sample.
        """
        dialler = self._known.get(peer)
        if dialler is None or dialler.answered is None or echo is None or len(echo) > ECHO_LIMIT:
            return
        # Not the loop's time: that is of the round's beginning, and both clocks have to be of one moment.
        heard_s, heard_at = self._clock(), monotonic()
        (told, answered_at), dialler.answered = dialler.answered, None
        try:
            named, came, left = echo.split(" ")
            came_s, left_s = parse_moment(came), parse_moment(left)
        except ValueError:
            return
        if named == told:
            dialler.offset.note_echo(came_s, left_s, heard_s, heard_at - answered_at)

    def offset_ms(self, peer: str) -> int | None:
        """Return the peer's clock minus ours in milliseconds, or None before it was measured."""
        dialler = self._known.get(peer)
        return None if dialler is None else dialler.offset.offset_ms()

    def _look_after(self, peer: str) -> None:
        loop, dialler = asyncio.get_running_loop(), self._known[peer]
        left_s = (dialler.heard_at or 0.0) + AWAY_S - loop.time()
        dialler.watch = loop.call_later(left_s, self._look_after, peer) if left_s > 0 else None
        if dialler.watch is None and dialler.here:
            dialler.here, dialler.since_s = False, self._clock()
            self._turned(peer, False)

    def forget(self, peer: str) -> None:
        """Drop a peer that is configured no more, or is called from here now."""
        dialler = self._known.pop(peer, None)
        if dialler is not None and dialler.watch is not None:
            dialler.watch.cancel()

    def status(self, peer: str) -> Mapping[str, object]:
        """Return the state of a peer's calls for a person, JSON types only."""
        dialler = self._known.get(peer, Dialler())
        unheard = {
            "word": "away",
            "detail": f"{peer} dials in, and does not now",
            "remedy": f"check the daemon of {peer}, its `url` of this host, and the network between",
        }
        return {
            "state": "refused" if dialler.shared else "up" if dialler.here else "down",
            "since": None if dialler.since_s is None else format_moment(dialler.since_s),
            "error": _conflict(dialler.shared) if dialler.shared else None if dialler.here else unheard,
            "epoch": dialler.epoch or None,
            "version": dialler.version or None,
            "last_success": None if dialler.heard_s is None else format_moment(dialler.heard_s),
            "clock_offset_ms": dialler.offset.offset_ms(),
            "clock_error_ms": dialler.offset.error_ms(),
            "round_trip_ms": dialler.offset.round_trip_ms(),
        }


def _conflict(shared: tuple[str, ...]) -> Mapping[str, str]:
    detail = f"both hosts call {', '.join(shared)} local"
    return {"word": "conflict", "detail": detail, "remedy": "remove them from `agents` on one host"}
