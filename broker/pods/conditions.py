"""The conditions of a pod: those that a kubelet owns, beside those of other clients.

Source: `pkg/kubelet/status/generate.go`, and "Pod conditions" in the documentation of Kubernetes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from broker.pods.phase import TERMINAL
from broker.types import Object

_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")
"""The conditions that a kubelet owns; others belong to other clients."""
_SHARED_CONDITION = "DisruptionTarget"
RESIZE_PENDING = "PodResizePending"
RESIZE_IN_PROGRESS = "PodResizeInProgress"
_RESIZE_CONDITIONS = (RESIZE_PENDING, RESIZE_IN_PROGRESS)
"""Conditions that a kubelet owns and that exist only while they are true."""


def merge_conditions(pod: Object, merged: Object, reported: Iterable[Object], now: str) -> list[Object]:
    """Merge reported conditions into those in Kubernetes, and keep the ones of other clients.

    Args:
        pod: the pod in Kubernetes, with its status.
        merged: the rest of the new status.
        reported: the conditions that the provider reports, each with a type.
        now: current time, for transitions without a time.
    """
    before = {condition["type"]: condition for condition in (pod.get("status") or {}).get("conditions") or ()}
    given = {condition["type"]: condition for condition in reported}
    foreign = {
        type_: condition for type_, condition in before.items() if type_ not in (*_CONDITIONS, *_RESIZE_CONDITIONS)
    }
    own = _own_conditions(pod["spec"], merged, given, foreign)
    if merged["phase"] in TERMINAL and _SHARED_CONDITION in given:
        own[_SHARED_CONDITION] = given[_SHARED_CONDITION]
    kept = {type_: condition for type_, condition in before.items() if type_ in foreign or type_ in own}
    generation = {"observedGeneration": merged["observedGeneration"]}
    dated = {
        type_: _dated(type_, generation | condition, before.get(type_), now) for type_, condition in own.items()
    }
    return list({**kept, **dated}.values())  # in the order that the API server has


def _own_conditions(
    spec: Object, merged: Object, given: Mapping[Any, Object], foreign: Mapping[str, Object]
) -> dict[str, Object]:
    """Return the conditions that a kubelet owns: as reported, or derived from the rest of the status."""
    phase = merged["phase"]
    running, ended = phase == "Running", phase in TERMINAL
    uninitialized = None if running or ended or not spec.get("initContainers") else "ContainersNotInitialized"
    if ended:
        containers_ready = _condition("PodCompleted" if phase == "Succeeded" else "PodFailed")
    else:
        containers_ready = given.get("ContainersReady") or _containers_ready(spec, merged, given.get("Ready"))
    return {
        "PodReadyToStartContainers": given.get("PodReadyToStartContainers") or {"status": str(running)},
        "Initialized": _of_phase(given.get("Initialized") or _condition(uninitialized), phase),
        "ContainersReady": containers_ready,
        "Ready": _ready(spec, containers_ready, foreign),
        "PodScheduled": {"status": "True"},
        **{type_: given[type_] for type_ in _RESIZE_CONDITIONS if not ended and _is_true(given.get(type_) or {})},
    }


def _of_phase(initialized: Object, phase: str) -> Object:
    """Return a condition `Initialized`: a pod that the node has ended is not completed, as its containers are."""
    if phase == "Failed" and initialized.get("reason") == "PodCompleted":
        return {**initialized, "reason": None}
    return initialized


def latest_generation(*known: object) -> int | None:
    """Return the highest of some generations: what has been observed stays so. None where there is none."""
    return max((generation for generation in known if isinstance(generation, int)), default=None)


def is_resizing(status: Object | None) -> bool:
    """Return whether a status has the condition of a resize in progress."""
    conditions = (status or {}).get("conditions")
    listed = conditions if isinstance(conditions, list) else []
    return any(isinstance(found, dict) and found.get("type") == RESIZE_IN_PROGRESS for found in listed)


def _condition(reason: str | None = None, message: str | None = None) -> Object:
    """Return a condition that is True without a reason, and False with one."""
    return {"status": str(reason is None), "reason": reason, "message": message}


def _is_true(condition: Object) -> bool:
    return str(condition.get("status")).capitalize() == "True"


def _ready(spec: Object, containers_ready: Object, foreign: Mapping[str, Object]) -> Object:
    """Return the Ready condition: ContainersReady and every readiness gate, whatever the provider reports.

    Only Kubernetes has the conditions of the gates, so a provider cannot compute it.
    """
    if not _is_true(containers_ready) or not spec.get("readinessGates"):
        return containers_ready
    unready = _unready_gates(spec, foreign)
    return _condition("ReadinessGatesNotReady", ", ".join(unready)) if unready else _condition()


def _containers_ready(spec: Object, status: Object, reported_ready: Object | None) -> Object:
    """Return ContainersReady from the statuses of containers and sidecars.

    Without such statuses, the reported Ready condition is used, then the phase.
    """
    if not status.get("containerStatuses"):
        return reported_ready or _condition(None if status["phase"] == "Running" else "UnknownContainerStatuses")
    statuses = [*(status.get("initContainerStatuses") or ()), *status["containerStatuses"]]
    ready = {container["name"]: bool(container.get("ready")) for container in statuses}
    sidecars = [c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    needed = [*sidecars, *(container["name"] for container in spec["containers"])]
    unknown = [name for name in needed if name not in ready]
    unready = [name for name in needed if not ready.get(name, True)]
    messages = [
        f"containers with {what} status: [{' '.join(names)}]"
        for what, names in (("unknown", unknown), ("unready", unready))
        if names
    ]
    return _condition("ContainersNotReady", ", ".join(messages)) if messages else _condition()


def _unready_gates(spec: Object, foreign: Mapping[str, Object]) -> list[str]:
    messages = []
    for gate in spec.get("readinessGates") or ():
        condition = foreign.get(name := gate["conditionType"])
        if condition is None:
            messages.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif condition.get("status") != "True":
            messages.append(
                f'the status of pod readiness gate "{name}" is not "True", but {condition.get("status")}'
            )
    return messages


def _dated(type_: str, condition: Object, before: Object | None, now: str) -> Object:
    """Return a condition merged into the previous one; the transition time changes with the status only."""
    status = str(condition.get("status")).capitalize()
    since = condition.get("lastTransitionTime") or now
    if type_ == RESIZE_PENDING and before and before.get("reason") != condition.get("reason"):
        before = None  # from Deferred to Infeasible or back: as a kubelet, a transition
    if before and before.get("status") == status:
        since = before.get("lastTransitionTime") or since
    return {
        **(before or {}),
        "type": type_,
        "status": status,
        "lastTransitionTime": since,
        "reason": condition.get("reason"),
        "message": condition.get("message"),
        "observedGeneration": latest_generation(
            condition["observedGeneration"], (before or {}).get("observedGeneration")
        ),
    }
