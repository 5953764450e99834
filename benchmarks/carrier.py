"""What carries files from one root to another, as the measurements see it; and the floor as one such."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.floor import STAMPS
from benchmarks.payload import make_root
from benchmarks.process import first_line, module, running


@dataclass(frozen=True, slots=True)
class Carrier:
    """Two roots and the processes between them."""

    source: Path
    target: Path
    pids: Mapping[str, int]
    tells_outcomes: bool
    """Whether a file archived at the target shows in archive/ at the source; the floor ends when it is durable."""

    def durable_ns(self) -> dict[str, int]:
        """Return when the floor's receiver had each name durable, in ns of CLOCK_MONOTONIC."""
        lines = (self.target / STAMPS).read_text().splitlines()
        return {name: int(moment) for name, moment in (line.split() for line in lines)}


@contextlib.contextmanager
def floor(directory: Path) -> Iterator[Carrier]:
    """Run the floor between two new roots."""
    source, target = make_root(directory / "a"), make_root(directory / "b")
    with (
        running(module("floor", "receive", str(target))) as receiver,
        running(module("floor", "send", str(source), first_line(receiver))) as sender,
    ):
        first_line(sender)
        yield Carrier(source, target, {"sender": sender.pid, "receiver": receiver.pid}, tells_outcomes=False)
