"""What is known of this node, for those who work with its pods."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.kubernetes.objects import Object


@dataclass
class NodeFacts:
    """The node as it was last told to Kubernetes; :mod:`broker.node` alone writes it.

    Attributes:
        name: the node's name.
        uid: the UID of its Node object; empty until it is registered.
        labels: the labels of its Node object, those of other parties included.
        capacity: resource to quantity, as the provider last said; empty until it has.
        allocatable: the same, less what pods may not have.
        addresses: NodeAddresses, the first of a type first; never without an InternalIP once it is registered.
        ready: whether the provider answers.
    """

    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    addresses: list[Object] = field(default_factory=list)
    ready: bool = False

    @property
    def host_ips(self) -> list[str]:
        """The node's own IPs, as a pod's `status.hostIPs` has them."""
        return [address["address"] for address in self.addresses if address["type"] == "InternalIP"]
