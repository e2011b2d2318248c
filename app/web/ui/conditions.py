"""The colours of conditions, by what they mean: `MemoryPressure` is well when it is False."""

from collections.abc import Mapping
from typing import Any

from app.pods.attention import Health

_UNWANTED: Mapping[str, Health] = {
    "DisruptionTarget": "failing",
    "PodResizePending": "progressing",
    "PodResizeInProgress": "progressing",
    "AllContainersRestarting": "progressing",
}
"""Conditions of a pod that are well when they are not True, and the health of a pod with them."""
_ENDED: Mapping[str, Health] = {"Succeeded": "completed", "Failed": "failing"}


def pod_condition_health(condition: Mapping[str, Any], phase: str) -> Health:
    """Return the health that a condition of a pod in a phase means.

    >>> pod_condition_health({"type": "DisruptionTarget", "status": "True"}, "Failed")
    'failing'
    >>> pod_condition_health({"type": "Ready", "status": "False"}, "Succeeded")
    'completed'
    """
    name, status = str(condition.get("type")), condition.get("status")
    if status not in ("True", "False"):
        return "unknown"
    if name in _UNWANTED:
        return _UNWANTED[name] if status == "True" else "healthy"
    if status == "True":
        return "healthy"
    if name == "PodReadyToStartContainers" and phase in _ENDED:  # the sandbox of a pod that has ended is removed
        return "unknown"
    return _ENDED.get(phase, "progressing")


def node_condition_health(condition: Mapping[str, Any]) -> Health:
    """Return the health that a condition of a node means: all but `Ready` are well when they are False."""
    if condition["status"] not in ("True", "False"):
        return "unknown"
    return "healthy" if (condition["status"] == "True") == (condition["type"] == "Ready") else "failing"
