"""Plays schedules, and asks the protocol model whether what their hosts showed are paths of it.

python -m tests.simulator.paths_check --schedules 2000 --seed 0 --jobs 2 --model build/custody_model

It owns the command and what is counted; the traces are made by `paths`, and judged by `custody_model --replay`.
"""

import argparse
import logging
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from random import Random

from tests.simulator.paths import WatchedWorld
from tests.simulator.paths_track import PULL, PUSH, Track
from tests.simulator.schedule import Schedule, draw, play
from tests.simulator.world import World

SOURCE = Path(__file__).parents[2] / "model" / "custody_model.cpp"
PORTION = 250
WHOLE = "watched to the end"
MODELS: dict[str, list[str]] = {PUSH: [], PULL: ["--relay"]}
"""Which model judges the traces of a link."""
SAID = 40
"""Lines that are shown of what is said about one trace that is no path."""
_COUNTS = re.compile(r"^(\d+) traces, (\d+) lines: (\d+) no path", re.MULTILINE)
_STEP = re.compile(r"^ +(\d+) (.+)$", re.MULTILINE)


class CannotReplay(Exception):
    """There is no compiler here, or the model could not read a trace; the message says what."""


def build_model(where: Path) -> Path:
    """Compile the model into a directory; return the program. Raises CannotReplay when there is no compiler."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise CannotReplay("needs cxx: no C++ compiler here; on Debian and Ubuntu: apt-get install g++")
    built = where / "custody_model"
    subprocess.run([compiler, "-O2", "-std=c++17", "-o", built, SOURCE], check=True)
    return built


@dataclass
class Verdict:
    """What became of some schedules' traces. `wrong`: what the model says of each that is no path.

    `limits`: why traces end before their handoffs do; `steps`: lines whose way used a step of the model; both by link.
    """

    schedules: int = 0
    traces: int = 0
    lines: int = 0
    wrong: list[str] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Verdict") -> None:
        """Count others in."""
        self.schedules += other.schedules
        self.traces += other.traces
        self.lines += other.lines
        self.wrong += other.wrong
        for mine, theirs in ((self.broken, other.broken), (self.limits, other.limits), (self.steps, other.steps)):
            mine.update(theirs)

    def text(self) -> str:
        """Return it for people."""
        lines = [f"{self.schedules} schedules, {self.traces} traces, {self.lines} lines: {len(self.wrong)} no path"]
        for title, counter in (
            ("watched to the end, or why not", self.limits),
            ("ended by a broken promise", self.broken),
            ("lines whose way used a step of the model", self.steps),
        ):
            lines += [f"{title}:", *(f"  {number:10} {name}" for name, number in counter.most_common())]
        return "\n".join([*self.wrong, *lines])


def watch(schedule: Schedule) -> tuple[list[Track], str]:
    """Play a schedule; return what was seen of each handoff, and what was broken, if anything was."""
    worlds: list[WatchedWorld] = []

    def make(count: int, random: Random, shape: str) -> World:
        worlds.append(WatchedWorld(count, random, shape))
        return worlds[0]

    try:
        play(schedule, make)
    except Exception as error:
        return worlds[0].paths.tracks, type(error).__name__
    return worlds[0].paths.tracks, ""


def judge(model: Path, traces: str, link: str) -> Verdict:
    """Ask the model of traces of one kind of link. Raises CannotReplay when it cannot read one."""
    command = [str(model), *MODELS[link], "--replay"]
    done = subprocess.run(command, input=traces, capture_output=True, text=True, check=False)
    counts = _COUNTS.search(done.stdout)
    if done.returncode not in (0, 1) or counts is None:
        raise CannotReplay(f"the model ended with {done.returncode}: {done.stderr}")
    said, told = done.stdout[: counts.start()], done.stdout[counts.end() :]
    wrong = ["NO PATH " + "\n".join(one.splitlines()[:SAID]) for one in said.split("NO PATH ")[1:]]
    assert len(wrong) == int(counts[3])
    steps = Counter({f"{link}: {name}": int(number) for number, name in _STEP.findall(told)})
    return Verdict(0, int(counts[1]), int(counts[2]), wrong, steps=steps)


def check(portion: tuple[int, int], model: Path) -> Verdict:
    """Play the schedules of the seeds from the first to below the second number and have their traces judged."""
    logging.disable(logging.CRITICAL)  # engines tell of every disk that fails
    verdict, traces = Verdict(), dict[str, list[str]]({link: [] for link in MODELS})
    for seed in range(*portion):
        tracks, words = watch(draw(seed))
        verdict.schedules += 1
        verdict.broken.update([words] if words else [])
        for number, track in enumerate(tracks):
            verdict.limits.update([f"{track.link}: {track.limit or WHOLE}"])
            if track.is_watched:
                traces[track.link].append(track.text(f"{track.link}-{seed}.{number}"))
    for link, some in traces.items():
        verdict.add(judge(model, "".join(some), link))
    return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; 1 when a trace is no path of the model."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator.paths_check", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--schedules", type=int, default=2000, help="how many, of two hosts (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--model", type=Path, default=Path("build/custody_model"), help="the model's program")
    options = parser.parse_args(arguments)
    end = options.seed + options.schedules
    portions = [(first, min(first + PORTION, end)) for first in range(options.seed, end, PORTION)]
    total = Verdict()
    with Pool(options.jobs) as pool:
        for verdict in pool.imap(partial(check, model=options.model), portions):
            total.add(verdict)
    print(total.text())
    return int(bool(total.wrong))


if __name__ == "__main__":
    sys.exit(main())
