"""The kubelet API in front of the real provider."""

from contextlib import closing

from tests.broker.kubelet.conftest import Kubelet, Node, Start
from tests.server import Server


async def start_with_a_pod(start: Start, node: Node, provider: Server) -> Kubelet:
    """Start the API of a node whose pod `shop/web` exists at the provider."""
    with closing(provider.client()) as client:
        client.request("POST", "/createPod", node.by_name["shop", "web"])
    return await start(
        web_endpoint_url=f"http://127.0.0.1:{provider.port}", authentication=False, authorization=False
    )


async def test_logs_match_the_provider(start: Start, node: Node, provider: Server) -> None:
    kubelet = await start_with_a_pod(start, node, provider)
    whole = await kubelet.logs()
    assert whole.status == 200
    assert whole.body.startswith(b"synthetic container app from image app:1\n")
    last = await kubelet.logs(tailLines="1")
    assert last.body == whole.body.splitlines(keepends=True)[-1]
    assert (await kubelet.logs(limitBytes="9")).body == b"synthetic"


async def test_following_ends_when_the_pod_is_deleted(start: Start, node: Node, provider: Server) -> None:
    kubelet = await start_with_a_pod(start, node, provider)
    whole = (await kubelet.logs()).body
    async with kubelet.follow() as response:
        assert await response.content.readany() == whole
        with closing(provider.client()) as client:
            client.request("DELETE", "/deletePod", node.by_name["shop", "web"])
        assert await response.content.read() == b""


async def test_logs_of_an_unknown_pod_return_an_error(start: Start, node: Node, provider: Server) -> None:
    kubelet = await start_with_a_pod(start, node, provider)
    node.put("late")
    assert (await kubelet.logs("shop/late/app")).status == 400


async def test_running_pods_match_the_provider(start: Start, node: Node, provider: Server) -> None:
    kubelet = await start_with_a_pod(start, node, provider)
    (pod,) = (await kubelet.get("/runningpods/")).json()["items"]
    assert pod["metadata"] == {"namespace": "shop", "name": "web", "uid": "uid-of-web"}


async def test_usage_matches_the_provider(start: Start, node: Node, provider: Server) -> None:
    kubelet = await start_with_a_pod(start, node, provider)
    with closing(provider.client()) as client:
        (reported,) = client.get("/podStats").json()
    (pod,) = (await kubelet.get("/stats/summary")).json()["pods"]
    assert pod["podRef"] == reported["podRef"]
    (container,) = pod["containers"]
    assert container["startTime"] == reported["containers"][0]["startTime"]
    assert container["memory"]["workingSetBytes"] == reported["containers"][0]["memory"]["workingSetBytes"] > 0
    metrics = (await kubelet.get("/metrics/cadvisor")).body.decode()
    assert 'container_memory_working_set_bytes{container="app",' in metrics
