"""The `activeDeadlineSeconds` of pods: when a pod exceeds them, and who ends it then.

A provider with the extension `activeDeadline` ends such a pod itself. The pod then keeps its logs, as with a
kubelet; a pod that is deleted at the provider does not.

Source: `pkg/kubelet/active_deadline.go`.
"""

from datetime import datetime, timedelta

import msgspec

from broker.dependencies import Dependencies
from broker.pods.actions import grace_period
from broker.pods.admission import Rejection
from broker.pods.provider_state import ProviderState
from broker.pods.store import PodSnapshot

MARGIN = 10.0
"""Seconds after the grace period in which a provider with `activeDeadline` ends a pod."""
DEADLINE_EXCEEDED = Rejection("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


class ActiveDeadline:
    """Whether pods have exceeded their deadlines."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._provider = dependencies.provider
        self._clock = dependencies.clock

    async def ends(self, snapshot: PodSnapshot, state: ProviderState) -> bool:
        """Return whether the broker is to end a pod now."""
        deadline = snapshot.stored.deadline
        if deadline is None or self._clock() < deadline:
            return False
        return self._clock() >= _last_end(deadline, snapshot) or not await self._is_kept(snapshot, state)

    def seconds_to_next(self, snapshot: PodSnapshot) -> float | None:
        """Return the seconds until :meth:`ends` may return something else; None for a pod without a deadline."""
        deadline, now = snapshot.stored.deadline, self._clock()
        if deadline is None:
            return None
        return ((deadline if deadline > now else _last_end(deadline, snapshot)) - now).total_seconds()

    async def _is_kept(self, snapshot: PodSnapshot, state: ProviderState) -> bool:
        """Return whether the provider ends the pod: it counts from the `startTime` that it reports."""
        uid = snapshot.stored.uid
        reported = state.status(uid)
        if reported is None or state.is_terminating(uid):
            return False
        started: object = msgspec.json.decode(reported).get("startTime")
        is_same = started == (snapshot.pod.get("status") or {}).get("startTime")
        return is_same and await self._provider.supports("activeDeadline")


def _last_end(deadline: datetime, snapshot: PodSnapshot) -> datetime:
    """Return when the broker ends a pod that the provider has not ended."""
    return deadline + timedelta(seconds=grace_period(snapshot.pod) + MARGIN)
