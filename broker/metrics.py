"""Prometheus metrics of the broker."""

from collections.abc import Callable
from datetime import datetime
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

_NAMESPACE = "virtual_kubelet_web"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Metrics of the broker.

    Attributes:
        registry: contains every metric.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        kubernetes = self._histogram(
            "kubernetes_request_seconds", "Requests to the API server; code 0: no answer.", "method", "code"
        )
        provider = self._histogram(
            "provider_request_seconds", "Requests to the provider; code 0: no answer.", "call", "code"
        )
        # A look-up of labels takes as long as the observation (docs/decisions/0047).
        self._kubernetes, self._provider = cache(kubernetes.labels), cache(provider.labels)
        self._dropped = self._counter(
            "events_dropped", "Events that were not written because too many waited.", "type"
        )
        self._streams_open = Gauge(
            "stream_sessions_open",
            "Sessions of exec, attach and port-forward.",
            ["kind"],
            namespace=_NAMESPACE,
            registry=self.registry,
        )
        self._streams = self._counter(
            "stream_sessions",
            "Sessions that have ended, by outcome: success, failure or disconnected.",
            "kind",
            "outcome",
        )
        self._stream_bytes = self._counter(
            "stream_bytes", "Bytes of sessions; in: from the client, out: to the client.", "kind", "direction"
        )

    def event_dropped(self, type_: str) -> None:
        """Count an event of a type, Normal or Warning, that was not written."""
        self._dropped.labels(type_).inc()

    def stream_opened(self, kind: str) -> None:
        """Count a session that begins: `exec`, `attach` or `portForward`."""
        self._streams_open.labels(kind).inc()

    def stream_ended(self, kind: str, outcome: str) -> None:
        """Count a session that has ended."""
        self._streams_open.labels(kind).dec()
        self._streams.labels(kind, outcome).inc()

    def stream_bytes(self, kind: str, direction: str, size: int) -> None:
        """Count bytes that are carried."""
        self._stream_bytes.labels(kind, direction).inc(size)

    def kubernetes_request(self, method: str, code: int, seconds: float) -> None:
        """Count a request to the API server; code 0 without an answer."""
        self._kubernetes(method, code).observe(seconds)

    def provider_request(self, call: str, code: int, seconds: float) -> None:
        """Count a request to the provider by its path, without the query."""
        self._provider(call, code).observe(seconds)

    def register_nodes(
        self,
        *,
        nodes: Callable[[], int],
        pods: Callable[[], int],
        ready: Callable[[], bool],
        last_sync: Callable[[], datetime | None],
    ) -> None:
        """Register the metrics of the nodes; the functions are called on each scrape."""
        self._gauge("nodes", "Nodes of this broker.", nodes)
        self._gauge("pods", "Pods on the nodes.", pods)
        self._gauge("node_ready", "Whether the provider answers: 1 or 0.", ready)
        self._gauge(
            "last_sync_timestamp_seconds",
            "When the list of pods on the nodes was last known to be complete.",
            lambda: synced.timestamp() if (synced := last_sync()) else 0,
        )

    def _histogram(self, name: str, description: str, *labels: str) -> Histogram:
        return Histogram(name, description, labels, namespace=_NAMESPACE, buckets=_BUCKETS, registry=self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, namespace=_NAMESPACE, registry=self.registry)

    def _gauge(self, name: str, description: str, function: Callable[[], float]) -> None:
        Gauge(name, description, namespace=_NAMESPACE, registry=self.registry).set_function(function)
