"""`GET /podStats` and `/nodeStats`: the usage of all pods, and of their machine."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from app.core.timestamps import rfc3339
from tests.app.web.conftest import change, named, on_sqlite_alone, put_on
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

pytestmark = on_sqlite_alone
Usage = dict[str, dict[str, Any]]


def usage(client: FlaskClient, query: str = "") -> Usage:
    """Return the entries of `/podStats` by the names of their pods."""
    answer = client.get(f"/podStats{query}")
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


def test_an_immense_request_leaves_the_usage_of_others(client: FlaskClient) -> None:
    put_on(client, a_pod("immense", containers=[with_requests(cpu="1e999", memory="1e999")]))
    put_on(client, a_pod("small", containers=[with_requests(cpu="1")]))
    assert usage(client)["small"]["cpu"]["usageNanoCores"] == 10**8


def test_a_pod_is_the_sum_of_its_containers(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod(containers=[with_requests("one", cpu="1"), with_requests("two", cpu="2")]))
    clock.advance(10)
    found = usage(client)["web-0"]
    assert [container["cpu"]["usageNanoCores"] for container in found["containers"]] == [10**8, 2 * 10**8]
    assert found["cpu"]["usageNanoCores"] == 3 * 10**8
    assert found["cpu"]["usageCoreNanoSeconds"] == 3 * 10**9


def test_the_sums_are_left_out_on_request(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod())
    clock.advance(10)
    with_sums = usage(client)["web-0"]
    assert usage(client, "?sums=true")["web-0"] == with_sums
    assert with_sums.keys() - usage(client, "?sums=false")["web-0"].keys() == {"cpu", "memory"}


def test_sums_are_a_boolean(client: FlaskClient) -> None:
    answer = client.get("/podStats?sums=no")
    assert answer.status_code == 400
    assert "sums: must be true or false" in answer.text


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
    clock.advance(1)
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


def test_simulated_pods_have_no_machine(client: FlaskClient) -> None:
    assert "nodeStats" not in client.get("/extensions").get_json()
    answer = client.get("/nodeStats")
    assert answer.status_code == 404
    assert answer.get_json()["error"]["message"] == (
        "the runtime SyntheticRuntime does not report the usage of a machine"
    )


def test_the_machine_of_processes_is_reported(make_app: MakeApp, tmp_path: Path) -> None:
    runtime = {"runtime": "app.runtimes.process:ProcessRuntime", "runtime_directory": tmp_path}
    client = make_app(**runtime).test_client()
    assert client.get("/extensions").get_json()["nodeStats"] == 1
    found = client.get("/nodeStats").get_json()
    assert found.keys() == {"nodeName", "startTime", "cpu", "memory", "fs", "rlimit"}


def annotated(**annotations: str) -> dict[str, Any]:
    """Return metadata with annotations of simulated pods."""
    domain = "synthetic.virtual-kubelet.io"
    return {"annotations": {f"{domain}/{name.replace('_', '-')}": text for name, text in annotations.items()}}


def with_limits(**limits: str) -> list[dict[str, Any]]:
    return [a_container(resources={"limits": limits})]


def test_usage_follows_the_annotated_curves(client: FlaskClient, clock: Clock) -> None:
    metadata = annotated(usage_cpu="ramp(0,1,100s)", usage_memory="steps(0s:1Mi,1m:8Mi)")
    put_on(client, a_pod(metadata=metadata))
    clock.advance(50)
    found = usage(client)["web-0"]
    assert (found["cpu"]["usageNanoCores"], found["cpu"]["usageCoreNanoSeconds"]) == (5 * 10**8, 125 * 10**8)
    assert found["memory"]["workingSetBytes"] == 2**20
    clock.advance(10)
    assert usage(client)["web-0"]["memory"]["workingSetBytes"] == 8 * 2**20


def test_an_annotation_of_a_container_has_precedence(client: FlaskClient) -> None:
    metadata = annotated(usage_cpu="1")
    metadata["annotations"]["usage-cpu.synthetic.virtual-kubelet.io/two"] = "2"
    put_on(client, a_pod(containers=[a_container("one"), a_container("two")], metadata=metadata))
    cores = [container["cpu"]["usageNanoCores"] for container in usage(client)["web-0"]["containers"]]
    assert cores == [10**9, 2 * 10**9]


def test_a_limit_throttles_the_cpu(client: FlaskClient, clock: Clock) -> None:
    metadata = annotated(usage_cpu="ramp(0,1,100s)")
    put_on(client, a_pod(containers=with_limits(cpu="500m"), metadata=metadata))
    clock.advance(100)
    found = usage(client)["web-0"]["cpu"]
    assert found["usageNanoCores"] == 5 * 10**8
    assert abs(found["usageCoreNanoSeconds"] - 375 * 10**8) < 10**6


def test_memory_above_its_limit_kills_the_container(client: FlaskClient, clock: Clock) -> None:
    metadata = annotated(usage_memory="ramp(0,100Mi,100s)")
    pod = put_on(client, a_pod(containers=with_limits(memory="50Mi"), metadata=metadata))
    started = clock.now
    clock.advance(50)
    assert usage(client)["web-0"]["memory"]["workingSetBytes"] == 50 * 2**20
    clock.advance(3)

    (status,) = client.get("/getPodStatus", query_string=named(pod)).get_json()["containerStatuses"]

    assert status["restartCount"] == 1
    ended = status["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert ended["finishedAt"] == rfc3339(started + timedelta(seconds=51))
    assert usage(client)["web-0"]["memory"]["workingSetBytes"] < 2 * 2**20


def test_a_lower_limit_kills_a_running_container(client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod(containers=with_limits(memory="1Gi"), metadata=annotated(usage_memory="100Mi")))
    clock.advance(3600)
    pod["spec"]["containers"] = with_limits(memory="50Mi")
    change(client, pod)
    (status,) = client.get("/getPodStatus", query_string=named(pod)).get_json()["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "OOMKilled"


def test_an_invalid_curve_is_reported_and_ignored(client: FlaskClient) -> None:
    pod = put_on(client, a_pod(metadata=annotated(usage_cpu="sine(1)", usage_memory="share(1Gi)")))
    message = client.get("/getPodStatus", query_string=named(pod)).get_json()["message"]
    domain = "synthetic.virtual-kubelet.io"
    assert message == (
        f"{domain}/usage-cpu: sine needs three values: sine(least,greatest,period); "
        f"{domain}/usage-memory: share is for usage-cpu"
    )
    assert usage(client)["web-0"]["cpu"]["usageNanoCores"] == 10**6


def test_two_workers_give_the_same_usage(make_app: MakeApp, clock: Clock) -> None:
    one, other = (make_app().test_client() for _ in range(2))
    metadata = annotated(usage_cpu="noise(500m,400m) + sine(0,1,7m)", usage_memory="noise(64Mi,32Mi)")
    put_on(one, a_pod(containers=with_limits(cpu="900m"), metadata=metadata))
    assert usage(other) == usage(one)
    for seconds in (1, 977, 100_000):
        clock.advance(seconds)
        assert usage(other) == usage(one)
