"""Health of the node, for the probes of the pod that the broker runs in.

`/livez` and `/healthz` succeed while the event loop runs. They check nothing that a restart cannot repair: a node
with an unavailable provider has to keep running and report that. `/readyz` succeeds while the watch of the API
server is in sync and the provider answers.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.kubelet.stats.exposition import family, labels

SYNC_LIMIT = timedelta(minutes=11)
"""A watch is renewed after ten minutes at most; most servers send a bookmark about every minute."""


class NodeHealth(NamedTuple):
    """Connection of the node to the API server and to the provider.

    Attributes:
        last_sync: when the list of pods on this node was last known to be complete; None: never.
        provider_ready: whether the provider answers.
        waits_for: identity of the broker that runs this node at present; None where that is this one.
    """

    last_sync: datetime | None
    provider_ready: bool
    waits_for: str | None = None


def is_ready(health: NodeHealth, now: datetime) -> bool:
    """Return whether the API server and the provider both answer."""
    if health.waits_for:
        return False
    return health.provider_ready and _is_synced(health, now)


def _is_synced(health: NodeHealth, now: datetime) -> bool:
    return health.last_sync is not None and now - health.last_sync <= SYNC_LIMIT


class HealthChecks:
    """`/metrics/slis`: the results of the health checks, now and counted.

    A check is counted at each scrape, since nothing else asks for it regularly.

    Source: `k8s.io/component-base/metrics/prometheus/slis`.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def metrics(self, health: NodeHealth, now: datetime) -> bytes:
        """Check, count the results, and return them in the text format."""
        checks = {
            ("ping", "healthz"): True,
            ("pods", "readyz"): _is_synced(health, now),
            ("provider", "readyz"): health.provider_ready,
        }
        for (name, type_), passes in checks.items():
            self._counts[name, "success" if passes else "error", type_] += 1
        parts = (
            family(
                "kubernetes_healthcheck",
                "gauge",
                "Whether a health check passes now: 1 or 0",
                [f"{{{labels(name=name, type=type_)}}} {int(ok)}" for (name, type_), ok in checks.items()],
            ),
            family(
                "kubernetes_healthchecks_total",
                "counter",
                "Results of health checks so far",
                [
                    f"{{{labels(name=name, status=status, type=type_)}}} {number}"
                    for (name, status, type_), number in self._counts.items()
                ],
            ),
        )
        return "".join(parts).encode()


def report(health: NodeHealth, now: datetime) -> str:
    """Return a text with one line for the pods and one for the provider."""
    if health.waits_for:
        return f"waiting: broker {health.waits_for} holds the lease of this node\n"
    if health.last_sync is None:
        sync = "never synced"
    else:
        sync = f"synced {max((now - health.last_sync).total_seconds(), 0):.0f} s ago"
    return f"pods: {sync}\nprovider: {'ready' if health.provider_ready else 'unavailable'}\n"
