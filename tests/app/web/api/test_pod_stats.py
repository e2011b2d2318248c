"""`GET /podStats`: the usage of all pods."""

from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient

from app.core.timestamps import rfc3339
from tests.app.web.conftest import change, put_on
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

Usage = dict[str, dict[str, Any]]


def usage(client: FlaskClient) -> Usage:
    """Return the entries of `/podStats` by the names of their pods."""
    answer = client.get("/podStats")
    assert answer.status_code == 200, answer.text
    return {entry["podRef"]["name"]: entry for entry in answer.get_json()}


def with_requests(name: str = "web", **requests: str) -> dict[str, Any]:
    return a_container(name, resources={"requests": requests})


def test_a_node_without_pods_has_no_usage(client: FlaskClient) -> None:
    assert usage(client) == {}


def test_a_running_container_uses_a_tenth_of_its_requests(client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod(containers=[with_requests(cpu="500m", memory="100Mi")]))
    started_at = rfc3339(clock.now)
    clock.advance(60.5)

    found = usage(client)["web-0"]

    time = rfc3339(clock.now)
    cpu = {"time": time, "usageNanoCores": 50_000_000, "usageCoreNanoSeconds": 3_000_000_000}
    memory = {"time": time, **dict.fromkeys(("workingSetBytes", "rssBytes", "usageBytes"), 10 * 2**20)}
    assert found == {
        "podRef": {"name": "web-0", "namespace": "default", "uid": pod["metadata"]["uid"]},
        "startTime": started_at,
        "containers": [{"name": "web", "startTime": started_at, "cpu": cpu, "memory": memory}],
        "cpu": cpu,
        "memory": memory,
    }


def test_usage_without_requests_is_never_zero(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod())
    clock.advance(1)
    found = usage(client)["web-0"]
    assert (found["cpu"]["usageNanoCores"], found["memory"]["workingSetBytes"]) == (1_000_000, 2**20)


def test_settings_are_quantities_or_percentages(make_app: MakeApp) -> None:
    client = make_app(usage_cpu="250m", usage_memory="50%").test_client()
    put_on(client, a_pod(containers=[with_requests(cpu="1", memory="1Gi")]))
    found = usage(client)["web-0"]
    assert (found["cpu"]["usageNanoCores"], found["memory"]["workingSetBytes"]) == (250_000_000, 2**29)


def test_a_pod_is_the_sum_of_its_containers(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod(containers=[with_requests("one", cpu="1"), with_requests("two", cpu="2")]))
    clock.advance(10)
    found = usage(client)["web-0"]
    assert [container["cpu"]["usageNanoCores"] for container in found["containers"]] == [10**8, 2 * 10**8]
    assert found["cpu"]["usageNanoCores"] == 3 * 10**8
    assert found["cpu"]["usageCoreNanoSeconds"] == 3 * 10**9


def test_only_running_containers_have_usage(client: FlaskClient, clock: Clock) -> None:
    annotations = {"run-for.synthetic.virtual-kubelet.io/short": "5s"}
    containers = [a_container("long"), a_container("short")]
    put_on(
        client, a_pod("mixed", containers=containers, metadata={"annotations": annotations}, restartPolicy="Never")
    )
    put_on(client, a_pod("pending", metadata={"annotations": {"synthetic.virtual-kubelet.io/start-delay": "1h"}}))
    gone = put_on(client, a_pod("gone"))
    client.delete("/deletePod", json=gone)
    clock.advance(6)
    found = usage(client)
    assert list(found) == ["mixed"]
    assert [container["name"] for container in found["mixed"]["containers"]] == ["long"]


def test_totals_begin_at_zero_with_each_start(client: FlaskClient, clock: Clock) -> None:
    annotations = {"synthetic.virtual-kubelet.io/run-for": "1m"}
    put_on(client, a_pod(metadata={"annotations": annotations}))
    clock.advance(50)
    before = usage(client)["web-0"]["cpu"]["usageCoreNanoSeconds"]
    clock.advance(12)
    assert usage(client)["web-0"]["cpu"]["usageCoreNanoSeconds"] < before / 10


def test_usage_changes_with_a_resize(client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod(containers=[with_requests(cpu="1")]))
    assert usage(client)["web-0"]["cpu"]["usageNanoCores"] == 10**8
    clock.advance(5)
    pod["spec"]["containers"] = [with_requests(cpu="2")]
    change(client, pod)
    assert usage(client)["web-0"]["cpu"]["usageNanoCores"] == 2 * 10**8


def test_usage_is_the_same_within_a_second(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod())
    clock.now = clock.now.replace(microsecond=0) + timedelta(seconds=30)
    first = usage(client)
    clock.advance(0.999)
    assert usage(client) == first


def test_a_runtime_without_usage_lacks_the_extension(make_app: MakeApp) -> None:
    client = make_app(runtime="tests.app.runtimes.scripted:ScriptedRuntime").test_client()
    assert "podStats" not in client.get("/extensions").get_json()
    answer = client.get("/podStats")
    assert answer.status_code == 404
    assert answer.get_json()["error"]["message"] == "the runtime ScriptedRuntime does not report usage"
