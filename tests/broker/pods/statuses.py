"""Statuses of a pod, and their merge, for the tests of the fields and of the conditions."""

from datetime import UTC, datetime
from typing import Any

from broker.pods.status_merge import merge_status
from tests.pods import a_pod

Object = dict[str, Any]
NOW = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)
BEFORE, AT_NOW, LATER = "2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z"
HOST = ["192.0.2.1", "2001:db8::1"]


def pod(status: Object | None = None, **spec: Any) -> Object:
    """Return a pod with its status in Kubernetes."""
    made = a_pod(uid="uid-1", metadata={"generation": 3, "resourceVersion": "7"}, **spec)
    return {**made, "status": {"phase": "Pending", "qosClass": "BestEffort", **(status or {})}}


def cond(type_: str, status: str = "True", time: str | None = BEFORE, **more: Any) -> Object:
    return {"type": type_, "status": status, **({"lastTransitionTime": time} if time else {}), **more}


def container(name: str = "web", state: Object | None = None, *, ready: bool = True) -> Object:
    """A container's status."""
    return {"name": name, "ready": ready, "state": state or {"running": {"startedAt": BEFORE}}}


OWN = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")
RUNNING = {
    "phase": "Running",
    "startTime": BEFORE,
    "podIP": "10.0.0.7",
    "conditions": [cond(type_) for type_ in OWN],
    "containerStatuses": [container()],
}


def merged(of: Object, reported: Object) -> Object:
    status = merge_status(of, reported, now=NOW, host_ips=HOST, generation=3)
    assert status is not None
    return status


def conditions(status: Object) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


def condition(status: Object, type_: str) -> Object:
    (found,) = [condition for condition in status["conditions"] if condition["type"] == type_]
    return {name: value for name, value in found.items() if value is not None}
