"""Build the status of a simulated pod from the statuses of its containers.

Source: `generateAPIPodStatus` of the kubelet.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from app.kubernetes.conditions import ReasonAndMessage
from app.kubernetes.container_status import ContainerStatuses
from app.kubernetes.phase import ContainerPair, pod_phase
from app.kubernetes.pod_status import StatusBase, assemble_pod_status
from app.kubernetes.status import Phase, PodStatus
from app.runtimes.synthetic.pod import SimulatedPod
from app.runtimes.synthetic.resize import resize_conditions

_TERMINAL = ("Succeeded", "Failed")


def build_pod_status(
    pod: SimulatedPod,
    containers: ContainerStatuses,
    *,
    before: PodStatus | None,
    at: datetime,
    phase: Phase | None = None,
    why: ReasonAndMessage | None = None,
    also: Iterable[tuple[str, ReasonAndMessage | None]] = (),
) -> PodStatus:
    """Return the status of a simulated pod.

    Args:
        pod: the pod.
        containers: the statuses of its containers.
        before: the previous status; None for a new pod. A condition that does not change keeps its time.
        at: the time from which this status holds.
        phase: the phase, where it does not follow from the containers.
        why: the reason and message of the pod itself.
        also: types of additional conditions that are true, each with its reason and message.
    """
    init, regular, ephemeral = containers
    init_pairs: list[ContainerPair] = list(zip([c.spec for c in pod.init], init, strict=True))
    pairs: list[ContainerPair] = list(zip([c.spec for c in pod.regular], regular, strict=True))
    phase = phase or pod_phase(pod.spec, init=init_pairs, regular=pairs)
    if phase in _TERMINAL and any(status.state.running for status in (*init, *ephemeral)):
        # A kubelet reports a terminal phase only after every container has ended.
        phase = before.phase if before else "Pending"
    is_terminal = phase in _TERMINAL
    sandbox = not is_terminal and (
        at >= pod.sandbox_at or any(status.container_id for status in (*init, *regular))
    )
    if before and not is_terminal:
        also = [*also, *resize_conditions([*init_pairs, *pairs], pod.capacity)]
    return assemble_pod_status(
        StatusBase(pod.definition, pod.placement.host_ips, pod.accepted_at, pod.qos),
        containers,
        phase=phase,
        sandbox=sandbox,
        pod_ips=_pod_ips(pod, before, sandbox=sandbox, is_terminal=is_terminal),
        at=at,
        previous=before,
        why=why or (None, "; ".join(pod.problems) or None),
        also=also,
    )


def _pod_ips(pod: SimulatedPod, before: PodStatus | None, *, sandbox: bool, is_terminal: bool) -> Sequence[str]:
    """Return the pod's addresses: none before the sandbox exists, except on the host's network."""
    if before and before.pod_ips and (is_terminal or sandbox):
        return [address.ip for address in before.pod_ips]
    return pod.placement.pod_ips if sandbox or pod.placement.pod_ip is None else ()
