"""`/metrics/cadvisor`, as the rules and dashboards of kube-prometheus read it."""

import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from broker.kubelet.schema import parse_pod
from broker.kubelet.stats.cadvisor import PodSeries, cadvisor_metrics, machine_metrics
from tests.broker.kubelet.stats.conftest import NOW, UsageNode, samples


async def found(node: UsageNode, *, limits: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Return metric → labels as text → value, for a pod `web` with a container `nginx`."""
    pod = json.loads(node.pods["web"])
    pod["spec"]["containers"][0]["resources"] = limits or {}
    pod["status"]["containerStatuses"][0] |= {"image": "nginx:1.27", "containerID": "synthetic://abc"}
    series = PodSeries(parse_pod(json.dumps(pod).encode()))
    reading, reported = await node.source.read_reported()
    text = cadvisor_metrics(*reading, reported, {series.uid: series}, now=NOW).decode()
    return {
        sample.name + " " + sample.labels.get("container", ""): {"value": sample.value, **sample.labels}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("pod") == "web"
    }


async def test_a_container_has_the_labels_of_cadvisor(node: UsageNode) -> None:
    node.put("web", {"nginx": 1.5})
    metrics = await found(node)
    where = {
        "container": "nginx", "id": "/kubepods/poduid-of-web/abc", "image": "nginx:1.27", "name": "abc",
        "namespace": "shop", "pod": "web",
    }  # fmt: skip
    assert metrics["container_cpu_usage_seconds_total nginx"] == {"value": 1.5, "cpu": "total", **where}
    assert metrics["container_memory_working_set_bytes nginx"] == {"value": 1000, **where}
    assert metrics["container_memory_rss nginx"] == {"value": 999, **where}
    assert metrics["container_memory_usage_bytes nginx"] == {"value": 1001, **where}
    assert metrics["container_memory_cache nginx"] == {"value": 2, **where}  # charged, and not resident


async def test_the_pod_and_the_node_have_no_image(node: UsageNode) -> None:
    node.put("web", {"nginx": 1.5})
    metrics = await found(node)
    assert metrics["container_cpu_usage_seconds_total "]["image"] == ""
    assert metrics["container_cpu_usage_seconds_total "]["value"] == 1.5
    reading, reported = await node.source.read_reported()
    text = cadvisor_metrics(*reading, reported, {}, now=NOW)
    assert any(key[:3] == ("container_memory_working_set_bytes", "", "/") for key in samples(text))


async def test_limits_are_those_of_control_groups(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    limits = {"requests": {"cpu": "500m"}, "limits": {"cpu": "1500m", "memory": "1Gi"}}
    metrics = await found(node, limits=limits)
    assert metrics["container_spec_cpu_shares nginx"]["value"] == 512
    assert metrics["container_spec_cpu_quota nginx"]["value"] == 150_000
    assert metrics["container_spec_cpu_period nginx"]["value"] == 100_000
    assert metrics["container_spec_memory_limit_bytes nginx"]["value"] == 2**30
    without = await found(node)
    assert without["container_spec_cpu_shares nginx"]["value"] == 2
    assert without["container_spec_memory_limit_bytes nginx"]["value"] == 0
    assert "container_spec_cpu_quota nginx" not in without


async def test_network_is_reported_where_it_is_known(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    assert not any("network" in name for name in await found(node))
    assert node.provider.reported is not None
    node.provider.reported[0]["network"] = {
        "time": "2026-11-22T09:00:00Z", "name": "eth0", "rxBytes": 7, "txBytes": 8,
    }  # fmt: skip
    node.now = NOW
    metrics = await found(node)
    assert metrics["container_network_receive_bytes_total "]["value"] == 7
    assert metrics["container_network_transmit_bytes_total "]["interface"] == "eth0"


def test_the_machine_is_the_capacity_of_the_node() -> None:
    assert samples(machine_metrics({"cpu": "1500m", "memory": "2Gi"})) == {
        ("machine_cpu_cores", "", "", ""): 1.5,
        ("machine_memory_bytes", "", "", ""): 2**31,
    }
    assert machine_metrics({}) == b""
