"""Requests of the tests of deletions, and what the provider answers."""

from typing import Any

from flask.testing import FlaskClient

from tests.pods import a_pod

STOP_AFTER = "synthetic.virtual-kubelet.io/stop-after"


def slow_pod(name: str = "web-0", *, stop_after: str = "10s", **fields: Any) -> dict[str, Any]:
    """Return a pod whose container ends some time after SIGTERM."""
    return a_pod(name, metadata={"annotations": {STOP_AFTER: stop_after}}, **fields)


def create(client: FlaskClient, pod: dict[str, Any]) -> dict[str, Any]:
    assert client.post("/createPod", json=pod).status_code == 200
    return pod


def delete(client: FlaskClient, pod: dict[str, Any], *, grace: int | None = None) -> int:
    metadata = {key: pod["metadata"][key] for key in ("namespace", "name", "uid")}
    return client.delete(
        "/deletePod", json={"metadata": {**metadata, "deletionGracePeriodSeconds": grace}}
    ).status_code


def by_name(client: FlaskClient, name: str = "web-0") -> Any:
    """Return the answer of `/getPod`; None for 404."""
    answer = client.get("/getPod", query_string={"namespace": "default", "name": name})
    return answer.get_json() if answer.status_code == 200 else None


def listed(client: FlaskClient) -> dict[str, Any]:
    """Return the status of each listed pod by UID."""
    return {pod["metadata"]["uid"]: pod["status"] for pod in client.get("/getPods").get_json()}


def phases(client: FlaskClient) -> dict[str, str]:
    """Return the phase of each listed pod by UID."""
    return {uid: status["phase"] for uid, status in listed(client).items()}


def changes(client: FlaskClient, since: int) -> Any:
    return client.get("/podStatuses", query_string={"since": since}).get_json()


def terminated(status: dict[str, Any]) -> tuple[str, int, str]:
    """Return the phase of a pod, and the exit code and end of its container."""
    state = status["containerStatuses"][0]["state"]["terminated"]
    return status["phase"], state["exitCode"], state["finishedAt"]
