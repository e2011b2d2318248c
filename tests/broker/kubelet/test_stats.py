"""Resource usage of the node and of pods."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from broker.kubelet.stats import Usage, exposition, summarize

STARTED = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 9, 0, 0, 250000, tzinfo=UTC)
OWN = Usage(cpu=1_500_000_000, memory=50_000_000)


def pod(name: str, *, statuses: dict[str, dict[str, Any]], init: dict[str, dict[str, Any]] | None = None) -> bytes:
    """A pod whose containers are in these states."""
    return json.dumps(
        {
            "metadata": {"namespace": "shop", "name": name, "uid": f"uid-of-{name}"},
            "spec": {"containers": [{"name": container} for container in statuses]},
            "status": {
                "startTime": "2026-11-22T08:46:38Z",
                "containerStatuses": [{"name": n, "state": state} for n, state in statuses.items()],
                "initContainerStatuses": [{"name": n, "state": state} for n, state in (init or {}).items()],
            },
        }
    ).encode()


RUNNING = {"running": {"startedAt": "2026-11-22T08:46:40Z"}}
WAITING = {"waiting": {"reason": "ContainerCreating"}}
ENDED = {"terminated": {"exitCode": 0, "finishedAt": "2026-11-22T08:50:00Z"}}


def summary(*pods: bytes) -> Any:
    """A summary, as it is read from the wire."""
    return json.loads(msgspec.json.encode(summarize("node-1", pods, OWN, started=STARTED, now=NOW)))


def samples(*pods: bytes) -> dict[tuple[str, ...], Any]:
    """The samples by the metric's name and the values of its labels."""
    text = exposition(summarize("node-1", pods, OWN, started=STARTED, now=NOW)).decode()
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_running_container_has_an_entry() -> None:
    web = pod(
        "web",
        statuses={"nginx": RUNNING, "proxy": RUNNING, "slow": WAITING},
        init={"mesh": RUNNING, "once": ENDED},
    )
    (entry,) = summary(web)["pods"]
    assert entry["podRef"] == {"namespace": "shop", "name": "web", "uid": "uid-of-web"}
    assert entry["startTime"] == "2026-11-22T08:46:38Z"
    assert [container["name"] for container in entry["containers"]] == ["mesh", "nginx", "proxy"]
    assert {container["startTime"] for container in entry["containers"]} == {"2026-11-22T08:46:40Z"}


def test_a_pod_without_running_containers_is_omitted() -> None:
    bare = json.dumps(
        {"metadata": {"namespace": "a", "name": "b", "uid": "c"}, "spec": {"containers": []}}
    ).encode()
    assert summary(pod("new", statuses={"c": WAITING}), pod("done", statuses={"c": ENDED}), bare)["pods"] == []


def test_usage_of_pods_is_zero_and_current() -> None:
    (entry,) = summary(pod("web", statuses={"nginx": RUNNING}))["pods"]
    for user in (entry, *entry["containers"]):
        assert user["cpu"] == {"time": "2026-11-22T09:00:00.250000Z", "usageCoreNanoSeconds": 0}
        assert user["memory"] == {"time": "2026-11-22T09:00:00.250000Z", "workingSetBytes": 0}


def test_usage_of_the_node_is_of_this_process() -> None:
    node = summary()["node"]
    assert (node["nodeName"], node["startTime"]) == ("node-1", "2026-11-22T08:00:00Z")
    (kubelet,) = node["systemContainers"]
    assert kubelet["name"] == "kubelet"
    for user in (node, kubelet):
        assert user["cpu"]["usageCoreNanoSeconds"] == OWN.cpu
        assert user["memory"]["workingSetBytes"] == OWN.memory


def test_cpu_usage_of_this_process_never_decreases() -> None:
    first, second = Usage.of_this_process(), Usage.of_this_process()
    assert first.memory > 0
    assert second.cpu >= first.cpu > 0


def test_the_metrics_match_those_of_metrics_server() -> None:
    found = samples(pod("web", statuses={"nginx": RUNNING}))
    container = ("nginx", "shop", "web")
    assert {key: sample.value for key, sample in found.items()} == {
        ("node_cpu_usage_seconds_total",): 1.5,
        ("node_memory_working_set_bytes",): 50_000_000,
        ("pod_cpu_usage_seconds_total", "shop", "web"): 0,
        ("pod_memory_working_set_bytes", "shop", "web"): 0,
        ("container_cpu_usage_seconds_total", *container): 0,
        ("container_memory_working_set_bytes", *container): 0,
        ("container_start_time_seconds", *container): datetime(2026, 11, 22, 8, 46, 40, tzinfo=UTC).timestamp(),
        ("resource_scrape_error",): 0,
    }


def test_usage_samples_have_a_timestamp() -> None:
    found = samples(pod("web", statuses={"nginx": RUNNING}))
    measured = {key[0] for key, sample in found.items() if sample.timestamp == NOW.timestamp()}
    assert measured == {name for name, *_ in found} - {"container_start_time_seconds", "resource_scrape_error"}
