"""Node capacity, addresses, labels, taints and identity, as used by the parts that work on pods."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.faults import NONE, Faults, parse_faults
from broker.sharing import shared, shared_mapping
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
        measured_pressures: condition such as `MemoryPressure` → whether it holds, for each resource with an
            eviction threshold.
        evictions: eviction signal such as `memory.available` → number of pods that were evicted for it.
        faults: faults that annotations of the Node object describe.
        start_delay: seconds before the containers of a pod start; None: the provider's.
    """

    name: str
    operating_system: str = "linux"
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    capacity: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    addresses: list[Object] = field(default_factory=list)
    ready: bool = False
    measured_pressures: Mapping[str, bool] = field(default_factory=dict)
    evictions: Counter[str] = field(default_factory=Counter)
    faults: Faults = NONE
    holds_lease: bool = False
    start_delay: float | None = None

    def observe(self, node: Object) -> None:
        """Record a Node object: its UID, labels, taints and faults."""
        self.uid = node["metadata"]["uid"]
        labels = node["metadata"].get("labels") or {}
        self.labels = {shared(name): shared(value) for name, value in labels.items()}
        self.taints = [shared_mapping(taint) for taint in (node.get("spec") or {}).get("taints") or ()]
        self.faults = parse_faults(node["metadata"].get("annotations") or {})

    @property
    def pressures(self) -> Mapping[str, bool]:
        """Condition → whether it holds: as measured, or by a fault."""
        return {**self.measured_pressures, **dict.fromkeys(self.faults.pressures, True)}

    @property
    def is_active(self) -> bool:
        """Whether the pods of the node are reconciled."""
        return self.holds_lease and not self.faults.partition

    @property
    def has_vanished(self) -> bool:
        """Whether the Node was deleted by a fault: it is not registered again."""
        return not self.uid and self.faults.vanish

    @property
    def is_cut_off(self) -> bool:
        """Whether a fault keeps the broker from renewing the lease and writing the Node."""
        return self.faults.partition or self.has_vanished

    @property
    def host_ips(self) -> list[str]:
        """The node's InternalIPs, for `status.hostIPs` of its pods."""
        return [address["address"] for address in self.addresses if address["type"] == "InternalIP"]
