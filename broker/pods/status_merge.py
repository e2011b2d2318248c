"""Merges the provider's status of a pod into the status in Kubernetes, and keeps the fields of other writers.

Source: `mergePodStatus` and `TerminatePod` in `pkg/kubelet/status/status_manager.go`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from broker.kubernetes.objects import to_time
from broker.kubernetes.pods import CONTAINER_STATUSES
from broker.pods.conditions import latest_generation, merge_conditions
from broker.pods.phase import TERMINAL, merge_phase
from broker.types import Object

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
    phase = current["phase"] if ended else merge_phase(current.get("phase"), reported.get("phase"))
    given = {name: value for name, value in reported.items() if name not in _KUBELET_FIELDS and value is not None}
    merged = {**current, **given, "phase": phase}
    for field in ("reason", "message"):  # of the present state, never of an earlier one
        merged[field] = current.get(field) if ended else given.get(field)
    merged["startTime"] = current.get("startTime") or reported.get("startTime") or to_time(now)
    merged["observedGeneration"] = latest_generation(
        given.get("observedGeneration") or generation, current.get("observedGeneration")
    )
    _merge_addresses(merged, current, given, host_ips)
    for containers, statuses in CONTAINER_STATUSES.items():
        if statuses in given:
            merged[statuses] = _container_statuses(
                given[statuses], current.get(statuses) or (), pod["spec"], containers
            )
    given_conditions = objects(reported.get("conditions"), "type")
    if pending_resize:
        given_conditions.append(pending_resize)
    merged["conditions"] = merge_conditions(pod, merged, given_conditions, to_time(now))
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

    A container whose end the provider has not reported has failed with exit code 137, as in a kubelet. Containers
    that were not reached, because an init container before them was not done, keep their status.

    Args:
        pod: the pod.
        now: current time.
        reported: last PodStatus of the provider; None: that in Kubernetes.
        reason: reason of the failure; None: the phase follows from the exit codes.
        message: message of the failure.
    """
    current: Object = pod.get("status") or {}
    status: Object = {**(reported or {}), "reason": reason, "message": message}
    kinds = CONTAINER_STATUSES.values()
    listed = {kind: objects(status.get(kind) or current.get(kind), "name") for kind in kinds}
    unreached = _unreached(pod["spec"], listed["initContainerStatuses"], listed["containerStatuses"])
    for name, containers in listed.items():
        if containers or name in status:
            status[name] = [c if c["name"] in unreached else _ended_container(c, to_time(now)) for c in containers]
    codes = [_exit_code(container) for container in status.get("containerStatuses", ())]
    succeeded = reason is None and codes and not any(code != 0 for code in codes)
    return {**status, "phase": "Succeeded" if succeeded else "Failed"}


def objects(listed: object, key: str) -> list[Object]:
    """Return the objects in a list that have a value under `key`; none where it is not a list."""
    entries = listed if isinstance(listed, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and entry.get(key)]


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


def _addresses(candidates: Iterable[object]) -> list[str]:
    found: dict[int | None, str] = {}
    for candidate in candidates:
        found.setdefault(_ip_version(str(candidate)), str(candidate))
    found.pop(None, None)
    return list(found.values())


@lru_cache(maxsize=4096)
def _ip_version(text: str) -> int | None:
    """Return 4 or 6; None where the text is not an address."""
    try:
        return ip_address(text).version
    except ValueError:
        return None


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


def _unreached(spec: Object, init: Sequence[Object], regular: Sequence[Object]) -> set[str]:
    """Return the names of the containers that were not reached: an init container before them was not done."""
    last_run = max((index for index, container in enumerate(init) if _has_run(container)), default=0)
    unreached = {container["name"] for container in init[last_run + 1 :]}
    is_initialized = (
        not spec.get("initContainers") or any(map(_has_run, regular)) or (init and _is_done(spec, init[-1]))
    )
    return unreached if is_initialized else unreached | {container["name"] for container in regular}


def _is_done(spec: Object, last_init: Object) -> bool:
    """Return whether the last init container has succeeded, or is a sidecar that has started."""
    if spec["initContainers"][-1].get("restartPolicy") == "Always":
        return bool((last_init.get("state") or {}).get("running") and last_init.get("started"))
    return _exit_code(last_init) == 0


def _has_run(container: Object) -> bool:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    return bool(state.get("running") or state.get("terminated") or last.get("terminated"))


def _exit_code(container: Object) -> int | None:
    """Return the exit code of a container; None where it has not ended."""
    terminated = (container.get("state") or {}).get("terminated")
    return terminated.get("exitCode", 0) if terminated else None


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
    if one == other or (not one and not other):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return False
