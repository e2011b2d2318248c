"""Status of a node: computed from the provider's report, written to Kubernetes on a change.

A change is a difference from the Node in Kubernetes, made here or by another client. During an interruption of the
lease, the node controller sets conditions to Unknown, and only the node sets them back.

Between two writes, the status of a node is kept as JSON, see :mod:`broker.node.status_json`.

Five minutes are the kubelet's: https://kubernetes.io/docs/reference/node/node-status/#heartbeats
"""

import asyncio
import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from broker.dependencies import Dependencies
from broker.kubernetes.quantity import is_extended, limited
from broker.node.applied import Applied
from broker.node.manifest import NotReady, is_stored, latest_conditions, node_status, status_patch
from broker.node.reporter import NodeReporter
from broker.node.status_json import StatusJson
from broker.node_info import NodeInfo
from broker.node_spec import METRICS_PATH, NodeSpec
from broker.sharing import shared, shared_mapping
from broker.types import Object

HEARTBEAT = 300.0
"""Seconds after which an unchanged status is written again."""
_RESOURCES = ("capacity", "allocatable")
_NO_STATUS = StatusJson.encode({})


class NodeStatus:
    """Computes and writes `status` of a Node.

    Args:
        dependencies: of the broker.
        node: the node; its capacity, addresses and readiness are updated.
        spec: what the node is to be.
        reporter: the provider's report.
        port: port of the kubelet API.
    """

    def __init__(
        self, dependencies: Dependencies, node: NodeInfo, spec: NodeSpec, *, reporter: NodeReporter, port: int
    ) -> None:
        self._client = dependencies.client
        self._clock = dependencies.clock
        self._random = dependencies.random
        self._node = node
        self._reporter = reporter
        self._port = port
        self._path = f"/api/v1/nodes/{node.name}/status"
        self._conditions = _NO_STATUS
        self._written: tuple[tuple[str, ...], ...] = ((), ())
        self._stored = _NO_STATUS
        self._due_at = 0.0
        self.spec = spec
        self.apply_report()

    def apply_report(self) -> None:
        """Update the node from the provider's report; resources of its spec or an adopted Node take precedence.

        The capacity of an adopted Node is that which the other client has set. Of any other node, no more is
        allocatable than the capacity, and an extended resource that another client has added to the capacity is
        allocatable, as with a kubelet:
        https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
        """
        spec, report = self.spec, self._reporter.of(self._node.name)
        capacity, allocatable = dict(report.capacity), dict(report.allocatable)
        if spec.is_adopted and (stored := self.stored).get("capacity"):
            capacity, allocatable = stored["capacity"], stored.get("allocatable") or {}
        capacity |= spec.capacity
        self._node.capacity = shared_mapping(capacity)
        if not spec.is_adopted:
            capacity = {**self._added_by_others(capacity), **capacity}
        wanted = {**capacity, **allocatable, **spec.capacity, **spec.allocatable}
        self._node.allocatable = shared_mapping(wanted if spec.is_adopted else limited(wanted, capacity))
        self._node.addresses = list(report.addresses)
        self._node.ready = self._reporter.ready

    def _added_by_others(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return the extended resources in the capacity in Kubernetes that the broker has not written."""
        known = {*own, *self._written[0]}
        stored: Mapping[str, str] = self.stored.get("capacity") or {}
        return {name: amount for name, amount in stored.items() if is_extended(name) and name not in known}

    def current(self, not_ready: NotReady | None = None) -> Object:
        """Compute the current status.

        Args:
            not_ready: a cause for which the node is not ready, other than a provider that does not answer.
        """
        if not_ready is None and not self._node.ready:
            not_ready = NotReady("ProviderUnavailable", self._reporter.error)
        if not_ready is None and (fault := self._node.faults.not_ready):
            not_ready = NotReady("NodeFault", fault)
        status = node_status(
            self.spec,
            self._node,
            self._reporter.of(self._node.name).conditions,
            not_ready=not_ready,
            before=self._known_conditions,
            port=self._port,
            now=self._clock(),
        )
        self._conditions = StatusJson.encode({"conditions": status["conditions"]})
        return status if self.is_reported else self._with_known_resources(status)

    def _with_known_resources(self, status: Object) -> Object:
        """Return a status with the resources in Kubernetes: the provider may start after the broker."""
        stored = self.stored
        return {**status, **{name: {**(stored.get(name) or {}), **status[name]} for name in _RESOURCES}}

    def adopt(self, node: Object, *, is_new: bool) -> None:
        """Continue from the status in Kubernetes.

        Args:
            node: the Node, with a status that the registration or an earlier process has written.
            is_new: whether the registration has written it now.
        """
        if is_new:
            self._set_due()
        status: Object = node.get("status") or {}
        self._written = _resources(status, Applied.read(node).resources if Applied.is_on(node) else None)
        self._conditions = _NO_STATUS  # computed for a Node that was not created
        self.observe(status)
        self.apply_report()

    def observe(self, status: Object) -> None:
        """Record the status in Kubernetes, written by this process or another client."""
        self._stored = StatusJson.encode(status)
        latest = latest_conditions(self._known_conditions, status.get("conditions") or ())
        self._conditions = StatusJson.encode({"conditions": latest})

    @property
    def stored(self) -> Object:
        """The status in Kubernetes, as last observed."""
        return self._stored.decode()

    @property
    def _known_conditions(self) -> list[Object]:
        return self._conditions.decode().get("conditions") or []

    async def write(self, status: Object) -> None:
        """Write a status to Kubernetes.

        Raises:
            ApiError: the status was not written.
        """
        metrics_path = self.spec.annotations.get(METRICS_PATH)
        written = dict(zip(_RESOURCES, self._written, strict=True))
        before = self._stored
        patch = status_patch(status, written=written, stored=self.stored, metrics_path=metrics_path)
        node = await self._client.patch(self._path, patch)
        if self.is_reported:
            self._written = _resources(status)
        self._set_due()
        if self._stored is before:  # the watch has delivered no other, which may be newer
            self.observe(node.get("status") or {})

    def _set_due(self) -> None:
        """Set the time of the next heartbeat; those of nodes that were registered together are spread."""
        self._due_at = asyncio.get_running_loop().time() + HEARTBEAT * self._random.uniform(0.5, 1.0)

    @property
    def is_reported(self) -> bool:
        """Whether the provider has answered for the node since the start."""
        return self._reporter.has_read(self._node.name)

    @property
    def is_current(self) -> bool:
        """Whether Kubernetes has the current status, whatever its heartbeat."""
        return is_stored(self.current(), self.stored)

    @property
    def seconds_to_heartbeat(self) -> float:
        """Seconds after which the status is due to be written again."""
        return max(self._due_at - asyncio.get_running_loop().time(), 0)

    async def write_if_due(self) -> None:
        """Write the status if it differs from the one in Kubernetes, or if its heartbeat is due.

        Raises:
            ApiError: the status was not written.
        """
        status = self.current()
        if not self.seconds_to_heartbeat or not is_stored(status, self.stored):
            await self.write(status)


def _resources(status: Object, own: Collection[str] | None = None) -> tuple[tuple[str, ...], ...]:
    """Return the names of the resources in the capacity of a status, and in its allocatable ones.

    Args:
        status: the status.
        own: the extended resources that count; None for all.
    """
    names = (
        tuple(r for r in status.get(name) or () if own is None or r in own or not is_extended(r))
        for name in _RESOURCES
    )
    return shared(tuple(names))


def own_ip(server: str) -> str:
    """Return the local IP address of connections to a server; 127.0.0.1 where the server cannot be reached.

    Args:
        server: URL of the API server.
    """
    parts = urlsplit(server)
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # a datagram socket sends nothing here
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
