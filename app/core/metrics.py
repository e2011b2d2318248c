"""What is measured, for Prometheus.

Under gunicorn every worker counts in files of its own, and a scrape through any of them adds these up: see
`gunicorn.conf.py`. Elsewhere, under `flask run` or in a test, the counts are the process's own. No label has a
value that a client could make up: there are as many series as there are routes, codes and phases.

A request costs 5 to 7 µs more for it (measured; three times that where the processors are busy).
"""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that tells prometheus-client, before it is imported, where the workers' files are."""

_counted = CollectorRegistry()
_requests = Histogram(
    "provider_http_request_duration_seconds",
    "Requests by path and code, from their first line to the last byte of the answer.",
    ("path", "code"),
    registry=_counted,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
_database = Histogram(
    "provider_database_seconds",
    "Time in the database: read, stream (as long as its reader takes) or write (with the wait for its turn).",
    ("operation",),
    registry=_counted,
    buckets=(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5),
)
_transitions = Counter(
    "provider_pod_transitions",
    "Statuses put on record by phase, those that hold from a later time on included.",
    ("phase",),
    registry=_counted,
)
_audit_events = Counter(
    "provider_audit_events", "Rows added to the audit by verb and code.", ("verb", "code"), registry=_counted
)

held = Gauge(
    "provider_held_requests",
    "Requests that are held open, for a change or for more of a log.",
    registry=_counted,
    multiprocess_mode="livesum",
)
# To look for a series takes as long as to count in it.
request = cache(_requests.labels)
database = cache(_database.labels)
transition = cache(_transitions.labels)
audit_event = cache(_audit_events.labels)


def counted() -> CollectorRegistry:
    """Give what was counted, by every worker, for one scrape."""
    if MULTIPROCESS_DIRECTORY not in os.environ:
        return _counted
    gathered = CollectorRegistry()
    gathered.register(_OfAllWorkers())
    return gathered


class _OfAllWorkers(Collector):
    """What is in the files of the workers. One that was only just made is empty, which the library cannot read."""

    def collect(self) -> Iterable[Metric]:
        files = Path(os.environ[MULTIPROCESS_DIRECTORY]).glob("*.db")
        return MultiProcessCollector.merge([str(file) for file in files if _has_content(file)])  # type: ignore[no-untyped-call, no-any-return]


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # its worker has just ended
        return False
