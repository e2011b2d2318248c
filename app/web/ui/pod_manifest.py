"""Containers, ports and volumes of a manifest for the page of a pod, and commands of kubectl.

Fields that the provider does not read are stored as they were received: `env`, `volumes` and `volumeMounts` can be
any JSON.
"""

from shlex import quote
from typing import Any

from app.kubernetes.redact import Redactor
from app.web.ui.timeline import container_state, container_statuses


def containers(document: dict[str, Any], status: dict[str, Any], redact: Redactor) -> list[dict[str, Any]]:
    """Return a row of the table of containers for each container, from its spec and its status."""
    statuses = {container.get("name"): container for container in container_statuses(status)}
    return [
        _container(container, kind, statuses.get(container.get("name"), {}), redact)
        for field, kind in (("initContainers", "init"), ("containers", ""), ("ephemeralContainers", "ephemeral"))
        for container in document["spec"].get(field) or ()
    ]


def _container(spec: dict[str, Any], kind: str, status: dict[str, Any], redact: Redactor) -> dict[str, Any]:
    state, resources = status.get("state") or {}, spec.get("resources") or {}
    return {
        "name": spec.get("name"),
        "kind": kind,
        "image": spec.get("image") or "",
        "variables": [variable.get("name") for variable in _objects(spec.get("env"))],
        "requests": resources.get("requests") or {},
        "limits": resources.get("limits") or {},
        "state": container_state(status),
        "message": redact((state.get("waiting") or state.get("terminated") or {}).get("message")),
        "last": redact((status.get("lastState") or {}).get("terminated")),
        "restarts": status.get("restartCount", 0),
    }


def ports(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ports of the containers, each with the name of its container."""
    declared = _declared(document)
    return [{**port, "container": one.get("name")} for one in declared for port in one.get("ports") or ()]


def volumes(document: dict[str, Any]) -> list[dict[str, str]]:
    """Return name, type and source of each volume, and where containers mount it."""
    declared = _declared(document)
    mounts = [(one.get("name"), mount) for one in declared for mount in _objects(one.get("volumeMounts"))]
    found = []
    for volume in _objects(document["spec"].get("volumes")):
        kind = next((key for key in volume if key != "name"), "emptyDir")
        (source,) = _objects([volume.get(kind)]) or [{}]
        volume_name = volume.get("name")
        places = [f"{name}:{mount.get('mountPath')}" for name, mount in mounts if mount.get("name") == volume_name]
        found.append({
            "name": str(volume_name or ""),
            "kind": kind,
            "source": str(source.get("name") or source.get("secretName") or source.get("claimName") or ""),
            "mounts": ", ".join(places),
        })  # fmt: skip
    return found


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of an array; none if the value is not an array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _declared(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the init containers and the containers of a manifest."""
    return [*(document["spec"].get("initContainers") or ()), *document["spec"]["containers"]]


def commands(namespace: str, name: str, container: str) -> list[str]:
    """Return commands of kubectl about a pod."""
    pod = f"-n {quote(namespace)} {quote(name)}"
    return [
        f"kubectl describe pod {pod}",
        f"kubectl logs {pod} -c {quote(container)} --previous",
        f"kubectl logs {pod} -c {quote(container)} --follow",
        f"kubectl exec {pod} -c {quote(container)} -it -- sh",
        f"kubectl get events -n {quote(namespace)} --for pod/{quote(name)}",
        f"kubectl delete pod {pod}",
    ]
