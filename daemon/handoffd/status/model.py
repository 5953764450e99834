"""The status of a host, as values: its links, the handoffs in its hands, its disk, and what needs attention.

It owns the shape; `fields` is the shape as JSON, the same for `handoffd status --json` and /operator/status. The rule
that must stay true: a state is one of custody's words and means what docs/custody.md section 9 says; nothing here is
called delivered.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from handoffd.protocol.moment import format_moment
from handoffd.protocol.reason import Reason
from handoffd.status.latency import Step

FORMAT: Final = 1
"""Rises when a key of the JSON is removed or changes its meaning; keys may be added without."""
UNSEEN: Final = "unseen"
"""The state of a link that nobody looks after: the daemon is stopped, or silent."""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs attention. `word` is from a closed list (docs/cli.md), `detail` and `remedy` for people."""

    word: str
    detail: str
    remedy: str
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link as its daemon tells of it; `state` up, down, refused, or unseen. Times are ISO 8601 text."""

    peer: str
    state: str
    mode: str | None = None
    since: str | None = None
    last_success: str | None = None
    url: str | None = None
    version: str | None = None
    epoch: str | None = None
    homes: tuple[str, ...] = ()
    clock_offset_ms: int | None = None
    clock_error_ms: int | None = None
    round_trip_ms: float | None = None
    in_flight: int = 0
    waiting: int = 0
    busy: str | None = None
    unreadable: str | None = None
    error: Concern | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "LinkStatus":
        """Return what a link's own `status` tells; what it tells besides is left out."""
        error = told.get("error")
        known = {
            name: told[name] for name in cls.__dataclass_fields__ if name in told and name not in ("error", "homes")
        }
        return cls(
            **known,
            homes=tuple(told.get("homes", ())),
            error=error and Concern(error["word"], error["detail"], error["remedy"], told["peer"]),
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """How many handoffs are in a state, and the one that has been here longest (seconds since this host got it)."""

    count: int
    oldest_s: float
    oldest_tid: str | None


@dataclass(frozen=True, slots=True)
class Census:
    """The open handoffs, counted.

    `states`: by role on this host and state (or place, see place.py). `backlogs`: by peer, what it has not said to
    have. `doubts`: by peer, past their time without a verdict. `shared`: by agent that has several homes, what none of
    them has leased. `unclaimed`, `stuck`: by agent of this host, what it lets lie, and what it claimed and never
    finished; their ages count from the time the trouble began.
    """

    states: Mapping[tuple[str, str], Tally]
    backlogs: Mapping[str, Tally]
    doubts: Mapping[str, Tally]
    shared: Mapping[str, Tally]
    unclaimed: Mapping[str, Tally]
    stuck: Mapping[str, Tally]


@dataclass(frozen=True, slots=True)
class Disk:
    """The root's file system. `free_inodes` is None where there is no fixed number of them."""

    free_bytes: int
    total_bytes: int
    free_inodes: int | None

    @classmethod
    def at(cls, root: Path) -> "Disk":
        """Return it for the file system of this directory. Raises OSError."""
        told = os.statvfs(root)
        inodes = told.f_favail if told.f_files else None
        return cls(told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize, inodes)


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """Whether the journal's last write failed, and how many of its lines were lost since the start."""

    failing: bool
    lines_lost: int


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a step took in the last hour, in seconds; each quantile None without a sample."""

    count: int
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Running:
    """What only a running daemon can tell. `started`: POSIX seconds; `ended`: since then, by reason."""

    ready: bool
    started: float
    ended: Mapping[Reason, int]
    latency: Mapping[Step, Latency]
    journal: JournalHealth
    aside: int = 0
    """Handoffs that contradict the rules and were set aside (docs/custody.md section 14)."""


@dataclass(frozen=True, slots=True)
class Status:
    """All of it, at `now` (POSIX seconds).

    `running` None: read from the directories, for no daemon answers; `silence` says what came of asking one that is
    there, None if there is none.
    """

    host: str | None
    root: str
    version: str
    epoch: str | None
    now: float
    links: tuple[LinkStatus, ...]
    census: Census
    disk: Disk
    running: Running | None
    silence: str | None = None
    homes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The peers that each remote agent lives at, as configured."""
    concerns: tuple[Concern, ...] = ()


def fields(status: Status) -> dict[str, Any]:
    """Return the status as JSON types (docs/cli.md lists the keys)."""
    running, census = status.running, status.census
    return {
        "format": FORMAT,
        "host": status.host,
        "root": status.root,
        "version": status.version,
        "epoch": status.epoch,
        "time": format_moment(status.now),
        "daemon": "running" if running else "silent" if status.silence else "stopped",
        "ready": running is not None and running.ready,
        "started": running and format_moment(running.started),
        "warnings": [_concern(one) for one in status.concerns],
        "peers": [_link(link, census) for link in status.links],
        "shared": [_shared(agent, status) for agent in sorted({*shared_agents(status), *census.shared})],
        "handoffs": [
            {"role": role, "state": state, **_tally(tally)} for (role, state), tally in sorted(census.states.items())
        ],
        "in_doubt": [{"peer": peer, **_tally(tally)} for peer, tally in sorted(census.doubts.items())],
        "ended": running and {reason.value: count for reason, count in running.ended.items() if count},
        "latency": running and {step.value: _latency(one) for step, one in running.latency.items()},
        "journal": running and {"failing": running.journal.failing, "lines_lost": running.journal.lines_lost},
        "disk": {
            "free_bytes": status.disk.free_bytes,
            "total_bytes": status.disk.total_bytes,
            "free_inodes": status.disk.free_inodes,
        },
    }


def shared_agents(status: Status) -> tuple[str, ...]:
    """Return the agents that live at several peers."""
    return tuple(agent for agent, peers in status.homes.items() if len(peers) > 1)


def _shared(agent: str, status: Status) -> dict[str, object]:
    return {"agent": agent, "homes": list(status.homes.get(agent, ())), **_tally(status.census.shared.get(agent))}


def _concern(one: Concern) -> dict[str, object]:
    return {"word": one.word, "peer": one.peer, "detail": one.detail, "remedy": one.remedy}


def _link(link: LinkStatus, census: Census) -> dict[str, object]:
    told = {name: getattr(link, name) for name in link.__dataclass_fields__}
    backlog = census.backlogs.get(link.peer)
    return {
        **told,
        "homes": list(link.homes),
        "error": link.error and _concern(link.error),
        "backlog": _tally(backlog),
    }


def _tally(tally: Tally | None) -> dict[str, object]:
    if tally is None:
        return {"count": 0, "oldest_s": None, "oldest_tid": None}
    return {"count": tally.count, "oldest_s": round(tally.oldest_s, 3), "oldest_tid": tally.oldest_tid}


def _latency(one: Latency) -> dict[str, object]:
    shown = {name: getattr(one, name) for name in ("p50_s", "p90_s", "p99_s")}
    return {"count": one.count, **{name: value and round(value, 6) for name, value in shown.items()}}
