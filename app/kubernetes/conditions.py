"""The conditions that a kubelet owns.

Source: `pkg/kubelet/status/generate.go` and `generateAPIPodStatus` in Kubernetes, and "Pod conditions" in its
documentation. The order is the one a kubelet writes.
"""

from collections.abc import Iterable, Sequence

from app.kubernetes.phase import ContainerPair
from app.kubernetes.pod import PodSpec
from app.kubernetes.status import ConditionStatus, PodCondition

ReasonAndMessage = tuple[str, str | None]
"""A reason and a message."""


def build_conditions(
    spec: PodSpec,
    *,
    phase: str,
    sandbox: bool,
    init: Sequence[ContainerPair],
    regular: Sequence[ContainerPair],
    at: str,
    previous: Iterable[PodCondition] = (),
    observed_generation: int | None = None,
    also: Iterable[tuple[str, ReasonAndMessage | None]] = (),
) -> tuple[PodCondition, ...]:
    """Derive the conditions from the containers.

    Args:
        spec: the pod.
        phase: its phase.
        sandbox: the pod has its sandbox and its network.
        init: the init containers with their statuses.
        regular: the containers with theirs, in the order of the spec.
        at: the time of this status, RFC 3339.
        previous: the conditions that held before; a condition keeps its time while its status is the same.
        observed_generation: the generation of the pod that this describes.
        also: types of further conditions that hold, with why.
    """
    since = {condition.type: condition for condition in previous}

    def condition(type_: str, why: ReasonAndMessage | None = None, *, holds: bool = True) -> PodCondition:
        status: ConditionStatus = "True" if holds else "False"
        before = since.get(type_)
        return PodCondition(
            type=type_,
            status=status,
            observed_generation=observed_generation,
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
    )


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
    """Readiness gates are conditions that others set on the API server's pod; a provider is not told of them."""
    missing = [
        f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.'
        for gate in spec.readiness_gates or ()
    ]
    return ("ReadinessGatesNotReady", ", ".join(missing)) if missing else None


def _initialized(
    phase: str, init: Sequence[ContainerPair], regular: Sequence[ContainerPair], *, was: bool
) -> tuple[bool, ReasonAndMessage | None]:
    """A sidecar has done its part once it is started, any other init container once it ended well.

    What was initialized once stays so, also while a sidecar starts anew.
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
