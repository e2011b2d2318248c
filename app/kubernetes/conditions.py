"""Derive the pod conditions that a kubelet owns.

Source: `pkg/kubelet/status/generate.go` and `generateAPIPodStatus` in Kubernetes, and "Pod conditions" in its
documentation. The order is the one a kubelet writes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from app.kubernetes.container_status import ContainerStatuses
from app.kubernetes.phase import ContainerPair
from app.kubernetes.pod import Pod, PodSpec
from app.kubernetes.restart import can_restart_all, restarts_all
from app.kubernetes.status import ConditionStatus, PodCondition

ReasonAndMessage = tuple[str, str | None]
"""The reason and the message of a condition or a pod."""


def build_conditions(
    pod: Pod,
    containers: ContainerStatuses,
    *,
    phase: str,
    sandbox: bool,
    at: str,
    previous: Iterable[PodCondition] = (),
    also: Iterable[tuple[str, ReasonAndMessage | None]] = (),
) -> tuple[PodCondition, ...]:
    """Return the conditions that follow from the containers.

    Args:
        pod: the pod.
        containers: the statuses of its containers.
        phase: its phase.
        sandbox: whether it has its sandbox and its network.
        at: the time of this status, RFC 3339.
        previous: the previous conditions; a condition keeps its time while its status is the same.
        also: types of additional conditions that are true, each with its reason and message.
    """
    spec = pod.spec
    init = list(zip(spec.init_containers or (), containers.init, strict=True))
    regular = list(zip(spec.containers, containers.regular, strict=True))
    since = {condition.type: condition for condition in previous}

    def condition(type_: str, why: ReasonAndMessage | None = None, *, holds: bool = True) -> PodCondition:
        status: ConditionStatus = "True" if holds else "False"
        before = since.get(type_)
        return PodCondition(
            type=type_,
            status=status,
            observed_generation=pod.metadata.generation,
            last_probe_time=None,
            last_transition_time=before.last_transition_time if before and before.status == status else at,
            reason=why[0] if why else None,
            message=why[1] if why else None,
        )

    was_initialized = "Initialized" in since and since["Initialized"].status == "True"
    is_initialized, why_initialized = _initialized(phase, init, regular, was=was_initialized)
    unready = _unready(phase, init, regular)
    gates = unready or _gates(spec)
    return (
        *(condition(type_, why) for type_, why in also),
        condition("PodReadyToStartContainers", holds=sandbox),
        condition("Initialized", why_initialized, holds=is_initialized),
        condition("Ready", gates, holds=gates is None),
        condition("ContainersReady", unready, holds=unready is None),
        condition("PodScheduled"),
        *_restarting_all(spec, phase, (*init, *regular), condition),
    )


def _restarting_all(
    spec: PodSpec, phase: str, pairs: Sequence[ContainerPair], condition: Callable[..., PodCondition]
) -> Iterator[PodCondition]:
    """Yield the condition of a pod whose containers can all be restarted by the end of one."""
    if not can_restart_all(spec):
        return
    reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    is_restarting = any(
        status.state.terminated and restarts_all(container, exit_code=status.state.terminated.exit_code)
        for container, status in pairs
    )
    if reason or not is_restarting:
        yield condition("AllContainersRestarting", (reason, None) if reason else None, holds=False)
    else:
        why = "RestartAllContainersStarted", "container exited with restart policy rule"
        yield condition("AllContainersRestarting", why)


def _unready(
    phase: str, init: Sequence[ContainerPair], regular: Sequence[ContainerPair]
) -> ReasonAndMessage | None:
    if phase == "Succeeded":
        return "PodCompleted", None
    if phase == "Failed":
        return "PodFailed", None
    sidecars = [pair for pair in init if pair[0].restart_policy == "Always"]
    unready = [status.name for _, status in (*sidecars, *regular) if not status.ready]
    return ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]") if unready else None


def _gates(spec: PodSpec) -> ReasonAndMessage | None:
    """Return why the readiness gates are not met; None without gates.

    A gate is never met: its condition is set on the pod in the API server, and a provider does not receive it.
    """
    missing = [
        f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.'
        for gate in spec.readiness_gates or ()
    ]
    return ("ReadinessGatesNotReady", ", ".join(missing)) if missing else None


def _initialized(
    phase: str, init: Sequence[ContainerPair], regular: Sequence[ContainerPair], *, was: bool
) -> tuple[bool, ReasonAndMessage | None]:
    """Return whether the pod is initialized, and why.

    A sidecar must be started, any other init container must have succeeded. A pod that was initialized stays
    initialized, also while a sidecar restarts.
    """
    if phase == "Succeeded":
        return True, ("PodCompleted", None)
    if was or not init or any(not status.state.waiting for _, status in regular):
        return True, None
    incomplete = [
        status.name
        for container, status in init
        if not (status.started if container.restart_policy == "Always" else status.ready)
    ]
    if not incomplete:
        return True, None
    return False, ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]")
