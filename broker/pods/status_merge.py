"""Merges the provider's status of a pod into the status in Kubernetes, and keeps the fields of other writers.

Source: `mergePodStatus` and `TerminatePod` in `pkg/kubelet/status/status_manager.go`, `generate.go` beside it, and
"Pod conditions" in the documentation of Kubernetes.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from broker.kubernetes.objects import to_time
from broker.types import Object

PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
TERMINAL = ("Succeeded", "Failed")

_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")
"""The conditions that a kubelet owns; others belong to other clients."""
_SHARED_CONDITION = "DisruptionTarget"
RESIZE_PENDING = "PodResizePending"
_RESIZE_CONDITIONS = (RESIZE_PENDING, "PodResizeInProgress")
"""Conditions that a kubelet owns and that exist only while they are true."""
_KUBELET_FIELDS = (
    "conditions",
    "phase",
    "startTime",
    "qosClass",
    "nominatedNodeName",
    "resourceClaimStatuses",
    "extendedResourceClaimStatus",
)
_ADDRESSES = (("podIP", "podIPs"), ("hostIP", "hostIPs"))
_CONTAINERS = (
    ("initContainerStatuses", "initContainers"),
    ("containerStatuses", "containers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
)


def merge_status(
    pod: Object,
    reported: Object,
    *,
    now: datetime,
    host_ips: Sequence[str] = (),
    generation: int | None = None,
    pending_resize: Object | None = None,
) -> Object | None:
    """Merge a reported status into the status in Kubernetes.

    Args:
        pod: the pod in Kubernetes, with its status.
        reported: a PodStatus of the provider; absent and invalid fields leave the present value.
        now: current time, for changes without a time.
        host_ips: the node's InternalIPs.
        generation: generation of the pod at the provider; None where unknown.
        pending_resize: the condition `PodResizePending` of a resize that the node does not grant; it replaces the
            provider's.

    Returns:
        The complete new status; None without a change. A pod that has ended keeps its phase, reason and message,
        although the API server would accept others; the last statuses of its containers are still written.
    """
    current: Object = pod.get("status") or {}
    ended = current.get("phase") in TERMINAL
    if ended and reported.get("phase") not in TERMINAL:
        return None
    phase = current["phase"] if ended else _phase(current.get("phase"), reported.get("phase"))
    given = {name: value for name, value in reported.items() if name not in _KUBELET_FIELDS and value is not None}
    merged = {**current, **given, "phase": phase}
    for field in ("reason", "message"):  # of the present state, never of an earlier one
        merged[field] = current.get(field) if ended else given.get(field)
    merged["startTime"] = current.get("startTime") or reported.get("startTime") or to_time(now)
    merged["observedGeneration"] = (
        given.get("observedGeneration") or generation or current.get("observedGeneration")
    )
    _merge_addresses(merged, current, given, host_ips)
    for statuses, containers in _CONTAINERS:
        if statuses in given:
            merged[statuses] = _container_statuses(
                given[statuses], current.get(statuses) or (), pod["spec"], containers
            )
    given_conditions = _objects(reported.get("conditions"), "type")
    if pending_resize:
        given_conditions.append(pending_resize)
    merged["conditions"] = _merged_conditions(pod, merged, given_conditions, to_time(now))
    return None if _same(merged, current) else merged


def status_patch(pod: Object, status: Object) -> Object:
    """Return the strategic merge patch to a new status, with UID and `resourceVersion` as preconditions."""
    current: Object = pod.get("status") or {}
    changed = {name: value for name, value in status.items() if not _same(value, current.get(name))}
    if "conditions" in changed:  # merged by type
        before = {condition["type"]: condition for condition in current.get("conditions") or ()}
        changed["conditions"] = [
            condition for condition in status["conditions"] if not _same(condition, before.get(condition["type"]))
        ]
        removed = before.keys() - {condition["type"] for condition in status["conditions"]}
        changed["conditions"] += [{"$patch": "delete", "type": type_} for type_ in sorted(removed)]
    for _, plural in _ADDRESSES:  # merged by ip: without the directive, the old address would stay
        if plural in changed and current.get(plural):
            changed[plural] = [*changed[plural], {"$patch": "replace"}]
    metadata = pod["metadata"]
    return {
        "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        "status": changed,
    }


def terminal_status(
    pod: Object,
    *,
    now: datetime,
    reported: Object | None = None,
    reason: str | None = None,
    message: str | None = None,
) -> Object:
    """Return the status of a pod that has ended.

    A container whose end the provider has not reported has failed with exit code 137, as in a kubelet.

    Args:
        pod: the pod.
        now: current time.
        reported: last PodStatus of the provider; None: that in Kubernetes.
        reason: reason of the failure; None: the phase follows from the exit codes.
        message: message of the failure.
    """
    current: Object = pod.get("status") or {}
    status: Object = {**(reported or {}), "reason": reason, "message": message}
    for statuses, _ in _CONTAINERS:
        if containers := status.get(statuses) or current.get(statuses):
            status[statuses] = [_ended_container(container, to_time(now)) for container in containers]
    codes = [c["state"]["terminated"].get("exitCode", 0) for c in status.get("containerStatuses") or ()]
    succeeded = reason is None and codes and not any(codes)
    return {**status, "phase": "Succeeded" if succeeded else "Failed"}


def _phase(current: str | None, reported: object) -> str:
    if not isinstance(reported, str) or reported not in PHASES:
        return current or "Pending"
    # A pod that is created again at the provider starts as Pending; in Kubernetes, a running pod stays Running.
    return "Running" if current == "Running" and reported == "Pending" else reported


def _merge_addresses(merged: Object, current: Object, given: Object, host_ips: Sequence[str]) -> None:
    """Set `podIP` and `podIPs`, `hostIP` and `hostIPs` consistently: one valid address of each family."""
    for (single, plural), known in zip(_ADDRESSES, ((), host_ips), strict=True):
        listed = given.get(plural)
        entries = (
            [entry.get("ip") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        )
        found = _addresses([given.get(single), *entries])
        found = found or [entry["ip"] for entry in current.get(plural) or ()] or _addresses(known)
        merged[single] = found[0] if found else None
        merged[plural] = [{"ip": address} for address in found]


def _objects(listed: object, key: str) -> list[Object]:
    """Return the objects in a list that have a value under `key`."""
    entries = listed if isinstance(listed, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and entry.get(key)]


def _addresses(candidates: Iterable[object]) -> list[str]:
    found: dict[int, str] = {}
    for candidate in candidates:
        try:
            found.setdefault(ip_address(str(candidate)).version, str(candidate))
        except ValueError:
            continue
    return list(found.values())


def _container_statuses(
    reported: Iterable[Object], current: Iterable[Object], spec: Object, containers: str
) -> list[Object]:
    """Return the reported statuses; a terminated container that may not be restarted keeps its status."""
    before = {status["name"]: status for status in current}
    specs = {container["name"]: container for container in spec.get(containers) or ()}
    return [
        before[status["name"]]
        if _is_forbidden_restart(before.get(status["name"], {}), status, spec, specs.get(status["name"], {}))
        else status
        for status in reported
    ]


def _is_forbidden_restart(before: Object, after: Object, spec: Object, container: Object) -> bool:
    """Return whether the API server would refuse the next state of a container."""
    ended = (before.get("state") or {}).get("terminated")
    if not ended or (after.get("state") or {}).get("terminated"):
        return False
    if container.get("restartPolicy") or container.get("restartPolicyRules"):
        return False
    policy = spec.get("restartPolicy", "Always")
    return policy == "Never" or (policy == "OnFailure" and not ended.get("exitCode"))


def _merged_conditions(pod: Object, merged: Object, reported: Iterable[Object], now: str) -> list[Object]:
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
        "Initialized": given.get("Initialized") or _condition(uninitialized),
        "ContainersReady": containers_ready,
        "Ready": _ready(spec, containers_ready, foreign),
        "PodScheduled": {"status": "True"},
        **{type_: given[type_] for type_ in _RESIZE_CONDITIONS if not ended and _is_true(given.get(type_) or {})},
    }


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
        "observedGeneration": condition["observedGeneration"],
    }


def _ended_container(container: Object, now: str) -> Object:
    state = container.get("state") or {}
    if state.get("terminated"):
        return container
    terminated = {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "startedAt": (state.get("running") or {}).get("startedAt"),
        "finishedAt": now if state.get("running") else None,
        "containerID": container.get("containerID"),
    }
    return {**container, "ready": False, "started": False, "state": {"terminated": terminated}}


def _same(one: Any, other: Any) -> bool:
    """Compare decoded JSON as the API server does: absent, null, empty, zero and false are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other or (not one and not other)
