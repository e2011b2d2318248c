"""A fleet: the pods of several nodes in one queue of writes, with one revision and one pool of addresses."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.audit.reports import REPORTS
from app.audit.service import AuditFilter
from app.db.engine import Database
from app.db.models import AuditEvent, Pod
from app.pods.pod_filter import PodFilter
from tests.app.web.conftest import rows
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod


@pytest.fixture
def fleet(make_app: MakeApp) -> Flask:
    """A provider with a pod on each of three nodes, one of which has the name of the fleet."""
    app = make_app(node_name="spot", audit_hash_chain=True)
    client = app.test_client()
    for pod in (
        a_pod("a", uid="a", nodeName="spot-0"),
        a_pod("b", uid="b", nodeName="spot-1"),
        a_pod("c", uid="c"),
    ):
        assert client.post("/createPod", json=pod).status_code == 200
    return app


def nodes(app: Flask) -> dict[str, str]:
    return {row.name: row.node_name for row in services_of(app).pod_list.page(PodFilter()).rows}


def test_a_pod_is_on_the_node_it_names(fleet: Flask) -> None:
    assert nodes(fleet) == {"a": "spot-0", "b": "spot-1", "c": "spot"}
    assert [(pod.name, pod.node_name) for pod in services_of(fleet).history.pods(PodFilter(node="spot-1"))] == [
        ("b", "spot-1")
    ]
    assert [row.name for row in services_of(fleet).pod_list.page(PodFilter(node="spot")).rows] == ["c"]
    assert services_of(fleet).history.find("default/a").node_name == "spot-0"
    by_node = {node: pods.active for node, pods in services_of(fleet).queries.nodes().items()}
    assert by_node == {"spot": 1, "spot-0": 1, "spot-1": 1}


def test_nodes_of_a_fleet_share_one_revision(fleet: Flask) -> None:
    changes = fleet.test_client().get("/podStatuses?since=0").get_json()
    assert (changes["revision"], [status["name"] for status in changes["statuses"]]) == (3, ["a", "b", "c"])


def test_nodes_of_a_fleet_share_the_addresses(make_app: MakeApp) -> None:
    app = make_app(pod_cidr="10.1.0.0/30")
    client = app.test_client()
    codes = [
        client.post("/createPod", json=a_pod(f"web-{number}", nodeName=f"spot-{number}")).status_code
        for number in range(3)
    ]
    assert codes == [200, 200, 503]
    assert len({pod["status"]["podIP"] for pod in client.get("/getPods").get_json()}) == 2


def test_a_pod_moves_with_an_update(fleet: Flask) -> None:
    moved = a_pod("a", uid="a", nodeName="spot-1")
    assert fleet.test_client().put("/updatePod", json=moved).status_code == 200
    assert nodes(fleet)["a"] == "spot-1"


def test_a_replacement_may_be_on_another_node(fleet: Flask) -> None:
    client = fleet.test_client()
    assert client.post("/createPod", json=a_pod("a", uid="new", nodeName="spot-1")).status_code == 200
    assert client.delete("/deletePod", json=a_pod("b", uid="b")).status_code == 200
    assert client.post("/createPod", json=a_pod("b", uid="b", nodeName="spot-0")).status_code == 200
    assert {pod["uid"]: pod["node_name"] for pod in services_rows(fleet)} == {
        "a": "spot-0", "b": "spot-0", "c": "spot", "new": "spot-1",
    }  # fmt: skip


def services_rows(app: Flask) -> list[dict[str, Any]]:
    return rows(services_of(app).database, Pod)


def test_events_have_the_node_of_their_pod(fleet: Flask, database: Database) -> None:
    client = fleet.test_client()
    changed = a_pod("a", uid="a", nodeName="spot-0", containers=[a_container(image="nginx:2")])
    assert client.put("/updatePod", json=changed).status_code == 200
    assert client.delete("/deletePod", json=changed).status_code == 200
    assert client.delete("/deletePod", json=a_pod("nobody", nodeName="spot-0")).status_code == 404

    def verbs(node: str) -> list[tuple[str, int]]:
        return [
            (event["verb"], event["code"]) for event in services_of(fleet).audit.events(AuditFilter(node=node))
        ]

    assert verbs("spot-0") == [("create", 200), ("update", 200), ("delete", 200), ("delete", 404)]
    assert verbs("spot") == [("create", 200)]
    assert len(services_of(fleet).audit.page(AuditFilter(node="spot-1")).events) == 1
    assert [event["node_name"] for event in rows(database, AuditEvent)] == [
        "spot-0",
        "spot-1",
        None,
        *["spot-0"] * 3,
    ]
    assert services_of(fleet).audit.verify().broken is None


def test_commands_show_one_node_or_all(fleet: Flask) -> None:
    def run(*command: str) -> list[str]:
        result = fleet.test_cli_runner().invoke(args=command)
        assert result.exit_code == 0, result.output
        return str(result.output).splitlines()

    assert [line.split()[:2] for line in run("node", "list")[1:]] == [
        ["spot", "1"], ["spot-0", "1"], ["spot-1", "1"],
    ]  # fmt: skip
    assert "1 Running" in run("node", "show", "spot-0")
    assert run("node", "show") == run("node", "list")
    assert [line.split()[-1] for line in run("audit", "query", "node", "--node", "spot-0")] == [
        "NODE_NAME", "spot-0",
    ]  # fmt: skip
    assert [line.split()[1] for line in run("pods", "top", "--node", "spot")] == ["NAME", "c"]
    assert [line.split()[-2:] for line in run("pods", "list", "--node", "spot-1", "-o", "wide")] == [
        ["NODE", "UID"], ["spot-1", "b"],
    ]  # fmt: skip
    assert [line.split()[3:-1] for line in run("audit", "tail", "-n", "2")] == [
        ["default/b", "on", "spot-1"], ["default/c"],
    ]  # fmt: skip
    assert [line.split()[-1] for line in run("pods", "top", "-o", "wide")] == ["NODE", "spot-0", "spot-1", "spot"]
    assert run("pods", "explain", "default/b")[0] == "default/b (UID b) on node spot-1"


def test_problems_are_those_of_one_node_or_all(fleet: Flask, clock: Clock) -> None:
    client = fleet.test_client()
    fails = {"annotations": {"synthetic.virtual-kubelet.io/fail": "ImagePullBackOff"}}
    for node in ("spot-0", "spot-1"):
        failing = a_pod(f"x-{node}", nodeName=node, metadata=fails)
        assert client.post("/createPod", json=failing).status_code == 200
        assert client.delete("/deletePod", json=a_pod("nobody", nodeName=node)).status_code == 404
    start = clock()
    clock.advance(60)
    attention = services_of(fleet).attention

    [everywhere], [here] = attention.groups(), attention.groups(node="spot-1")

    assert {pod.node_name for pod in everywhere.examples} == {"spot-0", "spot-1"}
    assert (here.pods, [pod.name for pod in here.examples]) == (1, ["x-spot-1"])
    assert attention.groups(node="spot") == []
    assert [
        attention.refused(start - timedelta(seconds=1), clock(), node=node).total
        for node in (None, "spot-0", "spot")
    ] == [2, 1, 0]


def test_reports_name_the_node_of_each_pod(fleet: Flask) -> None:
    now = services_of(fleet).clock()
    a_day = timedelta(days=1)
    values = {"at": now, "since": now - a_day, "until": now + a_day, "namespace": "default", "name": "a"}
    for name, report in REPORTS.items():
        given: dict[str, Any] = {parameter: values[parameter] for parameter in report.parameters}
        columns = services_of(fleet).audit.run_report(name, **given).columns
        assert ("node_name" in columns) == (bool({"uid", "name", "request_id"} & {*columns}) or name == "promised")
    assert [row[:2] for row in services_of(fleet).audit.run_report("promised", at=now).rows] == [
        ("spot", 1), ("spot-0", 1), ("spot-1", 1),
    ]  # fmt: skip


def test_the_overview_counts_pods_by_node(fleet: Flask, make_app: MakeApp, clock: Clock) -> None:
    now = clock().isoformat()
    client = fleet.test_client()
    for page in (client.get("/ui/").text, client.get("/ui/", query_string={"at": now}).text):
        found = re.findall(
            r'href="/ui/pods[^"]*node=([\w-]+)[^"]*">\1</a></th>\s*<td class="right num">(\d+)</td>', page
        )
        assert found == [("spot", "1"), ("spot-0", "1"), ("spot-1", "1")]
        assert ("Capacity of each node" in page, "requested <span" in page) == (True, False)
    alone = make_app(node_name="alone").test_client()
    assert alone.post("/createPod", json=a_pod("d")).status_code == 200
    assert ("<h2>Nodes</h2>" in alone.get("/ui/").text, "requested <span" in alone.get("/ui/").text) == (
        False,
        True,
    )


def test_the_largest_nodes_are_those_of_a_time(fleet: Flask, clock: Clock) -> None:
    client, before = fleet.test_client(), clock()
    clock.advance(60)
    assert client.post("/createPod", json=a_pod("d", uid="d", nodeName="spot-1")).status_code == 200
    assert client.delete("/deletePod", json=a_pod("a", uid="a", nodeName="spot-0")).status_code == 200

    def found(at: datetime | None) -> list[tuple[str, int]]:
        return [(row.node_name, row.active) for row in services_of(fleet).series.counts(at, nodes=2).nodes]

    assert found(None) == [("spot-1", 2), ("spot", 1)]
    assert found(before) == [("spot", 1), ("spot-0", 1)]


def test_the_page_of_the_audit_log_names_nodes(fleet: Flask, make_app: MakeApp) -> None:
    page = fleet.test_client().get("/ui/audit").text
    assert ("on spot-0" in page, "on spot<" in page) == (True, True)
    alone = make_app(node_name="alone").test_client()
    assert alone.post("/createPod", json=a_pod("e", uid="e", nodeName="alone")).status_code == 200
    assert "on alone" not in alone.get("/ui/audit").text


def test_a_node_name_that_no_node_has_is_refused(make_app: MakeApp) -> None:
    client = make_app().test_client()
    for name in ("n" * 254, "a\0b", 7):
        answer = client.post("/createPod", json=a_pod(nodeName=name))
        assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, "spec.nodeName")


def test_fleets_in_a_database_may_share_node_names(make_app: MakeApp) -> None:
    """Each fleet has its own pods, addresses and revision, whatever its nodes are called."""
    north, south = (make_app(node_name=name) for name in ("north", "south"))
    for app in (north, south):
        pod = a_pod(uid="the-same", nodeName="spot-0")
        assert app.test_client().post("/createPod", json=pod).status_code == 200
        assert nodes(app) == {"web-0": "spot-0"}
        assert services_of(app).watch.revision() == 1
    assert north.test_client().delete("/deletePod", json=a_pod(uid="the-same")).status_code == 200
    assert (nodes(north), nodes(south)) == ({}, {"web-0": "spot-0"})
    assert len(services_of(south).audit.page(AuditFilter(node="spot-0")).events) == 1


def test_an_unknown_node_is_an_error_of_commands(fleet: Flask) -> None:
    run = fleet.test_cli_runner().invoke
    shown = run(args=["node", "show", "nope"])
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert 'no pod was ever on a node "nope"' in shown.stderr
    for command in (
        ["pods", "list"],
        ["pods", "top"],
        ["attention"],
        ["audit", "tail"],
        ["audit", "query", "node"],
    ):
        assert "Warning: no pod was ever on a node nope" in run(args=[*command, "--node", "nope"]).stderr
        assert run(args=[*command, "--node", "spot-0"]).stderr == ""


def test_the_capacity_of_a_pools_node_is_unknown(make_app: MakeApp) -> None:
    overrides = {"gpu-*": {"capacity": {"cpu": "2", "nvidia.com/gpu": "1"}}}
    app = make_app(node_name="spot", node_overrides=overrides)
    app.test_client().post("/createPod", json=a_pod("a", nodeName="spot-0"))

    def resources(*node: str) -> dict[str, str]:
        result = app.test_cli_runner().invoke(args=["node", "show", *node])
        assert result.exit_code == 0, result.output
        rows = result.output.partition("RESOURCE")[2].partition("\n\n")[0].splitlines()[1:]
        return {row.split()[0]: row.split()[1] for row in rows}

    assert resources("spot-0") == {"cpu": "-", "memory": "-", "pods": "-"}
    assert resources("gpu-0") == {"cpu": "2", "nvidia.com/gpu": "1", "memory": "-", "pods": "-"}
    assert resources("spot")["cpu"] == "100"
    assert (
        app.test_client().get("/capacity?node=nope").get_json()["cpu"] == "100"
    )  # the contract: each name is a node
