"""Pods to send."""

import json
from typing import Any
from uuid import uuid4

SECRET = "c0rrect-h0rse-battery-staple"


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


def a_secret_pod(secret: str = SECRET) -> dict[str, Any]:
    """Return a pod with a secret in each place where they are common."""
    env = [{"name": "PASSWORD", "value": secret}, {"name": "URL", "value": f"postgresql://u:{secret}@db/x"}]
    container = a_container(
        env=env,
        command=["sh", "-c", f"login {secret}"],
        args=[f"--password={secret}"],
        livenessProbe={"httpGet": {"port": 80, "httpHeaders": [{"name": "Authorization", "value": secret}]}},
    )
    applied = json.dumps({"spec": {"containers": [container]}})
    pod = a_pod(
        "vault-0",
        uid="uid-of-vault",
        metadata={"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}},
        containers=[container],
        initContainers=[{**container, "name": "setup"}],
    )
    # PostgreSQL quotes the first 64 characters of each column of a row that it refuses.
    return {"aFieldOfTomorrow": secret, **pod}
