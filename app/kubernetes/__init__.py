"""The Kubernetes types and rules that the provider implements: pods, statuses, phases, conditions, restarts.

Every function here is pure: it does no I/O and does not read the clock; a time is passed as an argument. The names
below are the ones that authors of runtimes need; the rest is for this provider.
"""

from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import (
    Container,
    ContainerPort,
    ObjectMeta,
    OwnerReference,
    Pod,
    PodSpec,
    Probe,
    ResourceRequirements,
)
from app.kubernetes.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Phase,
    PodCondition,
    PodIP,
    PodStatus,
    ResourceStatus,
    Transition,
)

__all__ = [
    "Container",
    "ContainerPort",
    "ContainerState",
    "ContainerStateRunning",
    "ContainerStateTerminated",
    "ContainerStateWaiting",
    "ContainerStatus",
    "Manifest",
    "ObjectMeta",
    "OwnerReference",
    "Phase",
    "Pod",
    "PodCondition",
    "PodIP",
    "PodSpec",
    "PodStatus",
    "Probe",
    "ResourceRequirements",
    "ResourceStatus",
    "Transition",
]
