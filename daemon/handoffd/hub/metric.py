"""Metrics in the Prometheus text format, on a registry of their own (docs/http-api.md lists the names).

It owns the names and knows neither requests nor handoffs. The rule that must stay true: no label takes a value from
outside a closed list, so the number of series is bounded whatever is sent.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from handoffd.protocol.reason import Problem, Reason, State

# From a fraction of the 2.5 ms a whole handoff may take up to the 10 s a client waits.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)


class _Custody(Collector):
    """Asks for the counts at each scrape, so that no second copy of them exists."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("handoffd_custody", "Handoffs by where they are now", labels=["place"])
        for place, number in self._counts().items():
            family.add_metric([place], number)
        yield family

    def describe(self) -> list[Metric]:
        return [GaugeMetricFamily("handoffd_custody", "Handoffs by where they are now", labels=["place"])]


class Metrics:
    """Counts what passes. `counts` is the engine's."""

    def __init__(self, version: str, counts: Callable[[], Mapping[str, int]]) -> None:
        self.registry = CollectorRegistry()
        self._edges = self._counter("handoffd_edges", "States that handoffs reached here", "state")
        self._endings = self._counter("handoffd_endings", "Handoffs that ended, by reason", "reason")
        self._refusals = self._counter("handoffd_refusals", "Requests and batch items not served, by reason", "reason")
        self._responses = self._counter("handoffd_http_responses", "Answers by call and status", "operation", "status")
        self._seconds = Histogram(
            "handoffd_http_seconds",
            "Time from the headers to the answer; calls that may wait for news are left out",
            ["operation"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.connections = Gauge(
            "handoffd_connections", "Open connections, handshakes included", registry=self.registry
        )
        self.turned_away = Counter(
            "handoffd_connections_refused", "Connections closed because there were too many", registry=self.registry
        )
        build = Gauge("handoffd_build_info", "Always 1; the version is the label", ["version"], registry=self.registry)
        build.labels(version).set(1)
        self.registry.register(_Custody(counts))
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry)

    def edge(self, state: State, reason: Reason | None = None) -> None:
        """Count a state that a handoff reached; the reason too when it is a final one."""
        self._edges.labels(state.value).inc()
        if reason is not None:
            self._endings.labels(reason.value).inc()

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
