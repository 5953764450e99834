"""The metrics: every name, its kind, its labels and what it means, as data.

The collectors are made from it, docs/metrics.md too, and the rules of config/alerts.yaml are checked against it. The
rules that must stay true: a label's values come from a closed list or from the configuration, never from a request;
a name ends in its unit, and a counter's in `_total`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` as it is scraped; of a histogram without `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    words: str


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

STATES = Family("handoffd_states_total", _C, ("role", "state"), "Handoffs that reached a state, as this host saw it")
ENDINGS = Family("handoffd_endings_total", _C, ("role", "reason"), "Handoffs that ended, by reason")
OPEN = Family("handoffd_open", _G, ("role", "state"), "Handoffs that have not ended, by the state known here")
OLDEST = Family(
    "handoffd_open_oldest_age_seconds", _G, ("role", "state"), "How long this host has had the oldest of them; 0: none"
)
DOUBT = Family("handoffd_in_doubt", _G, ("peer",), "Handoffs past their time without a verdict of the peer")
DOUBT_AGE = Family(
    "handoffd_in_doubt_oldest_age_seconds", _G, ("peer",), "How long the oldest of them has been in doubt; 0: none"
)
STUCK = Family(
    "handoffd_stuck",
    _G,
    ("agent",),
    "Handoffs an agent of this host claimed and has not finished an hour past their time",
)
UNCLAIMED = Family(
    "handoffd_unclaimed",
    _G,
    ("agent",),
    "Handoffs an agent of this host has let lie for half of their life, and at least 30 s",
)
BACKLOG = Family(
    "handoffd_backlog",
    _G,
    ("peer",),
    "Handoffs here that the peer has not said to have, or for @agent: that none of its hosts has leased",
)
BACKLOG_AGE = Family(
    "handoffd_backlog_oldest_age_seconds", _G, ("peer",), "How long the oldest of them has been here; 0: none"
)
STEPS = Family("handoffd_step_seconds", _H, ("step",), "How long a step of a handoff took")
LINK_UP = Family("handoffd_link_up", _G, ("peer",), "1: handoffs go to the peer and its news come back; 0: they do not")
LINK_TROUBLE = Family(
    "handoffd_link_trouble", _G, ("peer", "word"), "1 for the trouble a link is in now; absent without one"
)
LINK_RTT = Family(
    "handoffd_link_round_trip_seconds", _G, ("peer",), "The shortest of the last exchanges; absent before the first"
)
LINK_OFFSET = Family(
    "handoffd_link_clock_offset_seconds", _G, ("peer",), "The peer's clock less ours; absent before the first exchange"
)
LINK_SUCCESS = Family(
    "handoffd_link_last_success_timestamp_seconds",
    _G,
    ("peer",),
    "When the peer last answered well; absent before the first time",
)
LINK_FLYING = Family("handoffd_link_requests_in_flight", _G, ("peer",), "Requests with handoffs under way to the peer")
FLUSH = Family(
    "handoffd_flush_seconds",
    _H,
    ("what",),
    "How long a group of flushes took: files with their writing, directories, or the whole file system",
)
EVENTS = Family(
    "handoffd_events_total", _C, ("event",), "Odd events of the journal, and those of links and configuration"
)
JOURNAL_LOST = Family("handoffd_journal_lines_lost_total", _C, (), "Journal lines that the disk refused")
JOURNAL_FAILING = Family("handoffd_journal_failing", _G, (), "1: the journal's last write failed")
DISK_FREE = Family("handoffd_disk_free_bytes", _G, (), "Room for us on the root's file system")
INODES_FREE = Family(
    "handoffd_disk_free_inodes", _G, (), "Inodes for us there; absent where there is no fixed number of them"
)
READY = Family("handoffd_ready", _G, (), "1: handoffs are served")
REFUSALS = Family("handoffd_refusals_total", _C, ("reason",), "Requests and items of a batch that were not served")
RESPONSES = Family(
    "handoffd_http_responses_total",
    _C,
    ("operation", "status"),
    "Answers; `operation` is `none` for a path that is none",
)
REQUESTS = Family(
    "handoffd_http_seconds",
    _H,
    ("operation",),
    "From the headers to the answer; calls that may wait for news are left out",
)
CONNECTIONS = Family("handoffd_connections", _G, (), "Open connections, handshakes included")
TURNED_AWAY = Family("handoffd_connections_refused_total", _C, (), "Connections closed because there were too many")
BUILD = Family("handoffd_build_info", _G, ("version",), "Always 1; the version is the label")

OBSERVED: tuple[Family, ...] = (
    *(STATES, ENDINGS, OPEN, OLDEST, DOUBT, DOUBT_AGE, STUCK, UNCLAIMED, BACKLOG, BACKLOG_AGE, STEPS),
    *(LINK_UP, LINK_TROUBLE, LINK_RTT, LINK_OFFSET, LINK_SUCCESS, LINK_FLYING),
    *(FLUSH, EVENTS, JOURNAL_LOST, JOURNAL_FAILING, DISK_FREE, INODES_FREE, READY),
)
"""Gathered at each scrape."""
COUNTED: tuple[Family, ...] = (REFUSALS, RESPONSES, REQUESTS, CONNECTIONS, TURNED_AWAY, BUILD)
"""Counted by the hub as it answers."""
