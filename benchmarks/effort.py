"""How much of each is measured, in a full run and in a quick one."""

from dataclasses import dataclass

WARM_UP = 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Effort:
    """Numbers of blocks, handoffs, clients; `idle_s` in seconds."""

    lone_blocks: int = 10
    lone_per_block: int = 50
    burst: int = 2_000
    bursts: int = 5
    wire_lone: int = 100
    wire_bursts: int = 3
    idle_s: float = 60
    scan: int = 200
    traced: int = 50
    traced_burst: int = 500
    polls: int = 1_000
    backlog: int = 10_000
    long: int = 100_000


QUICK = Effort(
    lone_blocks=2,
    lone_per_block=10,
    burst=200,
    bursts=1,
    wire_lone=20,
    wire_bursts=1,
    idle_s=2,
    scan=10,
    traced=10,
    traced_burst=50,
    polls=50,
    backlog=500,
    long=1_100,
)
"""Enough of everything to see that it works."""
