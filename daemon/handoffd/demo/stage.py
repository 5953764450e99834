"""The stage: two hosts, three agents, and waiting for what they do.

It owns the one loop in which everything is heard, and the deadlines. It does not know what the scenes are. The rule
that must stay true: it waits for conditions, never for a time, and a condition that does not come is named.
"""

import select
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from handoffd.demo.check import Check
from handoffd.demo.host import Host
from handoffd.demo.process import Actor, Order, Told, end
from handoffd.demo.timeline import Timeline
from handoffd.demo.voice import agent_words, daemon_words

T = TypeVar("T")

FINAL = frozenset({"completed", "rejected", "expired", "revoked", "refused", "uncertain", "unknown"})

LIMIT_S = 27.0
"""All of it, which takes some ten seconds where nothing else runs; with END_PATIENCE_S below half a minute."""
WAIT_LIMIT_S = 20.0
"""One condition; the slowest, a link that comes back, takes 5 s and jitter at most where nothing else runs."""
QUIET_LIMIT_S = 1.0
END_PATIENCE_S = 2.0
LOOK_EVERY_S = 0.003


class NotSeen(Exception):
    """Something that was promised did not happen in time; the message names it."""


class Stage:
    """bob-vm, where bob lives, and alice-vm, where alice lives, by file and over HTTP."""

    def __init__(self, directory: Path, timeline: Timeline) -> None:
        self.directory = directory
        self.log = directory / "agents.log"
        self.timeline = timeline
        self.checks: list[Check] = []
        self.claims: Counter[str] = Counter()
        self.published: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.written: list[Told] = []
        self.bob_vm = Host(directory, "bob-vm", "bob")
        self.alice_vm = Host(directory, "alice-vm", "alice")
        self.hosts = (self.bob_vm, self.alice_vm)
        self.actors: list[Actor] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._hidden: frozenset[str] = frozenset()
        self._first_touch: dict[str, float] = {}
        self._linked: Counter[str] = Counter()
        # Journals are dated by the wall clock, everything else by CLOCK_MONOTONIC, which all processes share.
        self._wall_offset_s = time.time() - time.monotonic()

    # ------------------------------------------------------------ waiting

    def until(self, what: str, condition: Callable[[], T | None], limit_s: float = WAIT_LIMIT_S) -> T:
        """Wait until the condition returns something true, and return it. Raises NotSeen."""
        deadline = min(time.monotonic() + limit_s, self.timeline.start_s + LIMIT_S)
        while True:
            self._hear()
            found = condition()
            if found:
                return found
            if time.monotonic() > deadline:
                raise NotSeen(what)

    def answer(self, order: Order) -> Told:
        """Wait until an agent has done what it was told. Raises NotSeen."""
        actor = order.actor

        def told() -> Told | None:
            code = actor.process.poll()
            if order.told is None and code is not None:
                raise NotSeen(f"an answer of {actor.name}, which ended with exit code {code}")
            return order.told

        return self.until(f"an answer of {actor.name}", told)

    def ask(self, actor: Actor, do: str, **fields: object) -> Told:
        """Tell an agent what to do, and wait until it has. Raises NotSeen."""
        return self.answer(actor.order(do, **fields))

    def serving(self, host: Host) -> None:
        """Wait until a host's daemon serves. Raises NotSeen, at once if it ended instead."""

        def is_ready() -> bool:
            if host.has_ended():
                raise NotSeen(
                    f"{host.name}'s daemon, which ended with exit code {host.exit_code()}: {host.last_words()}"
                )
            return host.is_ready()

        self.until(f"{host.name}'s daemon to serve", is_ready)

    def quiet(self, tid: str, is_forgotten: Callable[[], bool]) -> None:
        """Let both daemons say their last words about a handoff, for the timeline; no check depends on it."""

        def is_told() -> bool:
            return self.endings[tid] >= len(self.hosts) and is_forgotten()

        with suppress(NotSeen):
            self.until("the last words about a handoff", is_told, QUIET_LIMIT_S)

    def link_ups(self, host: Host) -> int:
        """Return how often this host's daemon has reached its peer."""
        return self._linked[host.name]

    # ------------------------------------------------------------ hearing and telling

    def scene(self, title: str, *hidden: str) -> None:
        """Begin a scene; journal events named here go without saying in it."""
        self._hear()
        self.timeline.heading(title)
        self._hidden = frozenset(hidden)

    def note(self, host: Host, actor: str, words: str) -> None:
        """Tell what the play itself saw or did."""
        self.timeline.add(time.monotonic(), 0, host.name, actor, words)

    def check(self, promise: str, seen: str, kept: bool) -> None:
        """Put a promise onto the check list."""
        self.checks.append(Check(promise, seen, kept))

    def _hear(self) -> None:
        select.select([actor.output for actor in self.actors], [], [], LOOK_EVERY_S)
        for actor in self.actors:
            for told in actor.hear():
                self._count(told)
                rank, words = agent_words(told)
                self.timeline.add(told["at"], rank, actor.host, actor.name, words)
        for host in self.hosts:
            for line in host.news():
                self._hear_daemon(host, line)
        self.timeline.release()

    def _hear_daemon(self, host: Host, line: Told) -> None:
        if line["event"] == "link_up":
            self._linked[host.name] += 1
        is_publication = line["event"] == "published" and line["role"] == "receiver"
        self.published[line.get("tid", "")] += is_publication
        if line["event"] in FINAL:
            self.endings[line["tid"]] += 1
        said = daemon_words(line)
        if said and not {line["event"], f"{line['event']}@{line.get('role')}"} & self._hidden:
            at_s = datetime.fromisoformat(line["at"]).timestamp() - self._wall_offset_s
            if is_publication:
                # It is noted just after the rename, when an agent that is quick has already acted on it.
                at_s = min(at_s, self._first_touch.get(line["tid"], at_s))
            self.timeline.add(at_s, said[0], host.name, "handoffd", said[1])

    def _count(self, told: Told) -> None:
        if told["what"] != "hand_over":
            self._first_touch.setdefault(told.get("sha256", ""), told["at"])
        if told["what"] == "hand_over":
            self.written.append(told)
        elif told["what"] in ("claim", "take", "accept") and "lost" not in told:
            self.claims[told["sha256"]] += 1

    # ------------------------------------------------------------ the end

    def strike(self) -> None:
        """End every process of this stage."""
        daemons = [host.daemon for host in self.hosts if host.daemon]
        end([*daemons, *self.processes, *(actor.process for actor in self.actors)], END_PATIENCE_S)
