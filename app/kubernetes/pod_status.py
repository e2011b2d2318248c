"""Assemble a `PodStatus` from the statuses of the pod's containers.

Source: `generateAPIPodStatus` of the kubelet.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

from app.core.timestamps import rfc3339
from app.kubernetes.conditions import ReasonAndMessage, build_conditions
from app.kubernetes.container_status import ContainerStatuses
from app.kubernetes.pod import Pod
from app.kubernetes.resources import QosClass, resource_status
from app.kubernetes.status import ContainerStatus, Phase, PodIP, PodStatus

_NAME = attrgetter("name")
DEADLINE_EXCEEDED_MESSAGE = "Pod was active on the node longer than the specified deadline"
"""The kubelet's message for a pod that fails with the reason `DeadlineExceeded`."""


class StatusBase(NamedTuple):
    """The values of a status that do not change while the pod exists.

    Attributes:
        pod: the pod.
        host_ips: the node's addresses; the first becomes `hostIP`.
        accepted_at: the time at which the node accepted the pod; the start time of a first status.
        qos: the pod's quality-of-service class.
    """

    pod: Pod
    host_ips: Sequence[str]
    accepted_at: datetime
    qos: QosClass


def assemble_pod_status(
    base: StatusBase,
    containers: ContainerStatuses,
    *,
    phase: Phase,
    sandbox: bool,
    pod_ips: Sequence[str],
    at: datetime,
    previous: PodStatus | None,
    why: tuple[str | None, str | None] = (None, None),
    also: Iterable[tuple[str, ReasonAndMessage | None]] = (),
) -> PodStatus:
    """Return the status of a pod.

    Args:
        base: the values that do not change while the pod exists.
        containers: the statuses of its containers.
        phase: its phase.
        sandbox: whether the pod has its sandbox and its network.
        pod_ips: the pod's addresses; the first becomes `podIP`. Empty before the pod has a network.
        at: the time from which this status holds.
        previous: the status until then; None for a new pod. A condition that does not change keeps its time.
        why: the reason and message of the pod itself.
        also: types of additional conditions that are true, each with its reason and message.
    """
    resources = resource_status(base.pod.spec.resources)
    return PodStatus(
        observed_generation=base.pod.metadata.generation,
        phase=phase,
        conditions=build_conditions(
            base.pod,
            containers,
            phase=phase,
            sandbox=sandbox,
            at=rfc3339(at),
            previous=previous.conditions if previous else (),
            also=also,
        ),
        reason=why[0],
        message=why[1],
        host_ip=base.host_ips[0],
        host_ips=tuple([PodIP(ip) for ip in base.host_ips]),
        pod_ip=pod_ips[0] if pod_ips else None,
        pod_ips=tuple([PodIP(ip) for ip in pod_ips]),
        start_time=previous.start_time if previous else rfc3339(base.accepted_at),
        init_container_statuses=tuple(containers.init),
        # A kubelet lists init containers in the order of the spec, and the others by name.
        container_statuses=_by_name(containers.regular),
        qos_class=base.qos,
        ephemeral_container_statuses=_by_name(containers.ephemeral),
        allocated_resources=resources.requests if resources else None,
        resources=resources,
    )


def _by_name(statuses: Sequence[ContainerStatus]) -> tuple[ContainerStatus, ...]:
    return tuple(statuses) if len(statuses) < 2 else tuple(sorted(statuses, key=_NAME))
