"""The Kubernetes types and rules that the provider implements: pods, statuses, phases, conditions, restarts.

Every function here is pure: it does no I/O and does not read the clock; a time is passed as an argument. The names
below are the ones that authors of runtimes need; the rest is for this provider.
"""

from app.kubernetes.env import missing_object
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import (
    Container,
    ContainerPort,
    ContainerResizePolicy,
    ContainerRestartRule,
    ContainerRestartRuleOnExitCodes,
    Lifecycle,
    LifecycleHandler,
    ObjectMeta,
    OwnerReference,
    Pod,
    PodReadinessGate,
    PodReference,
    PodSpec,
    Probe,
    ResourceRequirements,
    SleepAction,
)
from app.kubernetes.stats import (
    ContainerStats,
    CPUStats,
    FsStats,
    MemoryStats,
    NodeMemoryStats,
    NodeStats,
    RlimitStats,
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
    "CPUStats",
    "Container",
    "ContainerPort",
    "ContainerResizePolicy",
    "ContainerRestartRule",
    "ContainerRestartRuleOnExitCodes",
    "ContainerState",
    "ContainerStateRunning",
    "ContainerStateTerminated",
    "ContainerStateWaiting",
    "ContainerStats",
    "ContainerStatus",
    "FsStats",
    "Lifecycle",
    "LifecycleHandler",
    "Manifest",
    "MemoryStats",
    "NodeMemoryStats",
    "NodeStats",
    "ObjectMeta",
    "OwnerReference",
    "Phase",
    "Pod",
    "PodCondition",
    "PodIP",
    "PodReadinessGate",
    "PodReference",
    "PodSpec",
    "PodStatus",
    "Probe",
    "ResourceRequirements",
    "ResourceStatus",
    "RlimitStats",
    "SleepAction",
    "Transition",
    "missing_object",
]
