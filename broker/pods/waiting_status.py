"""The status of a pod whose containers wait for objects of Kubernetes.

Source: `convertToAPIContainerStatuses` in `pkg/kubelet/kubelet_pods.go`.
"""

from collections.abc import Mapping

from broker.kubernetes.pods import CONTAINER_STATUSES
from broker.types import Object

_CONFIG_ERROR = "CreateContainerConfigError"


def waiting_status(pod: Object, waiting: Mapping[str, str]) -> Object:
    """Return the status of a pod that the provider does not have yet.

    Args:
        pod: the pod.
        waiting: container name → message, for the containers whose environment is incomplete.
    """
    spec = pod["spec"]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    others = {"reason": "PodInitializing" if init else "ContainerCreating"}
    status: Object = {"phase": "Pending", "observedGeneration": pod["metadata"].get("generation")}
    for kind, statuses in CONTAINER_STATUSES.items():
        if containers := spec.get(kind):
            status[statuses] = [
                _waiting(container, _config_error(waiting.get(container["name"])) or others)
                for container in containers
            ]
    if init:
        message = f"containers with incomplete status: [{' '.join(init)}]"
        reason = "ContainersNotInitialized"
        status["conditions"] = [{"type": "Initialized", "status": "False", "reason": reason, "message": message}]
    return status


def with_messages(reported: Object, waiting: Mapping[str, str]) -> Object:
    """Return a reported status with the messages of this broker, which has tried to read the missing objects.

    Args:
        reported: the provider's status of the pod.
        waiting: container name → message, for the containers whose environment is incomplete.
    """
    if not waiting:
        return reported
    changed = {
        statuses: [_with_message(status, waiting.get(status.get("name"))) for status in reported[statuses]]
        for statuses in CONTAINER_STATUSES.values()
        if isinstance(reported.get(statuses), list)
    }
    return {**reported, **changed}


def _waiting(container: Object, state: Object) -> Object:
    return {
        "name": container["name"],
        "image": container.get("image") or "",
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {"waiting": state},
    }


def _config_error(message: str | None) -> Object | None:
    return {"reason": _CONFIG_ERROR, "message": message} if message else None


def _with_message(status: Object, message: str | None) -> Object:
    state = (status.get("state") or {}).get("waiting") or {}
    if message is None or state.get("reason") != _CONFIG_ERROR:
        return status
    return {**status, "state": {"waiting": {**state, "message": message}}}
