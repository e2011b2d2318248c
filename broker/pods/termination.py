"""Termination of a pod at the provider: sends `/deletePod`, and waits until the containers have ended.

With the extension `gracefulDelete`, `/deletePod` begins the termination. The pod stays in the provider's lists,
and its status shows which containers still run, until the last one has ended. Then the provider answers 404, and
`/podStatuses` reports the last status once more, among the deleted pods. Without the extension most providers
forget the pod in the same request.

A pod has ended when the provider reports a terminal phase or has no such pod. Where the provider reports changes
by long poll, a 404 may be read before the last status arrives; the termination then waits a moment for it, since
it has the exit codes. So it does while the changes cannot be read, such as after a restart of the provider.
"""

import asyncio

import msgspec
import structlog

from broker.dependencies import Dependencies
from broker.kubernetes.objects import Object, key
from broker.pods.container_events import stop_events
from broker.pods.events import EventRecorder
from broker.pods.phase import is_terminal
from broker.pods.provider_state import ProviderState, Termination
from broker.pods.provider_sync import ProviderSync
from broker.pods.status_source import StatusSource

_POLL_INTERVAL = 1.0
"""Seconds between two polls of a pod that ends."""
_FIRST_POLL_WITH_PUSH, _POLL_INTERVAL_WITH_PUSH = 1.0, 10.0
"""The same where the provider reports changes by long poll: a poll only makes up for a lost report."""
_SHORTEST_DELAY = 0.01
_MARGIN = 10.0
"""Seconds after the grace period in which a provider with `gracefulDelete` kills the last container."""
_LAST_STATUS_TIMEOUT = 8.0
"""Seconds for which the last status of a pod that has left is awaited: more than between two reads of changes."""

log = structlog.get_logger()


class PodTermination:
    """Terminates pods at the provider.

    Args:
        dependencies: of the broker.
        sync: sends the requests.
        statuses: reads the status of pods that end.
        events: records which containers are stopped.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        sync: ProviderSync,
        statuses: StatusSource,
        events: EventRecorder,
    ) -> None:
        self._provider = dependencies.provider
        self._sync = sync
        self._statuses = statuses
        self._events = events

    async def advance(self, pod: Object, state: ProviderState, *, grace: int) -> float | None:
        """Advance the termination of a pod as far as possible now. A shorter grace period is sent again.

        Args:
            pod: the pod, which is the body of the request.
            state: state of its name at the provider; it has no pod once the pod has ended.
            grace: grace period in seconds.

        Returns:
            Seconds until the next attempt; None where the pod has ended, or has outlived its grace period.

        Raises:
            ProviderError: retry.
        """
        uid = pod["metadata"].get("uid") or ""
        if state.pod is None and state.has_ended(uid):
            return None  # the API server sets the grace period to 0 while it removes the pod
        termination = state.termination(uid, grace)
        if termination is None:
            if state.pod is None and not state.is_terminating(uid):
                return None if self._statuses.has_read_deletions else _POLL_INTERVAL
            termination = await self._begin(pod, state, Termination(uid, grace))
        now = asyncio.get_running_loop().time()
        if await self._has_ended(key(pod), state, termination, now):
            state.mark_absent()
            return self._seconds_to_last_status(state, termination, now)
        if now < termination.deadline:
            return max(min(termination.poll_at, termination.deadline) - now, _SHORTEST_DELAY)
        log.warning("pod has exceeded its grace period", pod=key(pod), uid=uid)
        state.end_termination()
        if not termination.is_graceful:
            await self._sync.delete(pod)
            state.mark_absent()
        return None

    async def _begin(self, pod: Object, state: ProviderState, termination: Termination) -> Termination:
        termination.is_graceful = await self._provider.supports("gracefulDelete")
        # Recorded first: the report that the pod has left may overtake the answer to the request.
        state.begin_termination(termination)
        stopped = list(stop_events(_last_status(pod, state)))
        if await self._sync.delete(pod):
            for event in stopped:
                self._events.record(pod, **event._asdict())
        else:
            state.mark_absent()
        now = asyncio.get_running_loop().time()
        termination.is_sent = True
        termination.deadline = now + termination.grace + (_MARGIN if termination.is_graceful else 0)
        termination.poll_at = now + (_FIRST_POLL_WITH_PUSH if self._statuses.supports_push else 0)
        return termination

    async def _has_ended(self, key: str, state: ProviderState, termination: Termination, now: float) -> bool:
        if state.pod is None or state.has_ended(termination.uid):
            return True
        if now < min(termination.poll_at, termination.deadline):
            return False
        status = (await self._statuses.poll(key, termination.uid)).status
        termination.poll_at = now + (_POLL_INTERVAL_WITH_PUSH if self._statuses.supports_push else _POLL_INTERVAL)
        return status is None or is_terminal(status)

    def _seconds_to_last_status(self, state: ProviderState, termination: Termination, now: float) -> float | None:
        """Return how long to wait for the last status of a pod that has left; None where it is known or late."""
        if state.has_ended(termination.uid) or termination.has_left or not self._statuses.may_support_push:
            return None
        termination.give_up_at = termination.give_up_at or now + _LAST_STATUS_TIMEOUT
        return termination.give_up_at - now if now < termination.give_up_at else None


def _last_status(pod: Object, state: ProviderState) -> Object:
    """Return the last status that the provider has reported of a pod; before the first, that in Kubernetes."""
    reported = state.status(pod["metadata"].get("uid") or "")
    status = msgspec.json.decode(reported) if reported else pod.get("status")
    return status if isinstance(status, dict) else {}
