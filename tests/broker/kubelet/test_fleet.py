"""The kubelet API of a fleet: two nodes share a port, and each is named in the path."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from broker.kubernetes.config import ClusterConfig
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import running_node, settings_of_a_node
from tests.pods import a_pod
from tests.stub_provider import Ways, providing

READER, ADMIN = "token-of-a-reader", "token-of-an-admin"
"""A reader may read `fleet-0`, and an admin all nodes."""
OF_A_NODE = (
    "/pods",
    "/runningpods/",
    "/stats/summary",
    "/metrics",
    "/metrics/resource",
    "/metrics/cadvisor",
    "/configz",
)

Get = Callable[..., Awaitable[tuple[int, str]]]


def is_allowed(spec: dict[str, Any]) -> bool:
    """Return what the API server returns for a SubjectAccessReview."""
    return bool(spec["user"] == "admin" or spec["resourceAttributes"]["name"] == "fleet-0")


@pytest.fixture
async def get(api: ApiServer, cluster: ClusterConfig) -> AsyncIterator[Get]:
    """Function that reads a path of two nodes with a pod each, and returns status and body."""
    api.tokens |= {READER: "reader", ADMIN: "admin"}
    api.authorize = is_allowed
    async with providing(Ways(extensions=("podStats",))) as stub:
        settings = settings_of_a_node(stub.url, node_name="fleet", nodes=2)
        async with running_node(settings, cluster) as broker, aiohttp.ClientSession() as session:
            for number in range(2):
                api.store.create("pods", a_pod(f"web-{number}", nodeName=f"fleet-{number}"))

            def are_running() -> bool:
                return all(pod["status"].get("phase") == "Running" for pod in api.store.list("pods"))

            await api.until(are_running)

            async def get(path: str, token: str = ADMIN) -> tuple[int, str]:
                url, headers = f"https://127.0.0.1:{broker.port}{path}", {"Authorization": f"Bearer {token}"}
                async with session.get(url, headers=headers, ssl=False) as response:
                    return response.status, await response.text()

            yield get


async def test_a_node_has_its_own_pods_alone(get: Get) -> None:
    for node, number in (("fleet-0", "0"), ("fleet-1", "1")):
        for path in ("/pods", "/runningpods/", "/stats/summary", "/metrics/resource"):
            status, body = await get(f"/nodes/{node}{path}")
            assert (status, set(re.findall(r"\bweb-(\d)\b", body))) == (200, {number}), path
    assert '"nodeName":"fleet-1"' in (await get("/nodes/fleet-1/stats/summary"))[1]
    assert set(re.findall(r"\bweb-(\d)\b", (await get("/pods"))[1])) == {"0", "1"}


async def test_metrics_of_a_kubelet_are_those_of_a_node(get: Get) -> None:
    for node in ("fleet-0", "fleet-1"):
        _, body = await get(f"/nodes/{node}/metrics")
        assert re.findall(r"^kubelet_(?:node_name|running_pods).*", body, re.MULTILINE) == [
            f'kubelet_node_name{{node="{node}"}} 1',
            "kubelet_running_pods 1",
        ]
    assert "\nkubelet_" not in (await get("/metrics"))[1]  # several names would not be that of the address


async def test_a_path_has_to_name_a_node(get: Get) -> None:
    for path in OF_A_NODE:
        status, body = await get(f"/nodes/fleet-2{path}")
        error = json.loads(body)
        assert (status, error["kind"], error["code"]) == (404, "Status", 404)
        assert error["message"] == 'node not found ("fleet-2")'
    assert (await get("/stats/summary"))[0] == (await get("/metrics/resource"))[0] == 404
    assert "/nodes/NODE/stats/summary" in (await get("/stats/summary"))[1]


async def test_access_is_that_to_the_node(get: Get, api: ApiServer) -> None:
    for path in OF_A_NODE:
        assert [(await get(f"/nodes/fleet-{n}{path}", READER))[0] for n in (0, 1)] == [200, 403], path
    logs = [(await get(f"/containerLogs/default/web-{n}/web", READER))[0] for n in (0, 1)]
    assert logs == [200, 403]  # a pod's path needs access to the pod's node
    assert (await get("/pods", READER))[0] == 403  # to all nodes
    reviewed = [request.body["spec"] for request in api.requests_to("POST", "/subjectaccessreviews$")]
    assert {spec["resourceAttributes"]["name"] for spec in reviewed} == {"fleet-0", "fleet-1", ""}
