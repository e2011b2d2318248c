"""Pods to send."""

from typing import Any
from uuid import uuid4


def a_container(name: str = "web", **fields: Any) -> dict[str, Any]:
    """Return a container as an API server returns it."""
    return {"name": name, "image": "nginx:1.27", "env": [], "resources": {}, **fields}


def a_pod(
    name: str = "web-0",
    *,
    namespace: str = "default",
    uid: str | None = None,
    containers: list[dict[str, Any]] | None = None,
    metadata: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a Pod as the original broker sends it: without kind, with a status; each has another UID."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or str(uuid4()),
            "resourceVersion": "611",
            "generation": 1,
            "creationTimestamp": "2026-11-22T08:46:38Z",
            "labels": {"app": "web"},
            **(metadata or {}),
        },
        "spec": {"containers": containers or [a_container()], "restartPolicy": "Always", **spec},
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }
