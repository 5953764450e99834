"""What is gathered at each scrape: the meters and the status of the daemon, as families of the catalogue.

It owns the translation and keeps nothing. The rule that must stay true: a series that may alarm is there from the
first scrape, at zero, so that a rule never waits for a series to be born.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from handoffd.custody.household import SHARED
from handoffd.hub import catalogue
from handoffd.hub.catalogue import Family
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.reason import State, is_final
from handoffd.status.latency import Spread
from handoffd.status.meter import Meters
from handoffd.status.model import Census, LinkStatus, Running, Status, Tally, shared_agents

_OPEN_STATES = (
    *(("sender", state.value) for state in State if not is_final(state)),
    *(("receiver", state.value) for state in (State.STORED, State.PUBLISHED, State.CLAIMED)),
)
_NONE = Tally(0, 0.0, None)


class Observed(Collector):
    """Gathers at each scrape."""

    def __init__(self, meters: Meters, status: Callable[[], Status]) -> None:
        self._meters, self._status = meters, status

    def describe(self) -> list[Metric]:
        """Return names and kinds alone: the registry asks when nothing can be gathered yet."""
        return [_made(family) for family in catalogue.OBSERVED]

    def collect(self) -> Iterator[Metric]:
        """Return everything as of now."""
        status = self._status()
        yield from _counted(self._meters)
        yield from _handoffs(status.census, [link.peer for link in status.links], shared_agents(status))
        yield from _links(status.links)
        yield from _host(status)


def _made(family: Family) -> Metric:
    name = family.name.removesuffix("_total")
    return Metric(name, family.words, family.kind.value)


def _counted(meters: Meters) -> Iterator[Metric]:
    states, endings, events = _counter(catalogue.STATES), _counter(catalogue.ENDINGS), _counter(catalogue.EVENTS)
    for (role, state), count in meters.states.items():
        states.add_metric([role, state.value], count)
    for (role, reason), count in meters.endings.items():
        endings.add_metric([role, reason.value], count)
    for event, count in meters.events.items():
        events.add_metric([event], count)
    yield from (states, endings, events)
    yield _histogram(catalogue.STEPS, {step.value: spread for step, spread in meters.steps.items()})
    yield _histogram(catalogue.FLUSH, meters.flushes)


def _handoffs(census: Census, peers: list[str], shared: Iterable[str]) -> Iterator[Metric]:
    open_ones = {**dict.fromkeys(_OPEN_STATES, _NONE), **census.states}
    yield _gauge(catalogue.OPEN, {key: tally.count for key, tally in open_ones.items()})
    yield _gauge(catalogue.OLDEST, {key: tally.oldest_s for key, tally in open_ones.items()})
    # A peer that was taken out of the configuration may still have some.
    for tallies, count, age in (
        (census.doubts, catalogue.DOUBT, catalogue.DOUBT_AGE),
        (_waiting(census, shared), catalogue.BACKLOG, catalogue.BACKLOG_AGE),
    ):
        by_peer = {**dict.fromkeys(peers, _NONE), **tallies}
        yield _gauge(count, {(peer,): tally.count for peer, tally in by_peer.items()})
        yield _gauge(age, {(peer,): tally.oldest_s for peer, tally in by_peer.items()})
    yield _gauge(catalogue.STUCK, {(agent,): tally.count for agent, tally in census.stuck.items()})
    yield _gauge(catalogue.UNCLAIMED, {(agent,): tally.count for agent, tally in census.unclaimed.items()})


def _waiting(census: Census, shared: Iterable[str]) -> dict[str, Tally]:
    for_any = {**dict.fromkeys(shared, _NONE), **census.shared}
    return {**census.backlogs, **{f"{SHARED}{agent}": tally for agent, tally in for_any.items()}}


def _links(links: tuple[LinkStatus, ...]) -> Iterator[Metric]:
    yield _gauge(catalogue.LINK_UP, {(one.peer,): one.state == "up" and one.error is None for one in links})
    yield _gauge(catalogue.LINK_TROUBLE, {(one.peer, one.error.word): 1 for one in links if one.error})
    yield _gauge(catalogue.LINK_FLYING, {(one.peer,): one.in_flight for one in links})
    yield _gauge(
        catalogue.LINK_RTT, {(one.peer,): one.round_trip_ms / 1e3 for one in links if one.round_trip_ms is not None}
    )
    yield _gauge(
        catalogue.LINK_OFFSET,
        {(one.peer,): one.clock_offset_ms / 1e3 for one in links if one.clock_offset_ms is not None},
    )
    yield _gauge(
        catalogue.LINK_SUCCESS,
        {(one.peer,): parse_moment(one.last_success) for one in links if one.last_success is not None},
    )


def _host(status: Status) -> Iterator[Metric]:
    disk = status.disk
    yield _gauge(catalogue.DISK_FREE, {(): disk.free_bytes})
    yield _gauge(catalogue.INODES_FREE, {(): disk.free_inodes} if disk.free_inodes is not None else {})
    if status.running is not None:
        yield from _running(status.running)


def _running(running: Running) -> Iterator[Metric]:
    lost = _counter(catalogue.JOURNAL_LOST)
    lost.add_metric([], running.journal.lines_lost)
    yield lost
    yield _gauge(catalogue.JOURNAL_FAILING, {(): running.journal.failing})
    yield _gauge(catalogue.READY, {(): running.ready})


def _counter(family: Family) -> CounterMetricFamily:
    return CounterMetricFamily(family.name, family.words, labels=family.labels)


def _gauge(family: Family, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    made = GaugeMetricFamily(family.name, family.words, labels=family.labels)
    for labels, value in values.items():
        made.add_metric(labels, value)
    return made


def _histogram(family: Family, spreads: Mapping[str, Spread]) -> HistogramMetricFamily:
    made = HistogramMetricFamily(family.name, family.words, labels=family.labels)
    for label, spread in spreads.items():
        counts = accumulate(spread.counts)
        bounds = (*map(floatToGoString, spread.bounds_s), "+Inf")
        made.add_metric([label], list(zip(bounds, counts, strict=True)), spread.total_s)
    return made
