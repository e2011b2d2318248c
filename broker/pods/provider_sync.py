"""Brings the provider's copy of a pod to the version in Kubernetes, one step at a time."""

from http import HTTPStatus

import structlog

from broker.dependencies import Dependencies
from broker.errors import BrokerError, ProviderError, ProviderRefused
from broker.kubernetes.objects import key
from broker.pods.actions import Action, PodVersion, decide
from broker.pods.events import EventRecorder
from broker.pods.payload_annotations import annotations_for
from broker.pods.prerequisites import PodWaits, Prerequisites
from broker.pods.provider_payload import digest, payload
from broker.pods.provider_state import ProviderState
from broker.pods.status_source import StatusSource
from broker.pods.store import PodSnapshot, StoredPod
from broker.pods.volumes.files import Volume
from broker.pods.workqueue import RetryLater
from broker.types import Object

_NO_UPDATES = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)

log = structlog.get_logger()


class PodRefused(BrokerError):
    """The provider permanently refuses to create the pod; the message is the provider's."""


class ProviderSync:
    """Creates, updates and deletes pods at the provider, and records an event for each attempt.

    Args:
        dependencies: of the broker.
        prerequisites: reads the objects that a pod needs.
        events: records the events.
        statuses: reads the status of a pod whose update answers 404.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        prerequisites: Prerequisites,
        events: EventRecorder,
        statuses: StatusSource,
    ) -> None:
        self._nodes = dependencies.nodes
        self._provider = dependencies.provider
        self._prerequisites = prerequisites
        self._events = events
        self._statuses = statuses

    async def sync(self, snapshot: PodSnapshot, state: ProviderState) -> bool:
        """Create the pod at the provider, or update it to the version of the snapshot.

        Returns:
            Whether the provider has accepted a create or an update.

        Raises:
            ProviderError: retry.
            PodWaits: an object that the pod needs does not exist yet, or the pod is too large for the provider.
            PodRefused: the pod cannot run at this provider.
            RetryLater: another pod of this name has to end first.
        """
        stored, payload_, written = snapshot.stored, {}, False
        volumes: list[Volume] | None = None
        if self._is_synced(stored, state):
            return False
        node = self._nodes.of(snapshot.pod)
        desired, faults = PodVersion(stored.uid), node.faults
        while (action := decide(desired, state.pod)) is not Action.NOTHING:
            match action:
                case Action.GET:
                    copy = await self._provider.get(stored.metadata.namespace, stored.metadata.name)
                    state.record_copy(copy, wanted=stored.uid)
                case Action.BUILD_PAYLOAD:
                    if not state.has(stored.uid):
                        volumes = await self._prerequisites.new_volumes(snapshot.pod, state)
                    environments = await self._prerequisites.environments(snapshot.pod, state)
                    annotations = annotations_for(snapshot.pod, node)
                    payload_ = payload(snapshot.pod, environments, annotations)
                    desired = PodVersion(stored.uid, digest(payload_))
                case Action.DELETE:
                    raise RetryLater("a pod of this name with another UID has to end first")
                case Action.CREATE:
                    if volumes is None:  # the provider has lost the pod since
                        volumes = await self._prerequisites.new_volumes(snapshot.pod, state)
                    await self._prerequisites.send_volumes(snapshot.pod, volumes)
                    await self._create(payload_, state)
                    state.record_written(desired)
                    written = True
                case Action.UPDATE:
                    if await self._update(payload_, stored.key, stored.uid):
                        state.record_written(desired)
                        written = True
                    else:
                        state.mark_absent()
        await self._prerequisites.refresh_volumes(snapshot.pod)
        state.acknowledge(stored.version if node.faults == faults else "")  # they may have changed since
        return written

    def _is_synced(self, stored: StoredPod, state: ProviderState) -> bool:
        return (
            state.acknowledged == stored.version
            and state.has(stored.uid)
            and not state.waiting(stored.uid)
            and self._prerequisites.volumes.is_current(stored.key)
        )

    async def delete(self, pod: Object) -> bool:
        """Delete a pod at the provider.

        Returns:
            False where the provider had no such pod.

        Raises:
            ProviderError: retry.
        """
        try:
            existed = await self._provider.delete(pod)
        except ProviderError as exc:
            self._events.record(pod, "Warning", "ProviderDeleteFailed", f"pod not deleted: {exc}")
            raise
        if existed:
            self._events.record(pod, "Normal", "ProviderDeleteSuccess", "pod deleted at the provider")
            log.info("pod deleted", **_log_fields(pod))
        return existed

    async def _create(self, pod: Object, state: ProviderState) -> None:
        try:
            await self._provider.create(pod)
        except ProviderError as exc:
            # Without an answer the pod may exist; with a refusal such as 409 it may have existed before.
            state.mark_unknown()
            self._events.record(pod, "Warning", "ProviderCreateFailed", f"pod not created: {exc}")
            if isinstance(exc, ProviderRefused) and exc.is_permanent:
                raise PodRefused(str(exc)) from exc
            if isinstance(exc, ProviderRefused) and exc.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise PodWaits(str(exc), retry_after=exc.retry_after) from exc
            raise
        self._events.record(pod, "Normal", "ProviderCreateSuccess", "pod created at the provider")
        log.info("pod created", **_log_fields(pod))

    async def _update(self, pod: Object, key: str, uid: str) -> bool:
        """Update a pod at the provider.

        A 404 has two meanings: the provider has lost the pod, or it has no such path. The status of the pod tells
        which. A provider without updates keeps its pods as they were created.

        Returns:
            False where the provider has lost the pod.
        """
        try:
            await self._provider.update(pod)
        except ProviderError as exc:
            if _is_not_found(exc) and (await self._statuses.poll(key, uid)).status is None:
                return False
            self._events.record(pod, "Warning", "ProviderUpdateFailed", f"pod not updated: {exc}")
            if isinstance(exc, ProviderRefused) and (exc.is_permanent or exc.code in _NO_UPDATES):
                return True  # a repetition would be refused too; the next change of the pod is sent
            raise
        self._events.record(pod, "Normal", "ProviderUpdateSuccess", "pod updated at the provider")
        log.info("pod updated", **_log_fields(pod))
        return True


def _is_not_found(error: ProviderError) -> bool:
    return isinstance(error, ProviderRefused) and error.code == HTTPStatus.NOT_FOUND


def _log_fields(pod: Object) -> dict[str, str]:
    return {"pod": key(pod), "uid": pod["metadata"].get("uid", "")}
