"""The desired Node: the fields that the broker sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.settings import Settings
from broker.types import Object

ROLE_LABEL = "kubernetes.io/role"
FLEET_LABEL = "fleet.virtual-kubelet.io/name"
"""Name of the fleet that the Node was made for."""
METRICS_PATH = "metrics.k8s.io/resource-metrics-path"
"""Annotation by which metrics-server finds the metrics of a node that shares its port with others."""


@dataclass(frozen=True)
class NodeSpec:
    """The desired Node. Empty fields are left to the provider, or to other clients.

    Attributes:
        name: name of the node.
        labels: labels that the broker sets; others stay.
        annotations: annotations that the broker sets when it creates the Node; METRICS_PATH is kept so.
        taints: taints that the broker sets; those with other keys stay.
        absent_taints: keys of taints that are removed.
        operating_system: `linux` or `windows`.
        architecture: such as `amd64`.
        kubelet_version: the version that the node reports.
        capacity: resource name → quantity, in place of the provider's.
        allocatable: resource name → quantity, in place of the capacity.
        register_delay: seconds before the Node is created.
        start_delay: seconds before the containers of a pod start, at the synthetic runtime; None: the provider's.
        pool: name of the pool; empty for a node of the settings.
        drain: whether the pods are evicted before the node is removed.
        is_adopted: whether another client has made the Node: its labels, taints and capacity stay, and it is never
            created or deleted.
        is_leaving: whether the pools no longer have the node: its labels and taints stay until it is removed.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Object, ...] = ()
    absent_taints: frozenset[str] = frozenset()
    operating_system: str = "linux"
    architecture: str = "amd64"
    kubelet_version: str = "v1.36.0"
    capacity: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    register_delay: float = 0.0
    start_delay: float | None = None
    pool: str = ""
    drain: bool = False
    is_adopted: bool = False
    is_leaving: bool = False

    @classmethod
    def of_settings(cls, settings: Settings, name: str | None = None) -> "NodeSpec":
        """Return the node that the settings describe.

        Args:
            settings: settings of the broker; their labels override the defaults.
            name: name of the node, where it is one of several.
        """
        name = name or settings.node_name
        labels = {
            "type": "virtual-kubelet",
            ROLE_LABEL: "agent",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": settings.operating_system,
            "kubernetes.io/arch": settings.architecture,
            "node.kubernetes.io/exclude-from-external-load-balancers": "true",
            **settings.labels,
        }
        taint = settings.taint
        return cls(
            name,
            labels=labels,
            taints=(taint,) if taint else (),
            absent_taints=frozenset() if taint else frozenset({settings.taint_key}),
            operating_system=settings.operating_system,
            architecture=settings.architecture,
            kubelet_version=settings.kubelet_version,
        )
