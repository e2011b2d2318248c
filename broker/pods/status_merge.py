"""The status of a pod as Kubernetes is told it: what the provider says, without undoing what others have written.

Source: `mergePodStatus` and `TerminatePod` in `pkg/kubelet/status/status_manager.go`, `generate.go` beside it, and
"Pod conditions" in the documentation of Kubernetes.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from broker.kubernetes.objects import Object, to_time

PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
TERMINAL = ("Succeeded", "Failed")

_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")
"""The conditions that a kubelet owns; every other one is somebody else's."""
_SHARED_CONDITION = "DisruptionTarget"
_NOT_THE_PROVIDERS = (
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
    pod: Object, reported: Object, *, now: datetime, host_ips: Sequence[str] = (), generation: int | None = None
) -> Object | None:
    """Merge what is reported of a pod into the status that Kubernetes has of it.

    Args:
        pod: the pod as Kubernetes has it, with its status.
        reported: a PodStatus, by any provider: what it leaves out stays, what is not valid counts as left out.
        now: the time of what has just changed and does not say when.
        host_ips: the node's addresses.
        generation: which generation of the pod the provider has, where that is known.

    Returns:
        The whole new status; None where nothing changes. A pod that has ended does not live again, whatever is
        reported: the API server would take it.
    """
    current: Object = pod.get("status") or {}
    ended = current.get("phase") in TERMINAL
    phase = _phase(current.get("phase"), reported.get("phase"))
    if ended and phase != current["phase"]:
        return None
    told = {
        name: value for name, value in reported.items() if name not in _NOT_THE_PROVIDERS and value is not None
    }
    merged = {**current, **told, "phase": phase}
    for field in ("reason", "message"):  # they belong to the present state, not to one that has passed
        merged[field] = told.get(field) or (current.get(field) if ended else None)
    merged["startTime"] = current.get("startTime") or reported.get("startTime") or to_time(now)
    merged["observedGeneration"] = (
        told.get("observedGeneration") or generation or current.get("observedGeneration")
    )
    _merge_addresses(merged, current, told, host_ips)
    for statuses, containers in _CONTAINERS:
        if statuses in told:
            merged[statuses] = _container_statuses(
                told[statuses], current.get(statuses) or (), pod["spec"], containers
            )
    merged["conditions"] = _merged_conditions(
        pod, merged, _objects(reported.get("conditions"), "type"), to_time(now)
    )
    return None if _same(merged, current) else merged


def status_patch(pod: Object, status: Object) -> Object:
    """Make the strategic merge patch that gives a pod a new status, if it is still the pod that was looked at."""
    current: Object = pod.get("status") or {}
    changed = {name: value for name, value in status.items() if not _same(value, current.get(name))}
    if "conditions" in changed:  # merged by type
        before = {condition["type"]: condition for condition in current.get("conditions") or ()}
        changed["conditions"] = [
            condition for condition in status["conditions"] if not _same(condition, before.get(condition["type"]))
        ]
    for _, plural in _ADDRESSES:  # merged by ip, so that a new one would stand beside the old one
        if plural in changed and current.get(plural):
            changed[plural] = [*changed[plural], {"$patch": "replace"}]
    metadata = pod["metadata"]
    return {
        "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        "status": changed,
    }


def ended_status(pod: Object, *, now: datetime, reason: str | None = None, message: str | None = None) -> Object:
    """Report the end of a pod about whose containers nothing more will be heard.

    A container that was not seen to end has failed, with the exit code 137, since nobody knows better.
    """
    current: Object = pod.get("status") or {}
    status: Object = {"reason": reason, "message": message}
    for statuses, _ in _CONTAINERS:
        if containers := current.get(statuses):
            status[statuses] = [_ended_container(container, to_time(now)) for container in containers]
    codes = [c["state"]["terminated"].get("exitCode", 0) for c in status.get("containerStatuses") or ()]
    succeeded = reason is None and codes and not any(codes)
    return {**status, "phase": "Succeeded" if succeeded else "Failed"}


def _phase(current: str | None, reported: object) -> str:
    if not isinstance(reported, str) or reported not in PHASES:
        return current or "Pending"
    # A provider that makes a pod anew starts it anew; to Kubernetes it is running since it once was.
    return "Running" if current == "Running" and reported == "Pending" else reported


def _merge_addresses(merged: Object, current: Object, told: Object, host_ips: Sequence[str]) -> None:
    """Have `podIP` and `podIPs`, `hostIP` and `hostIPs` say the same: of each family one, and only addresses."""
    for (single, plural), known in zip(_ADDRESSES, ((), host_ips), strict=True):
        listed = told.get(plural)
        entries = (
            [entry.get("ip") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        )
        found = _addresses([told.get(single), *entries])
        found = found or [entry["ip"] for entry in current.get(plural) or ()] or _addresses(known)
        merged[single] = found[0] if found else None
        merged[plural] = [{"ip": address} for address in found]


def _objects(listed: object, key: str) -> list[Object]:
    """Give the objects of a list that have what they are known by."""
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
    """Take the statuses that are reported, but let no container leave its end that may not be restarted."""
    before = {status["name"]: status for status in current}
    specs = {container["name"]: container for container in spec.get(containers) or ()}
    return [
        before[status["name"]]
        if _may_not_leave(before.get(status["name"], {}), status, spec, specs.get(status["name"], {}))
        else status
        for status in reported
    ]


def _may_not_leave(before: Object, after: Object, spec: Object, container: Object) -> bool:
    """Tell whether the API server would refuse a container's next state."""
    ended = (before.get("state") or {}).get("terminated")
    if not ended or (after.get("state") or {}).get("terminated"):
        return False
    if container.get("restartPolicy") or container.get("restartPolicyRules"):
        return False
    policy = spec.get("restartPolicy", "Always")
    return policy == "Never" or (policy == "OnFailure" and not ended.get("exitCode"))


def _merged_conditions(pod: Object, merged: Object, reported: Iterable[Object], now: str) -> list[Object]:
    current: list[Object] = (pod.get("status") or {}).get("conditions") or []
    before = {condition["type"]: condition for condition in current}
    told = {condition["type"]: condition for condition in reported}
    foreign = {type_: condition for type_, condition in before.items() if type_ not in _CONDITIONS}
    own = _own_conditions(pod["spec"], merged, told, foreign)
    if merged["phase"] in TERMINAL and _SHARED_CONDITION in told:
        own[_SHARED_CONDITION] = told[_SHARED_CONDITION]
    return [
        *(c for type_, c in foreign.items() if type_ not in own),
        *(_dated(type_, condition, before.get(type_), now) for type_, condition in own.items()),
    ]


def _own_conditions(
    spec: Object, merged: Object, told: Mapping[Any, Object], foreign: Mapping[str, Object]
) -> dict[str, Object]:
    """Give the conditions that a kubelet owns: the provider's, and what follows from its other words."""
    phase = merged["phase"]
    running, ended = phase == "Running", phase in TERMINAL
    uninitialized = None if running or ended or not spec.get("initContainers") else "ContainersNotInitialized"
    if ended:
        containers_ready = _condition("PodCompleted" if phase == "Succeeded" else "PodFailed")
    else:
        containers_ready = told.get("ContainersReady") or _containers_ready(spec, merged)
    ready = told.get("Ready") or containers_ready
    if not _is_true(containers_ready):
        ready = containers_ready
    elif _is_true(ready) and (unready := _unready_gates(spec, foreign)):
        ready = _condition("ReadinessGatesNotReady", ", ".join(unready))
    return {
        "PodReadyToStartContainers": told.get("PodReadyToStartContainers") or {"status": str(running)},
        "Initialized": told.get("Initialized") or _condition(uninitialized),
        "ContainersReady": containers_ready,
        "Ready": ready,
        "PodScheduled": {"status": "True"},
    }


def _condition(reason: str | None = None, message: str | None = None) -> Object:
    """Make a condition that holds unless there is a reason why it does not."""
    return {"status": str(reason is None), "reason": reason, "message": message}


def _is_true(condition: Object) -> bool:
    return str(condition.get("status")).capitalize() == "True"


def _containers_ready(spec: Object, status: Object) -> Object:
    statuses = status.get("containerStatuses")
    if not statuses:
        return _condition(None if status["phase"] == "Running" else "UnknownContainerStatuses")
    ready = {container["name"] for container in statuses if container.get("ready")}
    unready = [container["name"] for container in spec["containers"] if container["name"] not in ready]
    if not unready:
        return _condition()
    return _condition("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")


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
    """Write a condition over the one before; its time moves with its status, and with nothing else."""
    status = str(condition.get("status")).capitalize()
    since = condition.get("lastTransitionTime") or now
    if before and before.get("status") == status:
        since = before.get("lastTransitionTime") or since
    return {
        **(before or {}),
        "type": type_,
        "status": status,
        "lastTransitionTime": since,
        "reason": condition.get("reason"),
        "message": condition.get("message"),
        "observedGeneration": condition.get("observedGeneration") or (before or {}).get("observedGeneration"),
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
    """Compare JSON as the API server does, decoded: what is not there is null, empty, zero or false."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other or (not one and not other)
