"""Deletion of a pod: delete it at the provider, write its last status, then delete it from Kubernetes.

Source: "Pod termination" in the documentation of Kubernetes. The last status is written before the pod is gone,
since the Job controller counts it.
"""

import asyncio

import msgspec
import structlog

from broker.dependencies import Dependencies
from broker.kubernetes.errors import ApiError, Conflict, NotFound
from broker.pods.provider_state import ProviderState, Termination
from broker.pods.provider_sync import ProviderSync
from broker.pods.status_merge import TERMINAL, terminal_status
from broker.pods.status_source import StatusSource
from broker.pods.status_writer import StatusWriter
from broker.pods.store import PodSnapshot

_POLL_INTERVAL = 1.0
"""Seconds between polls of a terminating pod, where the provider does not report changes by itself."""

log = structlog.get_logger()


class PodDeletion:
    """Advances the deletion of pods.

    Args:
        dependencies: of the node.
        sync: deletes pods at the provider.
        statuses: reads the status of terminating pods.
        writer: writes the last status.
    """

    def __init__(
        self, dependencies: Dependencies, *, sync: ProviderSync, statuses: StatusSource, writer: StatusWriter
    ) -> None:
        self._client = dependencies.client
        self._clock = dependencies.clock
        self._sync = sync
        self._statuses = statuses
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
        termination = state.termination(stored.uid, grace)
        if termination is None:
            if state.pod is not None and not await self._sync.delete(snapshot.pod):
                state.mark_absent()
            termination = Termination(stored.uid, grace, asyncio.get_running_loop().time() + grace)
            state.record_termination(termination)
        if state.pod is not None:
            if delay := await self._await_end(snapshot, state, termination.deadline):
                return delay
            state.mark_absent()
        await self._finish(snapshot, state)
        return None

    async def _await_end(self, snapshot: PodSnapshot, state: ProviderState, deadline: float) -> float | None:
        """Poll a terminating pod.

        Returns:
            Seconds until the next poll; None where the pod has ended, is gone, or has exceeded its grace period.
        """
        stored = snapshot.stored
        status = (await self._statuses.poll(stored.key, stored.uid)).status
        if status is None:
            return None
        reported = msgspec.json.decode(status)
        if reported.get("phase") in TERMINAL:
            return None
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            log.warning("pod has exceeded its grace period", pod=stored.key, uid=stored.uid)
            await self._sync.delete(snapshot.pod)
            return None
        await self._writer.write(snapshot, state, reported)
        return min(_POLL_INTERVAL, left)

    async def _finish(self, snapshot: PodSnapshot, state: ProviderState) -> None:
        stored = snapshot.stored
        if not stored.has_ended:
            await self._write_last_status(snapshot, state)
        if stored.metadata.deletion_grace_period_seconds == 0:
            return  # the API server deletes the pod as soon as its finalizers are gone
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": stored.uid},
        }
        try:
            await self._client.delete(stored.path, options)
        except (NotFound, Conflict):  # deleted, or replaced by another pod of the same name; the watch reports it
            return

    async def _write_last_status(self, snapshot: PodSnapshot, state: ProviderState) -> None:
        stored = snapshot.stored
        last = msgspec.json.decode(state.status(stored.uid) or b"{}")
        if last.get("phase") not in TERMINAL:
            last = terminal_status(snapshot.pod, now=self._clock())
        try:
            await self._writer.write(snapshot, state, last)
        except ApiError as exc:
            if not exc.is_permanent:
                raise
            # A status that can never be written must not block the deletion.
            log.warning("last status of pod refused", pod=stored.key, uid=stored.uid, error=str(exc))
