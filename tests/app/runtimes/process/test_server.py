"""The process runtime in the real server: processes survive its restart."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db.engine import Database
from app.db.models import Pod, PodStatus
from tests.app.runtimes.process import processes, shell, shims
from tests.conftest import Serve
from tests.pods import a_pod
from tests.server import Client, Server
from tests.waiting import eventually

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
ServeProcesses = Callable[[], AbstractContextManager[Server]]


@pytest.fixture
def serve_processes(serve: Serve, root: Path) -> ServeProcesses:
    """Return a function that runs the provider with this runtime."""
    return lambda: serve(RUNTIME="app.runtimes.process:ProcessRuntime", RUNTIME_DIRECTORY=str(root))


@pytest.fixture
def client(serve_processes: ServeProcesses) -> Iterator[Client]:
    with serve_processes() as server, closing(server.client()) as client:
        yield client


def created(client: Client, *containers: dict[str, Any], name: str = "web-0", **spec: Any) -> dict[str, Any]:
    pod = a_pod(name, containers=list(containers), **spec)
    assert client.request("POST", "/createPod", pod).code == 200
    return pod


def status(client: Client, name: str = "web-0") -> dict[str, Any]:
    found: dict[str, Any] = client.get("/getPodStatus", namespace="default", name=name).json()
    return found


def until_over(client: Client, name: str = "web-0") -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        found = status(client, name)
        return found if found["phase"] in ("Succeeded", "Failed") else None

    return eventually(over)


def until_gone(client: Client, name: str = "web-0") -> None:
    eventually(lambda: client.get("/getPodStatus", namespace="default", name=name).code == 404)


def log(client: Client, name: str = "web-0", **query: object) -> bytes:
    return client.get("/getContainerLogs", namespace="default", podName=name, containerName="web", **query).body


@ON_SQLITE
def test_processes_survive_a_server_restart(serve_processes: ServeProcesses, root: Path, tmp_path: Path) -> None:
    script = f"echo begun; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo done; exit 5"
    with serve_processes() as server, closing(server.client()) as client:
        created(client, shell(script), restartPolicy="Never")
        eventually(lambda: log(client) == b"begun\n")
        running = status(client)
        server.kill()
    assert len(processes(str(root))) >= 1
    with serve_processes() as server, closing(server.client()) as client:
        assert status(client) == running
        (tmp_path / "go").touch()
        ended = until_over(client)
        assert ended["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 5
        assert ended["containerStatuses"][0]["restartCount"] == 0
        assert log(client) == b"begun\ndone\n"


@ON_SQLITE
def test_an_acknowledged_pod_runs_once_despite_kills(serve_processes: ServeProcesses, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for attempt in range(3):
        with serve_processes() as server, closing(server.client()) as client:
            for number in range(3):
                name = f"web-{attempt}-{number}"
                pod = a_pod(name, containers=[shell(f"echo {name} >> {tmp_path}/runs")], restartPolicy="Never")
                assert client.request("POST", "/createPod", pod).code == 200
                acknowledged.append(name)
            with closing(HTTPConnection("127.0.0.1", server.port)) as impatient:  # whose response does not arrive
                name = f"web-{attempt}-last"
                pod = a_pod(name, containers=[shell(f"echo {name} >> {tmp_path}/runs")], restartPolicy="Never")
                impatient.request("POST", "/createPod", json.dumps(pod))
                server.kill()
    with serve_processes() as server, closing(server.client()) as client:
        for name in acknowledged:
            assert until_over(client, name)["phase"] == "Succeeded"
        for pod in client.get("/getPods").json():
            until_over(client, pod["metadata"]["name"])
    runs = (tmp_path / "runs").read_text().splitlines()
    assert sorted(set(runs)) == sorted(runs)
    assert set(acknowledged) <= set(runs)


@ON_SQLITE
def test_how_a_deleted_pod_ended_is_on_record(client: Client, database: Database) -> None:
    pod = created(client, shell("trap 'exit 7' TERM; echo begun; while :; do sleep 0.01; done"))
    eventually(lambda: log(client) == b"begun\n")
    assert client.request("DELETE", "/deletePod", pod).code == 200
    until_gone(client)

    query = select(PodStatus.status).join(Pod).order_by(PodStatus.effective_at.desc()).limit(1)
    with database.read() as connection:
        last = json.loads(connection.scalars(query).one())
    assert last["phase"] == "Failed"
    assert last["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7


def test_a_deletion_survives_a_kill_of_the_server(serve_processes: ServeProcesses, tmp_path: Path) -> None:
    """The pod is reported until its process has ended; only then another UID of its name starts."""
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"
    stop = f"echo term >> {tmp_path}/runs; {wait}; echo end >> {tmp_path}/runs; exit 7"
    old = shell(f"trap '{stop}' TERM; echo begun; while :; do sleep 0.01; done")
    with serve_processes() as server, closing(server.client()) as client:
        pod = created(client, old, terminationGracePeriodSeconds=60)
        eventually(lambda: log(client) == b"begun\n")
        assert client.request("DELETE", "/deletePod", pod).code == 200
        new = created(client, shell(f"echo start >> {tmp_path}/runs"), restartPolicy="Never")
        assert status(client)["phase"] == "Pending"
        server.kill()
    with serve_processes() as server, closing(server.client()) as client:
        found = {pod["metadata"]["uid"]: pod["status"]["phase"] for pod in client.get("/getPods").json()}
        assert found == {pod["metadata"]["uid"]: "Running", new["metadata"]["uid"]: "Pending"}
        revision = client.get("/podStatuses").json()["revision"]
        (tmp_path / "go").touch()
        assert until_over(client)["phase"] == "Succeeded"
        (gone,) = client.get("/podStatuses", since=revision).json()["deleted"]
    assert gone["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
    assert (tmp_path / "runs").read_text().split() == ["term", "end", "start"]


@ON_SQLITE
def test_a_shortened_grace_kills_the_process(client: Client) -> None:
    pod = created(client, shell("trap '' TERM; echo begun; while :; do sleep 0.01; done"))
    eventually(lambda: log(client) == b"begun\n")
    assert client.request("DELETE", "/deletePod", pod).code == 200
    assert client.get("/getPod", namespace="default", name="web-0").json()["metadata"]["deletionTimestamp"]
    pod["metadata"]["deletionGracePeriodSeconds"] = 0
    assert client.request("DELETE", "/deletePod", pod).code == 200
    until_gone(client)


@ON_SQLITE
def test_the_grace_is_the_one_of_the_deletion(client: Client, root: Path) -> None:
    pod = created(client, shell("trap '' TERM; echo begun; while :; do sleep 0.01; done"))
    eventually(lambda: log(client) == b"begun\n")
    pod["metadata"]["deletionGracePeriodSeconds"] = 0
    assert client.request("DELETE", "/deletePod", pod).code == 200
    eventually(lambda: not shims(root))


@ON_SQLITE
def test_a_log_is_followed_until_the_container_ends(client: Client, tmp_path: Path) -> None:
    created(
        client,
        shell(f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo two"),
        restartPolicy="Never",
    )
    eventually(lambda: log(client) == b"one\n")
    query = {"namespace": "default", "podName": "web-0", "containerName": "web", "follow": "true"}
    with client.open("GET", "/getContainerLogs", query=dict(query)) as response:
        assert response.readline() == b"one\n"
        (tmp_path / "go").touch()
        assert response.read() == b"two\n"


@ON_SQLITE
def test_watchers_receive_changes_of_processes(client: Client) -> None:
    created(client, shell("exit 0"), restartPolicy="Never")
    revision = 0
    phases: list[str] = []
    while "Succeeded" not in phases:
        changes = client.get("/podStatuses", since=revision, wait=30).json()
        assert changes["revision"] > revision
        revision = changes["revision"]
        phases += [entry["status"]["phase"] for entry in changes["statuses"]]


@ON_SQLITE
def test_a_pod_that_has_no_command_is_refused(client: Client) -> None:
    answer = client.request("POST", "/createPod", a_pod())
    assert answer.code == 400
    assert answer.json()["error"]["message"] == (
        "spec.containers[0].command: required: no image is pulled, so there is no entry point"
    )


@ON_SQLITE
def test_pods_have_the_address_of_the_node(client: Client) -> None:
    created(client, shell("sleep 60"))
    assert status(client)["podIP"] == status(client)["hostIP"] == "127.0.0.1"


@ON_SQLITE
def test_pods_of_the_synthetic_runtime_are_lost(serve: Serve, serve_processes: ServeProcesses) -> None:
    """A pod that runs, one that has yet to start and cannot run here, and one that can."""
    annotation = {"annotations": {"synthetic.virtual-kubelet.io/start-delay": "1h"}}
    with serve() as server, closing(server.client()) as client:
        created(client, shell("exec sleep 60"), initContainers=[shell("exit 0", "setup")])
        created(client, {"name": "web", "image": "nginx"}, name="later", metadata=annotation)
        created(client, shell("exit 0"), name="startable", metadata=annotation, restartPolicy="Never")
        assert status(client)["phase"] == "Running"
    with serve_processes() as server, closing(server.client()) as client:
        lost = status(client)
        assert lost["phase"] == "Failed"
        assert lost["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
        terminated = lost["containerStatuses"][0]["state"]["terminated"]
        assert (terminated["exitCode"], terminated["reason"]) == (137, "ContainerStatusUnknown")
        assert status(client, "later")["phase"] == "Failed"
        assert until_over(client, "startable")["phase"] == "Succeeded"
        assert {pod["status"]["phase"] for pod in client.get("/getPods").json()} == {"Failed", "Succeeded"}
        assert status(client) == lost


@ON_SQLITE
def test_pods_of_processes_are_lost_to_the_synthetic_runtime(
    serve: Serve, serve_processes: ServeProcesses
) -> None:
    with serve_processes() as server, closing(server.client()) as client:
        created(client, shell("exec sleep 60"))
        eventually(lambda: status(client)["phase"] == "Running")
    with serve() as server, closing(server.client()) as client:
        lost = status(client)
        assert lost["phase"] == "Failed"
        assert lost["containerStatuses"][0]["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


@ON_SQLITE
def test_usage_has_the_processes_and_the_disk_space_of_a_pod(client: Client) -> None:
    created(client, shell("sleep 60 & sleep 60 & wait"), shell("exec sleep 60", "other"))

    def measured() -> dict[str, Any] | None:
        entries = client.get("/podStats").json()
        return entries[0] if entries and entries[0]["process_stats"]["process_count"] == 4 else None

    assert eventually(measured)["ephemeral-storage"]["usedBytes"] > 0
