"""The Prometheus metrics of the provider.

Under gunicorn each worker writes its metrics to its own files, and a scrape of any worker adds up the files of
all workers: see `gunicorn.conf.py`. Under `flask run` and in tests, the metrics are those of the process. No label
contains a value that a client can choose, so the number of series is limited by the routes, codes and phases.

Measured cost per request: 5 to 7 µs, or three times as much on busy CPUs.
"""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the directory of the workers' files. prometheus-client reads it on import."""

_counted = CollectorRegistry()
_requests = Histogram(
    "provider_http_request_duration_seconds",
    "Requests by path and code, from the request line to the last byte of the response.",
    ("path", "code"),
    registry=_counted,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
_database = Histogram(
    "provider_database_seconds",
    "Time in the database: read, stream (including the time of its reader) or write (including lock waits).",
    ("operation",),
    registry=_counted,
    buckets=(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5),
)
_transitions = Counter(
    "provider_pod_transitions",
    "Recorded statuses by phase, including those with a future start time.",
    ("phase",),
    registry=_counted,
)
_audit_events = Counter(
    "provider_audit_events", "Recorded audit events by verb and code.", ("verb", "code"), registry=_counted
)

held = Gauge(
    "provider_held_requests",
    "Open long polls and followed logs.",
    registry=_counted,
    multiprocess_mode="livesum",
)
streams = Gauge(
    "provider_streams",
    "Open streams: exec, attach, port-forward.",
    registry=_counted,
    multiprocess_mode="livesum",
)
# Cached, because the lookup of a series takes as long as its increment.
request = cache(_requests.labels)
database = cache(_database.labels)
transition = cache(_transitions.labels)
audit_event = cache(_audit_events.labels)


def counted() -> CollectorRegistry:
    """Return a registry with the metrics of all workers, for one scrape."""
    if MULTIPROCESS_DIRECTORY not in os.environ:
        return _counted
    gathered = CollectorRegistry()
    gathered.register(_AllWorkers())
    return gathered


class _AllWorkers(Collector):
    """Collects the files of all workers, except empty ones, which the library cannot read."""

    def collect(self) -> Iterable[Metric]:
        files = Path(os.environ[MULTIPROCESS_DIRECTORY]).glob("*.db")
        merged: Iterable[Metric] = MultiProcessCollector.merge([str(file) for file in files if _has_content(file)])
        return merged


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # the worker has just exited
        return False
