"""Fields of a Pod that several parts read, and the paths and bodies of requests about one."""

from collections.abc import Iterator

from broker.kubernetes.objects import Metadata, controller
from broker.types import Object

CONTAINER_STATUSES = {
    "initContainers": "initContainerStatuses",
    "containers": "containerStatuses",
    "ephemeralContainers": "ephemeralContainerStatuses",
}
"""Each kind of containers: field of the spec → field of the status."""


def containers(pod: Object) -> Iterator[Object]:
    """Yield the containers of a pod of every kind."""
    for kind in CONTAINER_STATUSES:
        yield from (pod.get("spec") or {}).get(kind) or ()


def is_mirror(pod: Object) -> bool:
    """Return whether a pod represents a static pod of a kubelet."""
    return "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or {})


def is_of_daemon_set(pod: Object) -> bool:
    """Return whether the controller of a pod is a DaemonSet."""
    owner = controller(pod)
    return owner is not None and owner.get("kind") == "DaemonSet"


def pod_path(metadata: Metadata) -> str:
    """Return the path of a pod at the API server."""
    return f"/api/v1/namespaces/{metadata.namespace}/pods/{metadata.name}"


def eviction(pod: Metadata, *, grace_period: int | None = None) -> Object:
    """Return the Eviction of a pod, and of no replacement that has its name.

    Args:
        pod: metadata of the pod.
        grace_period: seconds; None: that of the pod.
    """
    grace = {} if grace_period is None else {"gracePeriodSeconds": grace_period}
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}, **grace},
    }
