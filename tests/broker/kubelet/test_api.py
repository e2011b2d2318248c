"""The other routes of the kubelet API, and the plain listener."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from broker.errors import ConfigurationError
from broker.kubelet.health import SYNC_LIMIT, NodeHealth
from tests.broker.kubelet.conftest import NOW, Kubelet, Node, Start
from tests.stub_provider import LogProvider

SECRET = "the-password-of-the-database"


async def test_pods_returns_pods_unchanged_from_kubernetes(kubelet: Kubelet, node: Node) -> None:
    node.by_name["shop", "web"]["spec"]["aFieldOfTomorrow"] = 1
    node.put("db")
    answer = await kubelet.get("/pods")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.json() == {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {},
        "items": list(node.by_name.values()),
    }


async def test_a_node_without_pods_returns_empty_lists(kubelet: Kubelet, node: Node) -> None:
    node.by_name.clear()
    assert (await kubelet.get("/pods")).json()["items"] == []
    assert (await kubelet.get("/runningpods/")).json()["items"] == []
    assert (await kubelet.get("/stats/summary")).json()["pods"] == []


def held(name: str, phase: str) -> dict[str, Any]:
    """Return a pod as stored by a provider, with resolved secrets."""
    env = [{"name": "PASSWORD", "value": SECRET}]
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": f"uid-of-{name}", "annotations": {"a": SECRET}},
        "spec": {"containers": [{"name": "app", "image": "app:1", "env": env}]},
        "status": {"phase": phase},
    }


async def test_running_pods_excludes_ended_pods_of_the_provider(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.pods = [
        held("web", "Running"),
        held("new", "Pending"),
        held("done", "Succeeded"),
        held("bad", "Failed"),
    ]
    answer = await kubelet.get("/runningpods/")
    assert (await kubelet.get("/runningpods")).body == answer.body
    assert (answer.json()["kind"], answer.json()["apiVersion"]) == ("PodList", "v1")
    assert [pod["metadata"] for pod in answer.json()["items"]] == [
        {"namespace": "shop", "name": "web", "uid": "uid-of-web"},
        {"namespace": "shop", "name": "new", "uid": "uid-of-new"},
    ]
    assert answer.json()["items"][0]["spec"] == {"containers": [{"name": "app", "image": "app:1"}]}


async def test_running_pods_contains_no_secret(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.pods = [held("web", "Running")]
    assert SECRET.encode() not in (await kubelet.get("/runningpods/")).body


async def test_running_pods_accepts_a_minimal_pod(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.pods = [{"metadata": {"namespace": "shop", "name": "web"}, "spec": None, "status": None}]
    (pod,) = (await kubelet.get("/runningpods/")).json()["items"]
    assert pod == {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"containers": []}, "status": {}}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/exec/shop/web/app",
        "/exec/shop/web/uid-of-web/app",
        "/attach/shop/web/app",
        "/run/shop/web/app",
        "/portForward/shop/web",
    ],
)
async def test_exec_attach_run_and_port_forward_return_501(kubelet: Kubelet, method: str, path: str) -> None:
    answer = await kubelet.get(path, method=method, command="sh", output="1", ports="80")
    assert (answer.status, answer.json()["code"]) == (501, 501)
    assert " not supported on node node-1: its provider " in answer.json()["message"]


@pytest.mark.parametrize("protocol", ["SPDY/3.1", "websocket"])
async def test_an_upgrade_request_for_exec_returns_501(
    kubelet: Kubelet, trust: ssl.SSLContext, protocol: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", kubelet.server.port, ssl=trust)
    writer.write(
        b"POST /exec/shop/web/app?command=sh&output=1 HTTP/1.1\r\nHost: node-1\r\nContent-Length: 0\r\n"
        b"Connection: Upgrade\r\nUpgrade: " + protocol.encode() + b"\r\n\r\n"
    )
    assert await reader.readline() == b"HTTP/1.1 501 Not Implemented\r\n"
    writer.close()


async def test_stats_have_an_entry_per_running_container(kubelet: Kubelet, node: Node) -> None:
    node.put("ended", state="terminated")
    summary = (await kubelet.get("/stats/summary")).json()
    assert summary["node"]["nodeName"] == "node-1"
    assert [(pod["podRef"]["name"], [c["name"] for c in pod["containers"]]) for pod in summary["pods"]] == [
        ("web", ["app"])
    ]


async def test_resource_metrics_are_in_the_text_format(kubelet: Kubelet) -> None:
    answer = await kubelet.get("/metrics/resource")
    assert answer.content_type == "text/plain"
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"node_cpu_usage_seconds", "container_memory_working_set_bytes"} <= names


async def test_without_the_provider_the_node_reports_itself(start: Start) -> None:
    kubelet = await start(web_endpoint_url="http://127.0.0.1:1", authentication=False, authorization=False)
    summary = await kubelet.get("/stats/summary")
    assert summary.status == 503
    assert b"usage could not be read from the provider" in summary.body
    resource = await kubelet.get("/metrics/resource")
    assert b"\nresource_scrape_error 1\n" in resource.body
    assert b"\nnode_cpu_usage_seconds_total " in resource.body
    assert b"\ncontainer_scrape_error 1\n" in (await kubelet.get("/metrics/cadvisor")).body


async def test_configz_has_the_terms_of_a_kubelet(start: Start) -> None:
    kubelet = await start(stream_idle_timeout="30m", authentication=False, authorization=False)
    config = (await kubelet.get("/configz")).json()["kubeletconfig"]
    assert config["kind"] == "KubeletConfiguration"
    assert config["streamingConnectionIdleTimeout"] == "1800s"
    assert config["authorization"]["mode"] == "AlwaysAllow"
    assert config["registerWithTaints"] == [
        {"key": "virtual-kubelet.io/provider", "value": "web", "effect": "NoSchedule"}
    ]


async def test_metrics_returns_the_metrics_of_the_broker(kubelet: Kubelet, node: Node) -> None:
    Gauge("pods_known", "Pods of the node", registry=node.registry).set(3)
    answer = await kubelet.get("/metrics")
    assert answer.content_type == "text/plain"
    assert b"pods_known 3.0" in answer.body


async def test_metrics_have_the_series_of_a_kubelet(kubelet: Kubelet, node: Node) -> None:
    node.put("ended", state="terminated")
    body = (await kubelet.get("/metrics")).body
    assert b'\nkubelet_node_name{node="node-1"} 1\n' in body
    assert b"\nkubelet_running_pods 2\n" in body
    assert b'\nkubelet_running_containers{container_state="running"} 1\n' in body
    assert b'\nkubelet_running_containers{container_state="exited"} 1\n' in body
    assert (await kubelet.get("/nodes/node-1/metrics")).body in body


async def test_slis_count_the_results_of_health_checks(kubelet: Kubelet, node: Node) -> None:
    await kubelet.get("/metrics/slis")
    node.health = NodeHealth(NOW, provider_ready=False)
    body = (await kubelet.get("/metrics/slis")).body
    assert b'\nkubernetes_healthcheck{name="ping",type="healthz"} 1\n' in body
    assert b'\nkubernetes_healthcheck{name="provider",type="readyz"} 0\n' in body
    total = b'\nkubernetes_healthchecks_total{name="provider",status="%s",type="readyz"} 1\n'
    assert total % b"success" in body
    assert total % b"error" in body


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (NodeHealth(NOW, provider_ready=True), 200),
        (NodeHealth(NOW - SYNC_LIMIT, provider_ready=True), 200),
        (NodeHealth(NOW - SYNC_LIMIT - timedelta(seconds=1), provider_ready=True), 503),
        (NodeHealth(NOW, provider_ready=False), 503),
        (NodeHealth(None, provider_ready=True), 503),
    ],
)
async def test_readyz_requires_recent_sync_and_ready_provider(
    kubelet: Kubelet, node: Node, state: NodeHealth, status: int
) -> None:
    node.health = state
    assert (await kubelet.get("/readyz")).status == status
    assert (await kubelet.get("/livez")).status == 200  # a restart would not help
    assert (await kubelet.get("/healthz")).status == 200


async def test_health_says_when_the_pods_were_last_synced(kubelet: Kubelet, node: Node) -> None:
    node.health = NodeHealth(NOW - timedelta(seconds=42), provider_ready=False)
    assert (await kubelet.get("/healthz")).body == b"ok\npods: synced 42 s ago\nprovider: unavailable\n"
    assert (await kubelet.get("/readyz")).body == b"not ready\npods: synced 42 s ago\nprovider: unavailable\n"
    node.health = NodeHealth(None, provider_ready=True)
    assert (await kubelet.get("/healthz")).body == b"ok\npods: never synced\nprovider: ready\n"


async def test_there_is_no_plain_listener_by_default(kubelet: Kubelet) -> None:
    assert kubelet.server.metrics_port is None


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_the_plain_listener_serves_monitoring_paths_only(start: Start, host: str) -> None:
    kubelet = await start(metrics_addr=f"{host}:0")
    statuses = {}
    async with aiohttp.ClientSession(f"http://{host}:{kubelet.server.metrics_port}") as session:
        for path in (
            "/stats/summary", "/metrics", "/metrics/resource", "/metrics/cadvisor", "/metrics/probes",
            "/metrics/slis", "/healthz", "/livez", "/readyz", "/configz",
            "/pods", "/runningpods/", "/containerLogs/shop/web/app", "/exec/shop/web/app",
        ):  # fmt: skip
            async with session.get(path) as response:
                statuses[path] = response.status
    assert list(statuses.values()) == [200] * 9 + [404] * 5


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_without_a_host_one_port_serves_both_families(start: Start, host: str) -> None:
    kubelet = await start(metrics_addr=":0")
    url = f"http://{host}:{kubelet.server.metrics_port}/livez"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200


async def test_an_invalid_key_prevents_the_start(start: Start, files: Path) -> None:
    (files / "tls.key").write_text("no key")
    with pytest.raises(ConfigurationError):
        await start()


@pytest.mark.parametrize("taken", ["kubelet_port", "metrics_addr"])
async def test_a_port_in_use_prevents_the_start(start: Start, kubelet: Kubelet, taken: str) -> None:
    port = kubelet.server.port
    with pytest.raises(OSError, match=str(port)):
        await start(**{taken: port if taken == "kubelet_port" else f"127.0.0.1:{port}"})


async def test_without_files_the_certificate_is_self_signed(start: Start) -> None:
    kubelet = await start(tls_cert_file=None, tls_key_file=None)
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await kubelet.get("/livez")
    async with kubelet.session.get(kubelet.url + "/livez", ssl=False) as response:
        assert response.status == 200


async def test_a_followed_log_ends_when_the_server_stops(start: Start, stub: LogProvider) -> None:
    kubelet = await start(authentication=False, authorization=False)
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        await kubelet.server.close()
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()
