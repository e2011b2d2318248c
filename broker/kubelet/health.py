"""Health of the node, for the probes of the pod that this process runs in.

`/livez` and `/healthz` say that the event loop turns, for an answer is what shows it. Nothing that a restart would
not mend takes part: a node whose provider is gone has to stay and say so. `/readyz` says whether the node does its
work: it hears from the API server, and the provider answers.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

SYNC_LIMIT = timedelta(minutes=11)
"""A watch is made anew after ten minutes at most; most servers show about every minute that it is alive."""


class NodeState(NamedTuple):
    """What a node knows of its two sides.

    Attributes:
        last_sync: when the pods that Kubernetes has on this node were last known to be complete; None: never yet.
        provider_ready: whether the provider answers.
    """

    last_sync: datetime | None
    provider_ready: bool


def is_ready(state: NodeState, now: datetime) -> bool:
    """Tell whether the node does its work."""
    return state.provider_ready and state.last_sync is not None and now - state.last_sync <= SYNC_LIMIT


def report(state: NodeState, now: datetime) -> str:
    """Say, in a line for each side, how it is."""
    if state.last_sync is None:
        sync = "never synced"
    else:
        sync = f"synced {max((now - state.last_sync).total_seconds(), 0):.0f} s ago"
    return f"pods: {sync}\nprovider: {'ready' if state.provider_ready else 'unavailable'}\n"
