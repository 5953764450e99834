"""Which points a scene has, and what came of them.

A point is one mutating call of one process of the struck host. What is played there:

- `kill`: the process is killed on entering the call; once for every point.
- `fail`: the call fails; by each errno of CODES (whole), or every FAILS-th, from point m of scene m, by one of them in
  rotation.
- `again`: killed at a point, and the process that starts after it at each call of its start. The first points are
  every FIRSTS-th (whole), or one, in rotation: point m of scene m; then of the start's calls every SECONDS-th, from m.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.scene import Scene
from tests.fault.calls.play import Blows, Stage, describe
from tests.fault.calls.tracer import Blow, Call

CODES = ("EIO", "ENOSPC", "EDQUOT", "EMFILE")
FIRSTS, SECONDS, FAILS = 8, 12, 2
WHAT = ("kill", "fail", "again")


@dataclass
class Tally:
    """`held`: points at which every promise was kept. `missed`: the call did not come, so nothing was shown."""

    scenes: int = 0
    held: int = 0
    missed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count others in."""
        self.scenes += other.scenes
        self.held += other.held
        self.missed += other.missed
        self.broken += other.broken

    @property
    def points(self) -> int:
        return self.held + len(self.missed) + len(self.broken)


def go_through(stage: Stage, scene: Scene, what: str, *, number: int, whole: bool) -> Tally:
    """Play a scene, the `number`-th of all, with everything of a kind that is to befall it."""
    tally = Tally(scenes=1)
    points = [(process, call) for process, calls in sorted(stage.calls(scene).items()) for call in calls]
    for blows in _plans(stage, scene, points, what, number, whole):
        where = f"{scene}: {describe(blows)}"
        try:
            struck = stage.strike(scene, blows)
        except Exception as error:
            tally.broken.append(f"{where}: {type(error).__name__}: {error}")
            continue
        if struck:
            tally.held += 1
        else:
            tally.missed.append(where)
    return tally


def _plans(
    stage: Stage, scene: Scene, points: list[tuple[int, Call]], what: str, number: int, whole: bool
) -> Iterator[Blows]:
    if what == "kill":
        yield from ({process: Blow(call)} for process, call in points)
    elif what == "fail":
        for n, (process, call) in enumerate(points if whole else points[number % FAILS :: FAILS]):
            codes = CODES if whole else (CODES[(n + number) % len(CODES)],)
            yield from ({process: Blow(call, code)} for code in codes)
    elif points:
        firsts = points[number % FIRSTS :: FIRSTS] if whole else [points[number % len(points)]]
        for process, call in firsts:
            starting = _start_after(stage, scene, {process: Blow(call)}, process + 1)
            seconds = starting if whole else starting[number % SECONDS :: SECONDS]
            yield from ({process: Blow(call), process + 1: Blow(second)} for second in seconds)


def _start_after(stage: Stage, scene: Scene, blows: Blows, process: int) -> list[Call]:
    """Return the calls of the start of the process that follows a kill."""
    return [call for call in stage.calls(scene, blows).get(process, ()) if call.starting]
