"""Nodes and pods of a fleet as the API server has them."""

from tests.broker.apiserver import ApiServer


def ready(api: ApiServer, name: str) -> bool:
    """Return whether a Node exists and is ready."""
    node = api.store.find("nodes", name) or {}
    conditions = node.get("status", {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def messages(api: ApiServer, name: str) -> list[str]:
    """Return the messages of the conditions of a Node; none if it does not exist."""
    node = api.store.find("nodes", name) or {}
    return [c["message"] for c in node.get("status", {}).get("conditions") or []]


def phase(api: ApiServer, name: str) -> str | None:
    """Return the phase of a pod; None if there is none, or it has none."""
    pod = api.store.find("pods", name, "default")
    return pod["status"].get("phase") if pod else None


def names(api: ApiServer) -> list[str]:
    """Return the names of all Nodes."""
    return sorted(node["metadata"]["name"] for node in api.store.list("nodes"))
