"""Node capacity, addresses, labels, taints and identity, as used by the parts that work on pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.types import Object


@dataclass
class NodeInfo:
    """The node as last read from and written to Kubernetes.

    Attributes:
        name: name of the node.
        operating_system: `linux` or `windows`.
        uid: UID of the Node object; empty until the node is registered.
        labels: labels of the Node object, including those set by other clients.
        taints: taints of the Node object, including those set by other clients.
        capacity: resource name → quantity, as last reported by the provider; empty until the first report.
        allocatable: resource name → quantity available to pods.
        addresses: NodeAddresses, in the order of preference; has an InternalIP once the node is registered.
        ready: whether the provider answers.
        holds_lease: whether this broker holds the lease of the node; without it, nothing is written.
        pressures: condition such as `MemoryPressure` → whether it holds, for each resource with an eviction
            threshold.
        start_delay: seconds before the containers of a pod start; None: the provider's.
    """

    name: str
    operating_system: str = "linux"
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Object] = ()
    capacity: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    addresses: list[Object] = field(default_factory=list)
    ready: bool = False
    pressures: Mapping[str, bool] = field(default_factory=dict)
    holds_lease: bool = False
    start_delay: float | None = None

    def observe(self, node: Object) -> None:
        """Record a Node object: its UID, labels and taints."""
        self.uid = node["metadata"]["uid"]
        self.labels = node["metadata"].get("labels") or {}
        self.taints = (node.get("spec") or {}).get("taints") or ()

    @property
    def is_active(self) -> bool:
        """Whether the pods of the node are reconciled."""
        return self.holds_lease

    @property
    def host_ips(self) -> list[str]:
        """The node's InternalIPs, for `status.hostIPs` of its pods."""
        return [address["address"] for address in self.addresses if address["type"] == "InternalIP"]
