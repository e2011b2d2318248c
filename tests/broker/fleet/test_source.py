"""Where the fleet is described: a ConfigMap that is watched, with the fake API server."""

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from broker.errors import ConfigurationError
from broker.kubernetes.config import ClusterConfig
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import running_node, settings_of_a_node
from tests.broker.waiting import eventually
from tests.stub_provider import StubProvider


def config_map(text: str, *, key: str = "fleet.yaml") -> Object:
    return {"metadata": {"name": "pools", "namespace": "fleets"}, "data": {key: text}}


def change(api: ApiServer, text: str, *, key: str = "fleet.yaml") -> None:
    found = api.store.get("configmaps", "pools", "fleets")
    api.store.update("configmaps", {**found, "data": {key: text}})


def logged(logs: list[EventDict], event: str) -> list[EventDict]:
    return [log for log in logs if event in log["event"]]


async def test_nodes_come_and_go_with_a_config_map(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider
) -> None:
    api.store.create("configmaps", config_map("pools: [{name: a, count: 1}]"))
    settings = settings_of_a_node(stub.url, fleet="configmap:fleets/pools")
    with capture_logs() as logs:
        async with running_node(settings, cluster) as broker:
            change(api, "pools: [{name: a, count: 2}]")
            await eventually(lambda: list(broker.nodes) == ["a-0", "a-1"])
            change(api, "pools: [{name: a")
            await eventually(lambda: logged(logs, "fleet not changed: the ConfigMap is invalid"))
            change(api, "pools: []", key="other.yaml")
            await eventually(lambda: [log for log in logs if "no key fleet.yaml" in log.get("error", "")])
            api.store.delete("configmaps", "pools", "fleets")
            await eventually(lambda: logged(logs, "fleet not changed: the ConfigMap was deleted"))
            assert list(broker.nodes) == ["a-0", "a-1"]
            api.store.create("configmaps", config_map("pools: [{name: b, count: 1}]"))
            await eventually(lambda: list(broker.nodes) == ["b-0"])


@pytest.mark.parametrize(
    ("there", "error"),
    [
        (None, "FLEET: configmap:fleets/pools: there is no such ConfigMap"),
        (config_map("", key="other"), "FLEET: configmap:fleets/pools: it has no key fleet.yaml"),
        (config_map("pols: []"), "configmap:fleets/pools/fleet.yaml:1: pols: no such field here; is it pools?"),
    ],
)
async def test_an_invalid_config_map_stops_the_start(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, there: Object | None, error: str
) -> None:
    if there:
        api.store.create("configmaps", there)
    with pytest.raises(ConfigurationError, match=error):
        async with running_node(settings_of_a_node(stub.url, fleet="configmap:fleets/pools"), cluster):
            raise AssertionError("the broker has started")
