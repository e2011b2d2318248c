"""Containers, ports and volumes of a manifest for the page of a pod, and commands of kubectl."""

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
        "variables": [variable.get("name") for variable in spec.get("env") or ()],
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
    mounts = [(one.get("name"), mount) for one in declared for mount in one.get("volumeMounts") or ()]
    found = []
    for volume in document["spec"].get("volumes") or ():
        kind = next((key for key in volume if key != "name"), "emptyDir")
        source = volume.get(kind) or {}
        places = [
            f"{name}:{mount.get('mountPath')}" for name, mount in mounts if mount.get("name") == volume["name"]
        ]
        found.append({
            "name": volume["name"],
            "kind": kind,
            "source": str(source.get("name") or source.get("secretName") or source.get("claimName") or ""),
            "mounts": ", ".join(places),
        })  # fmt: skip
    return found


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
