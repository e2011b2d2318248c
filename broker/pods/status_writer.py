"""Writes the statuses of pods to Kubernetes."""

from collections.abc import Callable
from datetime import datetime

import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.errors import NotFound
from broker.kubernetes.objects import Object
from broker.node_info import NodeFacts
from broker.pods.provider_state import Record
from broker.pods.status_merge import merge_status, status_patch
from broker.pods.store import PodStore, StoredPod

log = structlog.get_logger()


class StatusWriter:
    """Merges what is reported into what Kubernetes has, and writes what differs.

    Args:
        client: writes it.
        store: has the pods, and gets them back as they were written.
        facts: has the node's addresses.
        clock: gives the time.
    """

    def __init__(
        self, client: Client, store: PodStore, facts: NodeFacts, *, clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._store = store
        self._facts = facts
        self._clock = clock

    async def write(self, stored: StoredPod, record: Record, reported: Object) -> None:
        """Write a status where it changes anything.

        Raises:
            Conflict: the pod has changed since; the watch will tell of it.
            ApiError: it could not be written.
        """
        pod = stored.decode()
        acknowledged = record.version == stored.version
        status = merge_status(
            pod,
            reported,
            now=self._clock(),
            host_ips=self._facts.host_ips,
            generation=pod["metadata"].get("generation") if acknowledged else None,
        )
        if status is None:
            return
        metadata = stored.metadata
        path = f"/api/v1/namespaces/{metadata.namespace}/pods/{metadata.name}/status"
        try:
            written = await self._client.patch(path, status_patch(pod, status))
        except NotFound:  # gone meanwhile; the watch will tell
            return
        if acknowledged:  # a status is nothing that a provider has to hear of
            record.version = written["metadata"]["resourceVersion"]
        self._store.written(stored, written)
        log.debug("status written", pod=stored.key, phase=status["phase"])
