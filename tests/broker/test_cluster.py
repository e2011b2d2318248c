"""End-to-end: a node of a cluster whose pods run at the real provider.

Each runs on the fake API server; with `pytest -m cluster` also on the cluster of KUBECONFIG. There a test
changes only the objects that it creates, and deletes them.
"""

import os
from contextlib import AbstractAsyncContextManager

import pytest

from broker.node import reporter as node_report
from broker.runner import Broker
from tests.broker.cluster import REAL, Corner
from tests.broker.nodes import running_node, settings_of_a_node
from tests.conftest import Serve
from tests.pods import a_container
from tests.server import Server

CONFIG_MAP = {"name": "SHADE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "shade"}}}


class Stage:
    """A part of a cluster, the provider, and the nodes between them."""

    def __init__(self, corner: Corner, provider: Server) -> None:
        self.corner = corner
        self.provider = provider

    def node(self) -> AbstractAsyncContextManager[Broker]:
        """Run the node."""
        # A cluster elsewhere needs an address of this machine to fetch logs from.
        address = {"pod_ip": os.environ.get("VKUBELET_POD_IP", "127.0.0.1"), "kubelet_host": None}
        url = f"http://127.0.0.1:{self.provider.port}"
        settings = settings_of_a_node(url, node_name=self.corner.node, **address)
        return running_node(settings, self.corner.config)

    def at_provider(self) -> dict[str, str]:
        """Return the pods of the provider: name → UID."""
        client = self.provider.client()
        try:
            pods = client.get("/getPods").json()
        finally:
            client.close()
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}

    async def until_deleted(self) -> None:
        """Wait until the provider has no pods."""

        async def has_none() -> bool:
            return not self.at_provider()

        await self.corner.until(has_none)


@pytest.fixture
def stage(corner: Corner, provider: Server) -> Stage:
    return Stage(corner, provider)


async def test_a_node_becomes_ready_and_renews_its_lease(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        node = await corner.ready(corner.node_path)
        lease = await corner.until(lambda: corner.read(corner.lease_path))
    assert node["metadata"]["labels"]["type"] == "virtual-kubelet"
    assert {"key": "virtual-kubelet.io/provider", "value": "web", "effect": "NoSchedule"} in node["spec"]["taints"]
    assert node["status"]["allocatable"]["memory"] == "1Ti"
    assert lease["spec"]["holderIdentity"].startswith(f"{corner.node}_")
    assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]


async def test_a_pod_runs_and_is_ready(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        created = await corner.create_pod("web")
        pod = await corner.ready(f"{corner.pods}/web")
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIP"]
    assert pod["status"]["hostIP"]
    assert pod["status"]["qosClass"] == created["status"]["qosClass"]
    assert stage.at_provider() == {"web": created["metadata"]["uid"]}


async def test_many_pods_run_and_are_deleted(stage: Stage, corner: Corner) -> None:
    names = [f"web-{number}" for number in range(40)]
    async with stage.node():
        for name in names:
            await corner.create_pod(name)
        for name in names:
            await corner.ready(f"{corner.pods}/{name}")
        assert stage.at_provider().keys() == set(names)
        for name in names:
            await corner.delete_pod(name)
        for name in names:
            await corner.gone(f"{corner.pods}/{name}")
        await stage.until_deleted()


@pytest.mark.parametrize("options", [{}, {"gracePeriodSeconds": 0}], ids=["with grace", "by force"])
async def test_a_deleted_pod_is_deleted_at_the_provider(
    stage: Stage, corner: Corner, options: dict[str, int]
) -> None:
    async with stage.node():
        await corner.create_pod("web")
        await corner.ready(f"{corner.pods}/web")
        await corner.delete_pod("web", **options)
        await corner.gone(f"{corner.pods}/web")
        await stage.until_deleted()


async def test_a_recreated_pod_has_another_uid(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        first = await corner.create_pod("web")
        await corner.ready(f"{corner.pods}/web")
        await corner.delete_pod("web", gracePeriodSeconds=0)
        second = await corner.create_pod("web")
        await corner.ready(f"{corner.pods}/web")

        async def is_the_second() -> bool:
            return stage.at_provider() == {"web": second["metadata"]["uid"]}

        await corner.until(is_the_second)
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


async def test_a_pod_waits_for_its_config_map(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        pod = await corner.create_pod("web", container={"env": [CONFIG_MAP]})
        event = await corner.event("MandatoryConfigMapNotFound")
        assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
        assert event["type"] == "Warning"

        async def waits() -> bool:
            status = (await corner.read(f"{corner.pods}/web") or {})["status"]
            states = [container["state"] for container in status.get("containerStatuses") or ()]
            missing = {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}
            return "startTime" in status and states == [{"waiting": missing}]

        await corner.until(waits)
        settings = {"metadata": {"name": "settings"}, "data": {"shade": "teal"}}
        await corner.client.create(f"/api/v1/namespaces/{corner.namespace}/configmaps", settings)
        await corner.ready(f"{corner.pods}/web")


async def test_a_container_waits_alone(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        setup, good, bad = a_container("setup"), a_container("good"), a_container("bad", env=[CONFIG_MAP])
        await corner.create_pod("web", initContainers=[setup], containers=[good, bad])
        settings = {"metadata": {"name": "settings"}, "data": {"other": "1"}}
        config_maps = f"/api/v1/namespaces/{corner.namespace}/configmaps"
        await corner.client.create(config_maps, settings)

        async def waits() -> bool:
            status = (await corner.read(f"{corner.pods}/web") or {})["status"]
            states = {container["name"]: container["state"] for container in status.get("containerStatuses") or ()}
            message = states.get("bad", {}).get("waiting", {}).get("message")
            key = f"couldn't find key shade in ConfigMap {corner.namespace}/settings"
            return "running" in states.get("good", {}) and message == key

        await corner.until(waits)
        await corner.client.patch(f"{config_maps}/settings", {"data": {"shade": "teal"}})
        await corner.ready(f"{corner.pods}/web")


async def test_changes_during_a_broker_outage_are_applied(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        for name in ("stays", "goes"):
            await corner.create_pod(name)
        stays = await corner.ready(f"{corner.pods}/stays")
        await corner.ready(f"{corner.pods}/goes")
    await corner.delete_pod("goes", gracePeriodSeconds=0)
    await corner.create_pod("comes")
    assert stage.at_provider().keys() == {"stays", "goes"}
    async with stage.node():
        await corner.ready(f"{corner.pods}/comes")

        async def is_made_up_for() -> bool:
            return stage.at_provider().keys() == {"stays", "comes"}

        await corner.until(is_made_up_for)
        still = await corner.ready(f"{corner.pods}/stays")
    assert still["status"]["startTime"] == stays["status"]["startTime"]
    assert still["status"]["containerStatuses"] == stays["status"]["containerStatuses"]


async def test_a_deleted_node_is_registered_again(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        first = await corner.ready(corner.node_path)
        await corner.client.delete(corner.node_path)

        async def is_back() -> bool:
            node = await corner.read(corner.node_path)
            return node is not None and node["metadata"]["uid"] != first["metadata"]["uid"]

        await corner.until(is_back)
        await corner.ready(corner.node_path)


async def test_a_stopped_node_keeps_its_lease_and_pods(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        await corner.create_pod("web")
        await corner.ready(f"{corner.pods}/web")
    node = await corner.not_ready(corner.node_path)
    assert [c["reason"] for c in node["status"]["conditions"] if c["type"] == "Ready"] == ["NodeShutdown"]
    assert await corner.read(corner.lease_path)
    pod = await corner.read(f"{corner.pods}/web")
    assert pod is not None
    assert pod["status"]["phase"] == "Running"
    assert stage.at_provider().keys() == {"web"}


async def test_a_provider_outage_changes_readiness_only(
    stage: Stage, corner: Corner, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_report, "PERIOD", 0.5)
    async with stage.node():
        await corner.create_pod("web")
        before = await corner.ready(f"{corner.pods}/web")
        stage.provider.kill()
        node = await corner.not_ready(corner.node_path)
        assert [c["reason"] for c in node["status"]["conditions"] if c["type"] == "Ready"] == [
            "ProviderUnavailable"
        ]
        during = await corner.read(f"{corner.pods}/web")
        assert during is not None
        assert during["status"]["phase"] == "Running"
        await corner.create_pod("meanwhile")
        with serve(PORT=str(stage.provider.port)) as again:
            stage.provider = again
            await corner.ready(corner.node_path)
            await corner.ready(f"{corner.pods}/meanwhile")
            assert stage.at_provider()["web"] == before["metadata"]["uid"]


@REAL
async def test_kubectl_logs_returns_the_log_of_the_provider(stage: Stage, corner: Corner) -> None:
    async with stage.node():
        await corner.create_pod("web")
        await corner.ready(f"{corner.pods}/web")
        log = await corner.client.get_bytes(f"{corner.pods}/web/log", container="web")
        tail = await corner.client.get_bytes(f"{corner.pods}/web/log", container="web", tailLines="1")
    assert b"nginx:1.27" in log
    assert log.endswith(tail)
    assert tail.count(b"\n") == 1


@REAL
async def test_a_deployment_runs_on_the_node(stage: Stage, corner: Corner) -> None:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": corner.node},
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
            "containers": [{"name": "web", "image": "nginx:1.27"}],
        },
    }
    selector = {"matchLabels": {"app": "web"}}
    path = f"/apis/apps/v1/namespaces/{corner.namespace}/deployments"
    deployment = {"metadata": {"name": "web"}, "spec": {"replicas": 3, "selector": selector, "template": template}}

    async def has_all() -> bool:
        found = await corner.client.get(f"{path}/web")
        return bool(found.get("status", {}).get("readyReplicas") == 3)

    async with stage.node():
        await corner.ready(corner.node_path)
        await corner.client.create(path, deployment)
        await corner.until(has_all)
        assert len(stage.at_provider()) == 3
        await corner.client.delete(f"{path}/web", {"propagationPolicy": "Foreground"})
        await corner.gone(f"{path}/web")
        await stage.until_deleted()
