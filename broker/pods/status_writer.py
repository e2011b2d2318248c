"""Writes the statuses of pods to Kubernetes, and records the events of their containers."""

import structlog

from broker.dependencies import Dependencies
from broker.kubernetes.errors import NotFound
from broker.pods.container_events import change_events
from broker.pods.events import EventRecorder
from broker.pods.provider_state import ProviderState
from broker.pods.status_merge import merge_status, status_patch
from broker.pods.store import PodSnapshot, PodStore
from broker.types import Object

log = structlog.get_logger()


class StatusWriter:
    """Merges a reported status into the status in Kubernetes, and writes the difference.

    Args:
        dependencies: of the broker.
        store: gets each pod as written.
        events: records the events that a kubelet would have recorded on the way to a written status.

    Attributes:
        in_progress: number of statuses that are being written.
    """

    def __init__(self, dependencies: Dependencies, store: PodStore, events: EventRecorder) -> None:
        self._client = dependencies.client
        self._nodes = dependencies.nodes
        self._clock = dependencies.clock
        self._store = store
        self._events = events
        self.in_progress = 0

    async def write(
        self,
        snapshot: PodSnapshot,
        state: ProviderState,
        reported: Object,
        *,
        pending_resize: Object | None = None,
        is_observed: bool = False,
    ) -> None:
        """Write a status, if it differs from the status in Kubernetes.

        Args:
            snapshot: the pod.
            state: state of the pod at the provider.
            reported: the status.
            pending_resize: the condition of a resize that is not granted.
            is_observed: whether the status takes the snapshot's generation into account, although the provider
                has not acknowledged that version.

        Raises:
            Conflict: the pod has changed since; its new version comes by the watch.
            ApiError: the status could not be written.
        """
        stored, pod = snapshot.stored, snapshot.pod
        is_acknowledged = state.acknowledged == stored.version
        if is_observed:
            reported = _without_generations(reported)
        status = merge_status(
            pod,
            reported,
            now=self._clock(),
            host_ips=self._nodes.of(pod).host_ips,
            generation=pod["metadata"].get("generation") if is_acknowledged or is_observed else None,
            pending_resize=pending_resize,
        )
        if status is None:
            return
        self.in_progress += 1
        try:
            written = await self._client.patch(f"{stored.path}/status", status_patch(pod, status))
        except NotFound:  # deleted meanwhile; the watch reports it
            return
        finally:
            self.in_progress -= 1
        # A change of the status alone needs no update of the provider; one of the node's faults meanwhile does.
        if state.acknowledged == stored.version:
            state.acknowledge(written["metadata"]["resourceVersion"])
        self._store.put_written(stored, written)
        # The answer, not what was sent: times in it are written as in the status before.
        for event in change_events(pod, pod.get("status") or {}, written.get("status") or {}):
            self._events.record(pod, **event._asdict())
        log.debug("status written", pod=stored.key, phase=status["phase"])


def _without_generations(status: Object) -> Object:
    """Return a status whose generations, also those of its conditions, are left to the broker."""
    conditions = status.get("conditions")
    if not isinstance(conditions, list):
        return {**status, "observedGeneration": None}
    plain = [
        {name: value for name, value in condition.items() if name != "observedGeneration"}
        if isinstance(condition, dict)
        else condition
        for condition in conditions
    ]
    return {**status, "observedGeneration": None, "conditions": plain}
