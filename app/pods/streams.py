"""Streams of containers: find the pod, check that the container runs, and ask the runtime."""

import socket
from collections.abc import Sequence

from app.core.errors import NotFound
from app.kubernetes import status as statuses
from app.kubernetes.status import PodStatus
from app.pods.context import NodeContext
from app.pods.service import PodService
from app.runtimes import AcceptedPod, Session, StreamOptions


class Streams:
    """Starts sessions in the pods of one node.

    Every method may raise `DatabaseUnavailable`, and what the runtime raises.
    """

    def __init__(self, node: NodeContext, pods: PodService) -> None:
        self._node = node
        self._pods = pods

    def exec(
        self, namespace: str, name: str, container: str, command: Sequence[str], *, options: StreamOptions
    ) -> Session:
        """Start a command in a container.

        Raises:
            NotFound: the pod does not exist, or the container does not run.
        """
        pod = self._find(namespace, name, container)
        return self._node.runtime.exec(pod, container, command, options)

    def attach(self, namespace: str, name: str, container: str, options: StreamOptions) -> Session:
        """Attach to a container.

        Raises:
            NotFound: as :meth:`exec`.
        """
        pod = self._find(namespace, name, container)
        return self._node.runtime.attach(pod, container, options, status=lambda: self._status(namespace, name))

    def port_forward(self, namespace: str, name: str, port: int) -> socket.socket:
        """Return a socket that is connected to a port of a pod.

        Raises:
            NotFound: the pod does not exist, or has ended.
        """
        pod, text = self._pods.find(namespace, name)
        if statuses.decode_status(text).is_terminal:
            raise NotFound(f'pod "{name}" of namespace "{namespace}" has ended')
        return self._node.runtime.port_forward(pod, port)

    def _find(self, namespace: str, name: str, container: str) -> AcceptedPod:
        pod, text = self._pods.find(namespace, name)
        status = statuses.decode_status(text).container(container)
        if status is None:
            raise NotFound(f'container "{container}" is not in pod "{name}" of namespace "{namespace}"')
        if status.state.running is None:
            raise NotFound(f'container "{container}" in pod "{name}" is not running')
        return pod

    def _status(self, namespace: str, name: str) -> PodStatus:
        return statuses.decode_status(self._pods.status(namespace, name))
