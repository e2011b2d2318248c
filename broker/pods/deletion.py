"""Deletion of a pod: terminate it at the provider, write its last status, then delete it from Kubernetes.

Source: "Pod termination" in the documentation of Kubernetes. The last status is written before the pod is gone,
since the Job controller counts it.
"""

import msgspec
import structlog

from broker.dependencies import Dependencies
from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, Conflict, NotFound
from broker.kubernetes.objects import Metadata
from broker.pods.phase import is_terminal
from broker.pods.provider_state import ProviderState
from broker.pods.status_merge import terminal_status
from broker.pods.status_writer import StatusWriter
from broker.pods.store import PodSnapshot
from broker.pods.termination import PodTermination

log = structlog.get_logger()


class PodDeletion:
    """Advances the deletion of pods.

    Args:
        dependencies: of the broker.
        termination: terminates pods at the provider.
        writer: writes the statuses of terminating pods.
    """

    def __init__(self, dependencies: Dependencies, *, termination: PodTermination, writer: StatusWriter) -> None:
        self._client = dependencies.client
        self._clock = dependencies.clock
        self._termination = termination
        self._writer = writer

    async def advance(self, snapshot: PodSnapshot, state: ProviderState) -> float | None:
        """Advance the deletion of a pod as far as possible now.

        Returns:
            Seconds until the next attempt; None where the deletion is complete.

        Raises:
            ProviderError: retry; the pod stays in Kubernetes as long as the provider may have it.
            ApiError: retry.
        """
        stored = snapshot.stored
        grace = stored.metadata.deletion_grace_period_seconds or 0
        began_before = state.is_terminating(stored.uid)
        delay = await self._termination.advance(snapshot.pod, state, grace=grace)
        if delay is None:
            await self._finish(snapshot, state)
        # Most pods end within a second: for those, the status in which they begin to end is not written.
        elif began_before and (status := state.status(stored.uid)):
            await self._writer.write(snapshot, state, msgspec.json.decode(status), is_observed=True)
        return delay

    async def _finish(self, snapshot: PodSnapshot, state: ProviderState) -> None:
        stored = snapshot.stored
        await self._write_last_status(snapshot, state)
        if stored.metadata.deletion_grace_period_seconds == 0:
            return  # the API server deletes the pod as soon as its finalizers are gone
        await delete_now(self._client, stored.path, stored.metadata)

    async def _write_last_status(self, snapshot: PodSnapshot, state: ProviderState) -> None:
        stored = snapshot.stored
        status = state.status(stored.uid) or b"{}"
        last = msgspec.json.decode(status)
        if not is_terminal(status):
            if stored.has_ended:
                return
            last = terminal_status(snapshot.pod, now=self._clock(), reported=last)
        try:
            await self._writer.write(snapshot, state, last, is_observed=True)
        except ApiError as exc:
            if not exc.is_permanent:
                raise
            # A status that can never be written must not block the deletion.
            log.warning("last status of pod refused", pod=stored.key, uid=stored.uid, error=str(exc))


async def delete_now(client: Client, path: str, metadata: Metadata) -> None:
    """Delete a pod from Kubernetes without a grace period, if it is still the pod with this UID.

    Raises:
        ApiError: retry.
    """
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": metadata.uid},
    }
    try:
        await client.delete(path, options)
    except (NotFound, Conflict):  # deleted, or replaced by another pod of the same name; the watch reports it
        return
