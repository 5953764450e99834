"""What daemons use while a soak lasts, and whether they give it back.

Two rules, for growth by chance is no leak and a leak is none by chance. Growth is judged between medians, and only of
quarters with samples enough. At rest, before the trouble and after it, what is open is counted by its kind: a file, a
pipe, a watch or a connection that has ended is a leak, be it one, and so are more connections than are kept for the
next request.
"""

import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fire.ground import Ground
from tests.spec.daemon.rig import Host, until

CONNECTION = "connection"
TCP_STATES = {"01": CONNECTION, "0A": "listener"}
"""As the kernel numbers them; the others belong to connections that one end at least has closed."""
JUDGED_FROM = 60
"""Samples in a quarter, five minutes of them: in fewer, the fault of the moment decides the median."""
RSS_GROWTH = 1.10
RSS_SLACK_MIB = 6.0
FILES_SLACK = 4
"""Medians of the run's last quarter against its second one."""
CALM_S = 3.0
"""Nothing is opened or closed for so long: a link's first pulse is over after 0.5 s, a scan comes each second."""
POOL = 6
"""Connections that may stay beyond those at the start, in the pools of both hosts: the poll and the pulse each 25 s and
the sweep each minute take the one that has rested longest, so three in each pool never rest for the 28 s."""
REST_LIMIT_S = 240.0
"""Three times the longest that a connection may be idle, 75 s at the one who is called."""


@dataclass
class Sample:
    """What a daemon uses at a moment (seconds since the start of the run)."""

    at_s: float
    pid: int
    rss_mib: float
    files: int


class Usage:
    """What two daemons use. Made when both are linked and nothing is under way."""

    def __init__(self, ground: Ground) -> None:
        self._hosts = ground.pair.hosts
        self.samples: dict[str, list[Sample]] = {host.name: [] for host in self._hosts}
        self._rest = self._calm()

    def sample(self, at_s: float) -> None:
        for host in self._hosts:
            sample = Sample(at_s, host.pid, host.resident_mib(), host.open_files())
            self.samples[host.name].append(sample)

    def quarters(self, host: Host) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Return (RSS in MiB, open files) as medians of the second and of the last quarter of one process's life.

        None where these are too short to be judged.
        """
        own = [one for one in self.samples[host.name] if one.pid == host.pid]
        quarter = len(own) // 4
        if quarter < JUDGED_FROM:
            return None
        return _medians(own[quarter : 2 * quarter]), _medians(own[-quarter:])

    def grown(self) -> Iterator[str]:
        """Tell what grew from quarter to quarter."""
        for host in self._hosts:
            if (judged := self.quarters(host)) is None:
                continue
            (rss, files), (late_rss, late_files) = judged
            if late_rss > rss * RSS_GROWTH + RSS_SLACK_MIB:
                yield f"{host.name}: memory grew from {rss:.1f} to {late_rss:.1f} MiB"
            if late_files > files + FILES_SLACK:
                yield f"{host.name}: open files grew from {files:.0f} to {late_files:.0f}"

    def kept(self, limit_s: float = REST_LIMIT_S) -> list[str]:
        """Wait until what was opened has been closed again, and tell what was not. All handoffs have ended."""
        kept: list[str] = []

        def is_closed() -> bool:
            more = {host.name: self._more(host) for host in self._hosts}
            kept[:] = [f"{name}: still open when at rest: {dict(found)}" for name, found in more.items() if found]
            return not kept

        with suppress(AssertionError):
            until("what was opened is closed", is_closed, limit_s)
        return kept

    def _more(self, host: Host) -> Counter[str]:
        more = opened(host) - self._rest[host.name]
        if more[CONNECTION] <= POOL:
            del more[CONNECTION]
        return more

    def _calm(self) -> dict[str, Counter[str]]:
        seen, since = self._opened(), time.monotonic()

        def is_calm() -> bool:
            nonlocal seen, since
            if (now := self._opened()) != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > CALM_S

        until("nothing is opened or closed", is_calm, REST_LIMIT_S)
        return seen

    def _opened(self) -> dict[str, Counter[str]]:
        return {host.name: opened(host) for host in self._hosts}


def opened(host: Host) -> Counter[str]:
    """Count what a daemon has open, by kind: files, connections and what became of them, pipes, other sockets."""
    kinds: Counter[str] = Counter()
    states = _tcp_states(host.pid)
    for number in os.listdir(f"/proc/{host.pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(f"/proc/{host.pid}/fd/{number}")
            kinds[_kind(target, states)] += 1
    return kinds


def _kind(target: str, states: dict[str, str]) -> str:
    if target.startswith("/"):
        return "file"
    kind, _, inode = target.partition(":[")
    return states.get(inode.rstrip("]"), kind)


def _tcp_states(pid: int) -> dict[str, str]:
    """Return, by inode, what the TCP sockets of a process's network are."""
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[9]: TCP_STATES.get(row[3], "connection that has ended") for row in rows}


def _medians(samples: list[Sample]) -> tuple[float, float]:
    return statistics.median(one.rss_mib for one in samples), statistics.median(one.files for one in samples)
