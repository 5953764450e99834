"""Metrics in the Prometheus text format, on a registry of their own (docs/metrics.md lists them).

It owns what the hub counts as it answers; the rest is gathered at each scrape (`observed`). The rule that must stay
true: no label takes a value from a request, so the number of series is bounded whatever is sent.
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

from handoffd.hub import catalogue
from handoffd.hub.catalogue import Family
from handoffd.hub.observed import Observed
from handoffd.protocol.reason import Problem, Reason
from handoffd.status.meter import Meters
from handoffd.status.model import Status

# From a fraction of the 2.5 ms a whole handoff may take up to the 10 s a client waits.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series beside each counter, which nobody asked for


class Metrics:
    """Counts what passes; `meters` and `status` are asked at each scrape."""

    def __init__(self, version: str, meters: Meters, status: Callable[[], Status]) -> None:
        self.registry = CollectorRegistry()
        self._refusals = self._counter(catalogue.REFUSALS)
        self._responses = self._counter(catalogue.RESPONSES)
        self._seconds = Histogram(
            catalogue.REQUESTS.name,
            catalogue.REQUESTS.words,
            catalogue.REQUESTS.labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.connections = self._gauge(catalogue.CONNECTIONS)
        self.turned_away = self._counter(catalogue.TURNED_AWAY)
        self._gauge(catalogue.BUILD).labels(version).set(1)
        self.registry.register(Observed(meters, status))
        ProcessCollector(registry=self.registry)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.words, family.labels, registry=self.registry)

    def _gauge(self, family: Family) -> Gauge:
        return Gauge(family.name, family.words, family.labels, registry=self.registry)

    def refused(self, reason: Problem | Reason) -> None:
        """Count a request, or an item of a batch, that was not served."""
        self._refusals.labels(reason.value).inc()

    def answered(self, operation: str, status: int, seconds: float | None) -> None:
        """Count an answer; `seconds` is None for a call that may have waited for news."""
        self._responses.labels(operation, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(operation).observe(seconds)

    def page(self) -> bytes:
        """Return all of it in the text format 0.0.4."""
        return generate_latest(self.registry)
