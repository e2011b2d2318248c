"""The end of a pod that is deleted: the provider lets it go, Kubernetes hears how it ended, and forgets it.

Source: "Pod termination" in the documentation of Kubernetes. A pod is told to have ended before it is gone, since
Jobs wait for it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

import msgspec
import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, Conflict, NotFound
from broker.kubernetes.objects import Object
from broker.pods.provider_state import Ending, Record
from broker.pods.provider_sync import Provision
from broker.pods.status_merge import TERMINAL, ended_status
from broker.pods.status_writer import StatusWriter
from broker.pods.store import StoredPod
from broker.provider import Provider

_LOOK_DELAY = 1.0
"""Seconds between looks at a pod that takes its time to end; a provider that tells of changes is faster."""

_NEVER_TAKES = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)

log = structlog.get_logger()


class Deletion:
    """Takes pods to their end, as far as each can go now.

    Args:
        provider: the provider.
        client: deletes the pod.
        provision: has the provider let go.
        writer: writes the last status.
        clock: gives the time.
    """

    def __init__(
        self,
        provider: Provider,
        client: Client,
        provision: Provision,
        writer: StatusWriter,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._provider = provider
        self._client = client
        self._provision = provision
        self._writer = writer
        self._clock = clock

    async def advance(self, stored: StoredPod, record: Record) -> float | None:
        """Go on with the deletion of a pod.

        Returns:
            In how many seconds to look again; None where everything is done.

        Raises:
            ProviderError: try again; as long as the provider may have the pod, Kubernetes has it too.
            ApiError: try again.
        """
        pod = stored.decode()
        grace = stored.metadata.deletion_grace_period_seconds or 0
        ending = record.ending
        if ending is None or ending.uid != stored.uid or grace < ending.grace:
            if record.held is not None and not await self._provision.delete(pod):
                record.let_go()
            record.ending = ending = Ending(stored.uid, grace, asyncio.get_running_loop().time() + grace)
        if record.held is not None:
            if delay := await self._await_end(stored, record, pod, ending.deadline):
                return delay
            record.let_go()
        await self._finish(stored, record, pod)
        return None

    async def _await_end(self, stored: StoredPod, record: Record, pod: Object, deadline: float) -> float | None:
        """Look whether a pod has ended at the provider; give the seconds until the next look where it has not."""
        status = await self._provider.status(stored.metadata.namespace, stored.metadata.name)
        if status is None:
            return None
        record.report(stored.uid, status)
        reported = msgspec.json.decode(status)
        if reported.get("phase") in TERMINAL:
            return None
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            log.warning("a pod has not ended in its grace period", pod=stored.key, uid=stored.uid)
            await self._provision.delete(pod)
            return None
        await self._writer.write(stored, record, reported)
        return min(_LOOK_DELAY, left)

    async def _finish(self, stored: StoredPod, record: Record, pod: Object) -> None:
        if not stored.has_ended:
            last = msgspec.json.decode(record.reported(stored.uid) or b"{}")
            if last.get("phase") not in TERMINAL:
                last = ended_status(pod, now=self._clock())
            try:
                await self._writer.write(stored, record, last)
            except ApiError as exc:
                if exc.status not in _NEVER_TAKES:
                    raise
                # A status that cannot be written must not keep the pod for ever.
                log.warning("the last status of a pod is refused", pod=stored.key, uid=stored.uid, error=str(exc))
        if stored.metadata.deletion_grace_period_seconds == 0:
            return  # it goes by itself, once its finalizers are gone
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": stored.uid},
        }
        try:
            await self._client.delete(
                f"/api/v1/namespaces/{stored.metadata.namespace}/pods/{stored.metadata.name}", options
            )
        except (NotFound, Conflict):  # gone, or another of the same name by now: the watch will tell
            return
