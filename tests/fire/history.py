"""What agents did and what the hosts say became of it, held against each other.

An operation is `ok`, `failed` or `unknown`: an agent whose rename fails did not claim; one whose answer was lost may
have. The checker reads no engine's memory and no journal: files, records, and what the agents noted.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.spec.daemon.rig import Host, Told, tid_of

NOT_DELIVERED = ("never_sent", "not_delivered")
BY_AGENTS = ("completed", "rejected_by_agent")
ONE_END = {"expired", "revoked"}
"""One end to the two hosts: a revoke that the sender asked for because of lateness is an expiry to it."""


class How(StrEnum):
    """How an operation went, as far as the agent knows."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass
class Story:
    """One handoff: what was written, and the operations on it."""

    data: bytes
    source: Host
    target: Host
    claims: Counter[How] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """By reason, the ends that an agent is sure to have made."""


class History:
    """All handoffs, by T; safe from any thread."""

    def __init__(self) -> None:
        self.stories: dict[str, Story] = {}
        self.strangers: list[str] = []
        self._lock = threading.Lock()

    def write(self, source: Host, target: Host, data: bytes) -> str:
        """Note it, then write it as the agent of the source."""
        tid = tid_of(data)
        with self._lock:
            self.stories[tid] = Story(data, source, target)
        return source.write(data)

    def claim(self, name: str, how: How, data: bytes | None = None) -> None:
        """Note a try to claim; `data`: what the claimer got."""
        tid = name.partition("-r")[2].removesuffix(".json")
        with self._lock:
            story = self.stories.get(tid)
            if story is None or (data is not None and data != story.data):
                self.strangers.append(f"{name}: bytes that nobody wrote")
            else:
                story.claims[how] += 1

    def end(self, name: str, reason: str) -> None:
        """Note that an agent has ended its claim."""
        with self._lock:
            self.stories[name.partition("-r")[2].removesuffix(".json")].ends[reason] += 1

    # ------------------------------------------------------------ at the end

    def open(self) -> list[str]:
        """Return what has no outcome at its source yet, then what a daemon has still to put where its end belongs.

        The outcome comes first: a payload goes to archive/ or rejected/ after it.
        """
        with self._lock:
            stories = list(self.stories.items())
        unended = [tid for tid, story in stories if story.source.outcome(tid) is None]
        return unended or [held for host in {story.source for _, story in stories} for held in host.in_custody()]

    def reasons(self) -> Counter[str]:
        """Count the outcomes at the sources."""
        found = (story.source.outcome(tid) for tid, story in self.stories.items())
        return Counter("open" if record is None else str(record["reason"]) for record in found)

    def faults(self, *, excused: Iterable[str] = ()) -> list[str]:
        """Return everything that must not be; `excused` are T whose end may be uncertain."""
        kept = {host: _kept(host) for host in {story.source for story in self.stories.values()}}
        found = list(self.strangers)
        for tid, story in self.stories.items():
            words = [*_of_claims(story), *self._of_ends(tid, story, tid in set(excused))]
            if kept[story.source][tid] != 1:
                words.append(f"its bytes lie in {kept[story.source][tid]} places at its source")
            found += [f"{tid[:12]} from {story.source.name}: {word}" for word in words]
        return found

    def _of_ends(self, tid: str, story: Story, is_excused: bool) -> Iterable[str]:
        mine, theirs = story.source.outcome(tid), story.target.outcome(tid)
        if mine is None:
            yield "lost: it has no outcome"
            return
        reason, claimed = mine["reason"], story.claims[How.OK]
        if mine["delivered"] in NOT_DELIVERED and claimed:
            yield f"{reason}, {mine['delivered']}, and an agent has it"
        if reason in BY_AGENTS and not (claimed or story.claims[How.UNKNOWN]):
            yield f"{reason}, and nobody claimed it"
        if story.ends and not is_excused and reason not in story.ends:
            yield f"an agent ended it as {dict(story.ends)}, and it ended as {reason}"
        if mine["delivered"] == "unknown" and not is_excused:
            yield f"{reason}: unknown, and nothing happened that would excuse it"
        if theirs is not None and not is_excused and not _is_one(reason, theirs):
            yield f"{reason} here, {theirs['reason']} at {story.target.name}"


def _of_claims(story: Story) -> Iterable[str]:
    if story.claims[How.OK] > 1:
        yield f"claimed {story.claims[How.OK]} times"


def _is_one(reason: str, theirs: Told) -> bool:
    return theirs["reason"] == reason or {reason, theirs["reason"]} == ONE_END


def _kept(host: Host) -> Counter[str]:
    """Count, by T, the files in archive/ and rejected/ that hold exactly what was written."""
    found: Counter[str] = Counter()
    for place in ("archive", "rejected"):
        for name in host.names(place):
            if not name.endswith(".reason"):
                data = host.read(place, name)
                found[tid_of(data)] += json.loads(data)["from_agent"] == host.agent
    return found
