"""`/metrics/resource`, decoded by the rules of metrics-server.

metrics-server (`pkg/scraper/client/resource/decode.go`) takes a container's CPU time, memory and start time, each
with the time of its sample, and drops a pod with a container that lacks one of the first two or has 0 as one of
them. It needs two scrapes with an advancing time.
"""

import re
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from broker.kubelet.stats.resource_metrics import resource_metrics
from tests.broker.kubelet.stats.conftest import UsageNode, samples

START = datetime(2026, 11, 22, 8, 46, 40, tzinfo=UTC).timestamp()


async def metrics(node: UsageNode) -> bytes:
    return resource_metrics(*await node.source.read())


async def test_the_metrics_match_those_of_metrics_server(node: UsageNode) -> None:
    node.put("web", {"nginx": 1.5, "proxy": 0.25})
    found = samples(await metrics(node))
    node_metrics = {key: found.pop(key) for key in [*found] if key[0].startswith("node_")}
    assert [*node_metrics] == [("node_cpu_usage_seconds_total",), ("node_memory_working_set_bytes",)]
    nginx, proxy = ("nginx", "shop", "web"), ("proxy", "shop", "web")
    assert found == {
        ("pod_cpu_usage_seconds_total", "shop", "web"): 1.75,
        ("pod_memory_working_set_bytes", "shop", "web"): 2000,
        ("container_cpu_usage_seconds_total", *nginx): 1.5,
        ("container_cpu_usage_seconds_total", *proxy): 0.25,
        ("container_memory_working_set_bytes", *nginx): 1000,
        ("container_memory_working_set_bytes", *proxy): 1000,
        ("container_start_time_seconds", *nginx): START,
        ("container_start_time_seconds", *proxy): START,
        ("resource_scrape_error",): 0,
    }


async def test_a_container_that_has_ended_has_no_samples(node: UsageNode) -> None:
    node.put("web", {"nginx": 1, "proxy": 1})
    await metrics(node)
    node.report("web", {"nginx": 2})
    found = samples(await metrics(node))
    assert found["pod_cpu_usage_seconds_total", "shop", "web"] == 3  # with what the other has used
    assert not any("proxy" in key for key in found)


async def test_a_pod_keeps_what_a_container_used_before_its_restart(node: UsageNode) -> None:
    node.put("web", {"nginx": 50})
    await metrics(node)
    node.report("web", {"nginx": 0.5}, started="2026-11-22T08:59:59Z")
    found = samples(await metrics(node))
    assert found["pod_cpu_usage_seconds_total", "shop", "web"] == 50.5
    assert found["container_cpu_usage_seconds_total", "nginx", "shop", "web"] == 0.5


async def test_usage_samples_have_a_timestamp(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    families = list(text_string_to_metric_families((await metrics(node)).decode()))
    measured = {family.name for family in families if all(sample.timestamp for sample in family.samples)}
    assert measured == {family.name for family in families} - {
        "container_start_time_seconds", "resource_scrape_error",
    }  # fmt: skip


async def test_each_value_has_the_timestamp_of_its_own_time(node: UsageNode) -> None:
    node.put("web", {"nginx": 1, "proxy": 1})
    node.put("db", {"postgres": 1})
    assert node.provider.reported is not None
    containers = [container for entry in node.provider.reported for container in entry["containers"]]
    values = [(resource, container) for container in containers for resource in ("cpu", "memory")]
    expected = {}
    for second, (resource, container) in enumerate(values):
        container[resource]["time"] = f"2026-11-22T09:00:0{second}Z"
        expected[resource, container["name"]] = second
    found = re.findall(r'(?m)^container_(cpu|memory)_.*container="(\w+)".* (\d+)$', (await metrics(node)).decode())
    assert {(resource, name): int(ms) // 1000 % 60 for resource, name, ms in found} == expected


async def test_labels_of_a_provider_are_escaped(node: UsageNode) -> None:
    node.put("web", {'a"b\\c\nd': 1.0})
    found = samples(await metrics(node))
    assert found["container_cpu_usage_seconds_total", 'a"b\\c\nd', "shop", "web"] == 1
