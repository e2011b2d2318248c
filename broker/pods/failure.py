"""Failure of a pod by the node: terminate it at the provider, write a failed status, and record an event."""

import msgspec

from broker.dependencies import Dependencies
from broker.pods.accounting import Claims
from broker.pods.actions import grace_period
from broker.pods.admission import Rejection
from broker.pods.events import EventRecorder
from broker.pods.preemption import Disruption
from broker.pods.provider_state import ProviderState
from broker.pods.status_merge import terminal_status
from broker.pods.status_writer import StatusWriter
from broker.pods.store import PodSnapshot
from broker.pods.termination import PodTermination


class PodFailure:
    """Fails pods that the node rejects or ends.

    Args:
        dependencies: of the broker.
        termination: terminates pods at the provider.
        writer: writes the failed statuses.
        events: records their reasons.
        claims: the admitted pods, from which failed ones are released.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        termination: PodTermination,
        writer: StatusWriter,
        events: EventRecorder,
        claims: Claims,
    ) -> None:
        self._clock = dependencies.clock
        self._termination = termination
        self._writer = writer
        self._events = events
        self._claims = claims

    async def advance(
        self, snapshot: PodSnapshot, state: ProviderState, why: Rejection, disruption: Disruption | None = None
    ) -> float | None:
        """Advance the end of a running pod as far as possible now.

        Returns:
            Seconds until the next attempt; None where the failed status is written.

        Raises:
            BrokerError: retry.
        """
        uid, pod, grace = snapshot.stored.uid, snapshot.pod, grace_period(snapshot.pod)
        if disruption and disruption.grace is not None:
            grace = disruption.grace
            pod = {**pod, "metadata": {**pod["metadata"], "deletionGracePeriodSeconds": grace}}
        self._claims.mark_leaving(uid)
        delay = await self._termination.advance(pod, state, grace=grace)
        if delay is None:
            await self.write(snapshot, state, why, disruption=disruption)
            if state.pod is None:
                self._claims.release(uid)
        return delay

    async def write(
        self,
        snapshot: PodSnapshot,
        state: ProviderState,
        why: Rejection,
        *,
        prefix: str = "",
        disruption: Disruption | None = None,
    ) -> None:
        """Write a failed status, its message with a prefix, and record an event without it, as a kubelet does."""
        reported = state.status(snapshot.stored.uid)
        status = terminal_status(
            snapshot.pod,
            now=self._clock(),
            reported=msgspec.json.decode(reported) if reported else None,
            reason=why.reason,
            message=f"{prefix}{why.message}",
        )
        if disruption:
            status["conditions"] = [disruption.condition]
        await self._writer.write(snapshot, state, status, is_observed=True)
        self._events.record(snapshot.pod, "Warning", why.reason, why.message)
