"""Streams of containers: find the pod, check that the container runs, and ask the runtime."""

import os
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from app.core.errors import NotFound
from app.kubernetes.pod import PodReference
from app.pods.context import FleetContext
from app.pods.service import PodService
from app.runtimes import AcceptedPod, Session, StreamOptions


class Stream(NamedTuple):
    """A session, and the pod that it is in."""

    pod: PodReference
    session: Session


class Streams:
    """Starts sessions in the pods of one fleet.

    Every method may raise `DatabaseUnavailable`, and what the runtime raises.
    """

    def __init__(self, fleet: FleetContext, pods: PodService) -> None:
        self._fleet = fleet
        self._pods = pods

    def exec(
        self, namespace: str, name: str, container: str, command: Sequence[str], *, options: StreamOptions
    ) -> Stream:
        """Start a command in a container.

        Raises:
            NotFound: the pod does not exist, or the container does not run.
        """
        pod = self._find(namespace, name, container)
        return Stream(_reference(pod), self._fleet.runtime.exec(pod, container, command, options))

    def attach(self, namespace: str, name: str, container: str, options: StreamOptions) -> Stream:
        """Attach to a container.

        Raises:
            NotFound: as :meth:`exec`.
        """
        pod = self._find(namespace, name, container)
        read_status = partial(self._pods.current_status, namespace, name)
        session = self._fleet.runtime.attach(pod, container, options, status=read_status)
        return Stream(_reference(pod), session)

    def port_forward(self, namespace: str, name: str, port: int) -> Stream:
        """Connect to a TCP port of a pod.

        Raises:
            NotFound: the pod does not exist, or has ended.
        """
        pod, status = self._pods.find(namespace, name)
        if status.is_terminal:
            raise NotFound(f'pod "{name}" of namespace "{namespace}" has ended')
        with self._fleet.runtime.port_forward(pod, port) as connection:
            stdin = os.dup(connection.fileno())
            stdout = connection.detach()
        session = Session(stdin=stdin, stdout=stdout, wait=lambda: 0, hang_up=lambda: None)
        return Stream(_reference(pod), session)

    def _find(self, namespace: str, name: str, container: str) -> AcceptedPod:
        pod, pod_status = self._pods.find(namespace, name)
        status = pod_status.container(container)
        if status is None:
            raise NotFound(f'container "{container}" is not in pod "{name}" of namespace "{namespace}"')
        if status.state.running is None:
            raise NotFound(f'container "{container}" in pod "{name}" is not running')
        return pod


def _reference(pod: AcceptedPod) -> PodReference:
    metadata = pod.manifest.pod.metadata
    return PodReference(metadata.namespace, metadata.name, metadata.uid, node_name=pod.node_name)
