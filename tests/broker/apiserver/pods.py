"""The rules of an API server that apply to pods only.

Compared with Kubernetes 1.36. Source: pkg/registry/core/pod/strategy.go, pkg/apis/core/validation.
"""

import ipaddress
from decimal import Decimal
from typing import Any

from broker.kubernetes.quantity import parse_quantity, whole
from tests.broker.apiserver.errors import Refusal, invalid

Object = dict[str, Any]


def set_defaults(pod: Object) -> None:
    """Set the defaults of a new pod, and remove the fields that a client may not set."""
    spec = pod["spec"]
    for field, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        "securityContext": {},
    }.items():
        spec.setdefault(field, value)
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        container.setdefault("resources", {})
        for port in container.get("ports", []):
            port.setdefault("protocol", "TCP")
            if spec.get("hostNetwork"):
                port.setdefault("hostPort", port["containerPort"])
        container.setdefault("imagePullPolicy", "IfNotPresent")
        for resource, limit in container["resources"].get("limits", {}).items():
            container["resources"].setdefault("requests", {}).setdefault(resource, limit)
    pod["status"] = {"phase": "Pending", "qosClass": _qos_class(spec)}


def grace_of(pod: Object, asked: int | None) -> int:
    """Return the grace period of a deletion, in seconds; 0 if no kubelet has containers to stop."""
    if not pod["spec"].get("nodeName") or pod["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    return max(pod["spec"]["terminationGracePeriodSeconds"] if asked is None else asked, 0)


def validate_spec(old: Object, new: Object, *, subresource: str) -> None:
    """Refuse changes of resources, except by the subresource `resize`, which changes nothing else.

    Raises:
        Refusal: 422.
    """
    before, after = (_without_resources(pod["spec"]) for pod in (old, new))
    if subresource == "resize":
        if before != after:
            raise invalid("spec: Forbidden: only cpu and memory resources are mutable")
        if _qos_class(new["spec"]) != old["status"]["qosClass"]:
            raise invalid("metadata: Invalid value: Pod QOS Class may not change as a result of resizing")
    elif old["spec"] != new["spec"] and before == after:
        raise invalid("spec: Forbidden: pod updates may not change fields other than image, tolerations and so on")


def admit_resize(pod: Object, node: Object | None) -> None:
    """Refuse a resize that the pod's node can never grant: the admission plugin PodResizeValidator of 1.36.

    Raises:
        Refusal: 403.
    """
    name = f'pods "{pod["metadata"]["name"]}" is forbidden: '
    if node is None:
        raise Refusal(403, "Forbidden", f'{name}node "{pod["spec"]["nodeName"]}" not found')
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    requests = [container["resources"].get("requests") or {} for container in pod["spec"]["containers"]]
    for resource, unit in (("cpu", Decimal("0.001")), ("memory", Decimal(1))):
        requested = sum((parse_quantity(each.get(resource, "0")) for each in requests), Decimal(0))
        there = parse_quantity(allocatable.get(resource, "0"))
        if requested > there:
            what = f"{resource}, requested: {whole(requested, unit)}, allocatable: {whole(there, unit)}"
            raise Refusal(403, "Forbidden", f"{name}node didn't have enough allocatable resources: {what}")


def _without_resources(spec: Object) -> Object:
    without = {
        kind: [{**c, "resources": {}} for c in spec.get(kind, [])] for kind in ("containers", "initContainers")
    }
    return {**spec, **without, "resources": {}}


def validate_status(old: Object, new: Object) -> None:
    """Refuse the statuses that a real API server refuses.

    Raises:
        Refusal: 422.
    """
    if old["metadata"]["uid"] != new["metadata"].get("uid"):
        raise invalid("metadata.uid: Invalid value: field is immutable")
    before, after = old["status"], new["status"]
    if before.get("qosClass") != after.get("qosClass"):
        raise invalid("status.qosClass: Invalid value: field is immutable")
    ips = [entry.get("ip") for entry in after.get("podIPs") or []]
    for ip in ips:
        try:
            ipaddress.ip_address(ip)
        except ValueError:
            raise invalid(f"status.podIPs: Invalid value: {ip!r}: must be a valid IP address") from None
    if len(ips) > 2 or len(set(ips)) < len(ips):
        raise invalid("status.podIPs: Invalid value: at most one of each IP family")
    for statuses in ("containerStatuses", "initContainerStatuses"):
        _validate_transitions(old["spec"], before.get(statuses) or [], after.get(statuses) or [])


def _validate_transitions(spec: Object, before: list[Object], after: list[Object]) -> None:
    states = {status["name"]: status.get("state", {}) for status in after}
    for status in before:
        ended = status.get("state", {}).get("terminated")
        if not ended or spec["restartPolicy"] == "Always":
            continue
        if spec["restartPolicy"] == "OnFailure" and ended["exitCode"] != 0:
            continue
        now = states.get(status["name"])
        if now is not None and "terminated" not in now:
            raise invalid("status: Forbidden: may not be transitioned to non-terminated state")


def _qos_class(spec: Object) -> str:
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    resources = [container["resources"] for container in containers]
    wanted = ("cpu", "memory")
    if not any(r.get(kind, {}).keys() & set(wanted) for r in resources for kind in ("requests", "limits")):
        return "BestEffort"
    for r in resources:
        limits, requests = r.get("limits", {}), r.get("requests", {})
        if any(name not in limits or requests.get(name) != limits[name] for name in wanted):
            return "Burstable"
    return "Guaranteed"
