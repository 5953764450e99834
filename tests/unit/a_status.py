"""A status made by hand: everything is fine, unless a test says otherwise."""

from collections.abc import Iterable
from typing import Any

from handoffd.custody.opened import Open
from handoffd.protocol.reason import Reason
from handoffd.status import census
from handoffd.status.concern import judged
from handoffd.status.latency import Step
from handoffd.status.model import Disk, JournalHealth, Latency, LinkStatus, Running, Status

NOW = 1_795_168_800.0  # 2026-11-20T10:00:00Z
LINK = LinkStatus(
    peer="alice-vm",
    state="up",
    mode="push",
    since="2026-11-20T09:00:00.000Z",
    last_success="2026-11-20T09:59:50.000Z",
    url="https://alice-vm:8788",
    version="0.1.0",
    epoch="f" * 32,
    homes=("alice",),
    clock_offset_ms=-3,
    round_trip_ms=0.4,
)
RUNNING = Running(
    ready=True,
    started=NOW - 3_600,
    ended={**dict.fromkeys(Reason, 0), Reason.COMPLETED: 7},
    latency={step: Latency(0, None, None, None) for step in Step},
    journal=JournalHealth(failing=False, lines_lost=0),
)


def a_status(handoffs: Iterable[Open] = (), **more: Any) -> Status:
    """Return a judged status with these handoffs open."""
    fine: dict[str, Any] = {
        "host": "bob-vm",
        "root": "/srv/voice-shared",
        "version": "0.1.0",
        "epoch": "e" * 32,
        "now": NOW,
        "links": (LINK,),
        "census": census.take(handoffs, NOW),
        "disk": Disk(64 << 30, 128 << 30, 1_000_000),
        "running": RUNNING,
    }
    return judged(Status(**{**fine, **more}))
