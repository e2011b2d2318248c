"""The three endpoints of the node, which never fail while the process runs."""

import json
import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from app.core.errors import ConfigurationError
from app.core.settings import Settings
from app.db.engine import Database
from conformance.checks import node
from tests.app.web.conftest import log_lines, named, on_sqlite_alone
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod
from tests.postgres import free_port
from tests.server import Client, Server, serving


@on_sqlite_alone
def test_the_capacity_can_be_set(make_app: MakeApp) -> None:
    client = make_app(capacity={"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}).test_client()

    assert client.get("/capacity").get_json() == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}


@on_sqlite_alone
@pytest.mark.parametrize(
    ("settings", "addresses"),
    [
        ({}, [{"type": "InternalIP", "address": "127.0.0.1"}]),
        ({"vkubelet_pod_ip": "10.0.0.5"}, [{"type": "InternalIP", "address": "10.0.0.5"}]),
        (
            {"node_addresses": [{"type": "Hostname", "address": "node-1"}], "vkubelet_pod_ip": "10.0.0.5"},
            [{"type": "Hostname", "address": "node-1"}],
        ),
    ],
    ids=["default", "address of the pod", "set"],
)
def test_addresses_follow_the_settings(
    make_app: MakeApp, settings: dict[str, object], addresses: list[dict[str, str]]
) -> None:
    assert make_app(**settings).test_client().get("/nodeAddresses").get_json() == addresses


@on_sqlite_alone
def test_the_node_is_ready_without_pressure(client: FlaskClient) -> None:
    conditions = client.get("/nodeConditions").get_json()

    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "Ready": "True",
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "NetworkUnavailable": "False",
    }
    assert all(condition["reason"] and condition["message"] for condition in conditions)


@on_sqlite_alone
def test_only_the_heartbeat_time_moves(client: FlaskClient, clock: Clock) -> None:
    before = client.get("/nodeConditions").get_json()
    clock.advance(3600)
    after = client.get("/nodeConditions").get_json()

    assert {condition["lastHeartbeatTime"] for condition in after} == {"2026-11-22T09:46:38Z"}
    assert [c["lastTransitionTime"] for c in after] == [c["lastTransitionTime"] for c in before]


SPOT: dict[str, object] = {
    "allocatable": {"cpu": "15"},
    "labels": {"zone": "a"},
    "taints": [{"key": "spot", "effect": "NoSchedule"}],
}
OVERRIDES = {
    "spot-0": {"addresses": [{"type": "InternalIP", "address": "10.0.0.7"}]},
    "spot-*": {"capacity": {"cpu": "16", "memory": "64Gi", "pods": "110"}, **SPOT},
}


@on_sqlite_alone
def test_nodes_of_a_fleet_may_differ(make_app: MakeApp) -> None:
    """The first pattern that matches the name counts; any other node is as the settings say."""
    client = make_app(node_overrides=OVERRIDES, capacity={"cpu": "8"}).test_client()

    def read(path: str, node: str) -> object:
        return client.get(path, query_string={"node": node}).get_json()

    assert client.get("/extensions").get_json()["nodes"] == 1
    assert read("/capacity", "spot-1") == {"cpu": "16", "memory": "64Gi", "pods": "110"}
    assert read("/capacity", "other") == client.get("/capacity").get_json() == {"cpu": "8"}
    assert read("/nodeAddresses", "spot-0") == [{"type": "InternalIP", "address": "10.0.0.7"}]
    assert read("/nodeAddresses", "spot-1") == client.get("/nodeAddresses").get_json()
    assert read("/node", "spot-1") == SPOT
    assert read("/node", "a name\0that nobody has") == read("/node", "") == {}


@on_sqlite_alone
def test_metrics_and_overview_honour_an_override(make_app: MakeApp) -> None:
    address = {"type": "InternalIP", "address": "10.0.0.7"}
    override = {"capacity": {"example.com/disk": "7"}, "addresses": [address]}
    client = make_app(node_overrides={"virtual-kubelet-*": override}).test_client()

    capacities = [line for line in client.get("/metrics").text.splitlines() if "node_capacity{" in line]
    overview = client.get("/ui/").text

    assert client.get("/capacity").get_json() == override["capacity"]
    assert capacities == ['provider_node_capacity{resource="example.com/disk"} 7.0']
    assert "<dt>example.com/disk</dt>" in overview
    assert "<dt>cpu</dt>" not in overview
    assert "10.0.0.7" in overview


@on_sqlite_alone
def test_without_overrides_all_nodes_are_the_same(client: FlaskClient) -> None:
    assert "nodes" not in client.get("/extensions").get_json()
    assert client.get("/node?node=spot-0").status_code == 404
    for path in ("/capacity", "/nodeAddresses"):
        assert client.get(f"{path}?node=spot-0").get_json() == client.get(path).get_json()


@on_sqlite_alone
def test_a_pod_has_the_addresses_of_its_node(make_app: MakeApp) -> None:
    client = make_app(node_overrides=OVERRIDES).test_client()
    for name, node_name in (("a", "spot-0"), ("b", "spot-1")):
        pod = a_pod(name, nodeName=node_name, hostNetwork=True)
        assert client.post("/createPod", json=pod).status_code == 200

    statuses = [pod["status"] for pod in client.get("/getPods").get_json()]
    assert [(status["hostIP"], status["podIP"]) for status in statuses] == [
        ("10.0.0.7", "10.0.0.7"), ("127.0.0.1", "127.0.0.1"),
    ]  # fmt: skip


@on_sqlite_alone
def test_a_resize_is_limited_by_the_pods_node(make_app: MakeApp) -> None:
    client = make_app(node_overrides=OVERRIDES).test_client()
    requests = [{"requests": {"cpu": cpu}} for cpu in ("1", "20")]
    small, large = (
        [a_container(resources=of, resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}])]
        for of in requests
    )
    reasons = {}
    for node_name in ("spot-1", "other"):
        client.post("/createPod", json=a_pod(node_name, uid=node_name, nodeName=node_name, containers=small))
        resized = a_pod(node_name, uid=node_name, nodeName=node_name, containers=large)
        assert client.put("/updatePod", json=resized).status_code == 200
        status = client.get("/getPodStatus", query_string=named(resized)).get_json()
        reasons[node_name] = [c.get("reason") for c in status["conditions"] if c["type"] == "PodResizePending"]
    assert reasons == {"spot-1": ["Infeasible"], "other": []}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ({"capacity": {"cpu": "much"}}, "NODE_OVERRIDES.spot-*.capacity: cpu: "),
        ({"taints": [{"key": "a", "effect": "Never"}]}, "NODE_OVERRIDES.spot-*.taints.0.effect: "),
        ({"adresses": []}, "NODE_OVERRIDES.spot-*.adresses: "),
    ],
)
def test_an_invalid_override_is_named(
    monkeypatch: pytest.MonkeyPatch, override: dict[str, object], problem: str
) -> None:
    monkeypatch.setenv("NODE_OVERRIDES", json.dumps({"spot-*": override}))
    with pytest.raises(ConfigurationError, match=f"^{re.escape(problem)}"):
        Settings.from_environment()


def test_node_endpoints_do_not_need_the_database(client: FlaskClient, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'another'"))

    assert client.get("/readyz").status_code == 503
    assert client.get("/getPods").status_code == 503
    assert [client.get(path).status_code for path in node.PATHS] == [200, 200, 200]


@pytest.fixture(scope="module")
def stranded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a provider whose PostgreSQL is unreachable."""
    url = f"postgresql://postgres:a-password@127.0.0.1:{free_port()}/none"
    log = tmp_path_factory.mktemp("without") / "server.log"
    with serving(free_port(), {"DATABASE_URL": url}, log) as server:
        yield server


@pytest.fixture
def without_database(stranded: Server) -> Iterator[Client]:
    with closing(stranded.client()) as client:
        yield client


def test_the_server_starts_without_database(stranded: Server) -> None:
    [warning, *_] = [line for line in log_lines(stranded) if line["level"] == "warning"]

    assert warning["event"] == "database"
    assert "does not answer" in warning["problem"]
    assert "a-password" not in stranded.log.read_text()


@pytest.mark.parametrize("path", [*node.PATHS, "/extensions", "/", "/healthz"])
def test_without_database_some_endpoints_answer(without_database: Client, path: str) -> None:
    assert without_database.get(path).status_line == "200 OK"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/getPods"),
        ("GET", "/getPod"),
        ("GET", "/getPodStatus"),
        ("GET", "/getContainerLogs"),
        ("POST", "/createPod"),
        ("PUT", "/updatePod"),
        ("DELETE", "/deletePod"),
        ("GET", "/readyz"),
    ],
)
def test_without_database_other_endpoints_return_503(without_database: Client, method: str, path: str) -> None:
    pod = a_pod()
    query: dict[str, object] = {**named(pod), "podName": "web-0", "containerName": "web"}

    answer = without_database.request(method, path, None if method == "GET" else pod, query=query)

    assert answer.status_line == "503 Service Unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert json.loads(answer.body)["error"]["code"] == 503
    assert "a-password" not in answer.body.decode()


def test_without_database_an_invalid_pod_is_400(without_database: Client) -> None:
    assert without_database.request("POST", "/createPod", {"metadata": {}}).code == 400
