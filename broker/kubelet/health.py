"""Health of the node, for the probes of the pod that the broker runs in.

`/livez` and `/healthz` succeed while the event loop runs. They check nothing that a restart cannot repair: a node
with an unavailable provider has to keep running and report that. `/readyz` succeeds while the watch of the API
server is in sync and the provider answers.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

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
    return health.provider_ready and health.last_sync is not None and now - health.last_sync <= SYNC_LIMIT


def report(health: NodeHealth, now: datetime) -> str:
    """Return a text with one line for the pods and one for the provider."""
    if health.waits_for:
        return f"waiting: broker {health.waits_for} holds the lease of this node\n"
    if health.last_sync is None:
        sync = "never synced"
    else:
        sync = f"synced {max((now - health.last_sync).total_seconds(), 0):.0f} s ago"
    return f"pods: {sync}\nprovider: {'ready' if health.provider_ready else 'unavailable'}\n"
