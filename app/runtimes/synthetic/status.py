"""A pod's status, put together from those of its containers.

Source: `generateAPIPodStatus` of the kubelet.
"""

from collections.abc import Iterable
from datetime import datetime

from app.core.timestamps import rfc3339
from app.kubernetes.conditions import ReasonAndMessage, build_conditions
from app.kubernetes.phase import ContainerPair, pod_phase
from app.kubernetes.status import ContainerStatus, Phase, PodIP, PodStatus
from app.runtimes.synthetic.pod import SimulatedPod
from app.runtimes.synthetic.resize import resizing

Statuses = tuple[ContainerStatus, ...]


def build_pod_status(
    pod: SimulatedPod,
    *,
    before: PodStatus | None,
    at: datetime,
    init: Statuses,
    regular: Statuses,
    ephemeral: Statuses,
    ended: Phase | None = None,
    why: ReasonAndMessage | None = None,
    also: Iterable[tuple[str, ReasonAndMessage | None]] = (),
) -> PodStatus:
    """Describe a pod.

    Args:
        life: its life.
        before: what its status was until now. What goes on unchanged keeps its times.
        at: the time of this status.
        init: its init containers, in the order of the spec, as are the others.
        regular: its containers.
        ephemeral: its ephemeral containers.
        ended: the phase in which it ends, where its containers alone do not say so.
        why: reason and message of the pod itself.
        also: types of further conditions that hold, with why.
    """
    spec = pod.spec
    init_pairs: list[ContainerPair] = [
        (container.spec, status) for container, status in zip(pod.init, init, strict=True)
    ]
    pairs: list[ContainerPair] = [
        (container.spec, status) for container, status in zip(pod.regular, regular, strict=True)
    ]
    now_phase = ended or pod_phase(spec, init=init_pairs, regular=pairs)
    if now_phase in ("Succeeded", "Failed") and any(status.state.running for status in init):
        now_phase = before.phase if before else "Pending"  # a kubelet tells the end when nothing runs any more
    is_terminal = now_phase in ("Succeeded", "Failed")
    sandbox = not is_terminal and (
        at >= pod.sandbox_at or any(status.container_id for status in (*init, *regular))
    )
    pod_ips: tuple[PodIP, ...] = ()
    if before and before.pod_ips and (is_terminal or sandbox):
        pod_ips = before.pod_ips
    elif sandbox or pod.placement.pod_ip is None:  # the host's network is there before the sandbox is
        pod_ips = tuple([PodIP(ip) for ip in pod.placement.pod_ips])
    host_ips = tuple([PodIP(ip) for ip in pod.placement.host_ips])
    if before and not is_terminal:
        also = [*also, *resizing([*init_pairs, *pairs], pod.capacity)]
    return PodStatus(
        observed_generation=pod.metadata.generation,
        phase=now_phase,
        conditions=build_conditions(
            spec,
            phase=now_phase,
            sandbox=sandbox,
            init=init_pairs,
            regular=pairs,
            at=rfc3339(at),
            previous=before.conditions if before else (),
            observed_generation=pod.metadata.generation,
            also=also,
        ),
        message=why[1] if why else "; ".join(pod.problems) or None,
        reason=why[0] if why else None,
        host_ip=host_ips[0].ip,
        host_ips=host_ips,
        pod_ip=pod_ips[0].ip if pod_ips else None,
        pod_ips=pod_ips,
        start_time=before.start_time if before else rfc3339(pod.accepted_at),
        init_container_statuses=init,
        # A kubelet lists init containers in the order of the spec, and the others by name.
        container_statuses=regular if len(regular) == 1 else tuple(sorted(regular, key=_name)),
        qos_class=pod.qos,
        ephemeral_container_statuses=tuple(sorted(ephemeral, key=_name)) if ephemeral else (),
    )


def _name(status: ContainerStatus) -> str:
    return status.name
