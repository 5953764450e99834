"""The daemon's own view of itself: everything that its status and its metrics tell, gathered when somebody asks.

It owns the gathering and keeps nothing but the meters. The rule that must stay true: asking changes nothing, enters
no custody, and costs the custody thread nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from handoffd import __version__
from handoffd.config import Config
from handoffd.custody.engine import Engine
from handoffd.custody.tree import Clock
from handoffd.journal import Journal
from handoffd.protocol.reason import Reason
from handoffd.protocol.timing import HOUR_S
from handoffd.status import census
from handoffd.status.concern import judged
from handoffd.status.latency import Spread, Step
from handoffd.status.meter import Meters
from handoffd.status.model import Disk, JournalHealth, Latency, LinkStatus, Running, Status

RECENT_S: Final = HOUR_S
"""The time over which latencies are summed up."""


class Overview:
    """Gathers the status of a running daemon."""

    def __init__(self, engine: Engine, journal: Journal, clock: Clock, meters: Meters) -> None:
        self.meters = meters
        self._engine, self._journal, self._clock = engine, journal, clock
        self._started = clock.wall()

    def status(self, config: Config, links: Iterable[Mapping[str, Any]], ready: bool) -> Status:
        """Return it as of now. Raises OSError if the root is gone."""
        now = self._clock.wall()
        return judged(
            Status(
                host=config.host,
                root=str(config.root),
                version=__version__,
                epoch=self._engine.epoch,
                now=now,
                links=tuple(map(LinkStatus.of, links)),
                census=census.take(self._engine.open_handoffs(), now),
                disk=Disk.at(config.root),
                running=self._running(ready, now),
                homes=config.homes,
            )
        )

    def _running(self, ready: bool, now: float) -> Running:
        return Running(
            ready=ready,
            started=self._started,
            ended=self._ended(),
            latency={step: _latency(self.meters.history.over(step, now, RECENT_S)) for step in Step},
            journal=JournalHealth(self._journal.failing, self._journal.dropped),
            aside=self._engine.set_aside(),
        )

    def _ended(self) -> dict[Reason, int]:
        ended = dict.fromkeys(Reason, 0)
        for (_, reason), count in self.meters.endings.items():
            ended[reason] += count
        return ended


def _latency(spread: Spread) -> Latency:
    return Latency(spread.count, spread.quantile_s(0.5), spread.quantile_s(0.9), spread.quantile_s(0.99))
