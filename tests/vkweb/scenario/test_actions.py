"""The actions of a scenario on Node objects, with the fake API server."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.faults import parse_faults
from broker.kubernetes.client import Client
from broker.kubernetes.errors import NotFound
from broker.node.applied import APPLIED
from tests.broker.apiserver import ApiServer
from vkweb.scenario.actions import Nodes
from vkweb.scenario.file import GROUPS, AnyStep, Scenario
from vkweb.scenario.schedule import Entry, Happening, KnownNode

POOL = "fleet.virtual-kubelet.io/pool"
NOW = datetime(2026, 11, 27, 20, 30, tzinfo=UTC)
CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@pytest.fixture
def nodes(api: ApiServer, client: Client) -> Nodes:
    """The nodes spot-0 and spot-1, and a node of another kubelet."""
    for name in ("spot-0", "spot-1"):
        labels = {"type": "virtual-kubelet", POOL: "spot"}
        api.store.create("nodes", {"metadata": {"name": name, "labels": labels}, "spec": {}})
    api.store.create("nodes", {"metadata": {"name": "real", "labels": {POOL: "spot"}}, "spec": {}})
    return Nodes(client, clock=lambda: NOW, seed=7, pool_label=POOL)


def step_of(action: str, **fields: Any) -> AnyStep:
    return Scenario.model_validate({"steps": [{"at": "0s", "action": action, "count": 1, **fields}]}).steps[0]


async def applied(nodes: Nodes, action: Happening, *names: str, **fields: Any) -> dict[str, Any]:
    """Apply an action of a step, to spot-0 by default; return the errors."""
    step = step_of({"reclaimed": "reclaim"}.get(action, action), **fields)
    return await nodes.apply(Entry(timedelta(0), 1, action, names or ("spot-0",)), step)


async def recovered(nodes: Nodes, *names: str) -> dict[str, Any]:
    """End all faults of nodes; return the errors."""
    return await nodes.apply(Entry(timedelta(0), 0, "recover", names, frozenset(GROUPS.values())), None)


def json_node(config_map: dict[str, Any]) -> dict[str, Any]:
    """Return the Node in the ConfigMap of one that has vanished."""
    node: dict[str, Any] = json.loads(config_map["data"]["node.json"])
    return node


def faults(api: ApiServer, name: str = "spot-0") -> dict[str, str]:
    found = api.store.get("nodes", name)["metadata"].get("annotations") or {}
    return {key.partition("/")[2]: value for key, value in found.items() if key.startswith("fault.")}


async def test_only_nodes_of_this_project_are_known(nodes: Nodes, api: ApiServer) -> None:
    assert await nodes.known() == {"spot-0": KnownNode("spot"), "spot-1": KnownNode("spot")}
    adopted = {"status": {"nodeInfo": {"containerRuntimeVersion": "web://1"}}}
    api.store.create("nodes", {"metadata": {"name": "kwok-0"}, "spec": {}, **adopted})
    assert (await nodes.known())["kwok-0"] == KnownNode("")
    await applied(nodes, "slow")
    await applied(nodes, "drain")
    assert (await nodes.known())["spot-0"].groups == {"slow", "node"}


async def test_a_single_node_is_of_no_other_fleet(nodes: Nodes, api: ApiServer, client: Client) -> None:
    for name in ("lab", "single"):
        metadata = {"name": name, "labels": {"type": "virtual-kubelet"}, "annotations": {APPLIED: "{}"}}
        api.store.create("nodes", {"metadata": metadata, "spec": {}})
    assert {"lab", "single"} <= (await nodes.known()).keys()
    lab = Nodes(client, clock=lambda: NOW, seed=7, pool_label=POOL, fleet="lab")
    assert sorted(await lab.known()) == ["lab", "spot-0", "spot-1"]


async def test_nodes_of_another_fleet_are_not_known(nodes: Nodes, api: ApiServer, client: Client) -> None:
    for fleet in ("lab", "other"):
        labels = {"type": "virtual-kubelet", "fleet.virtual-kubelet.io/name": fleet}
        api.store.create("nodes", {"metadata": {"name": f"{fleet}-0", "labels": labels}, "spec": {}})
    assert len(await nodes.known()) == 4
    await applied(nodes, "vanish", "lab-0", "other-0")
    lab = Nodes(client, clock=lambda: NOW, seed=7, pool_label=POOL, fleet="lab")
    assert sorted(await lab.known()) == ["lab-0", "spot-0", "spot-1"]


@pytest.mark.parametrize(
    ("action", "fields", "expected"),
    [
        ("notReady", {"message": "disk broken"}, {"not-ready": "disk broken"}),
        ("partition", {}, {"partition": "true"}),
        ("pressure", {"resource": "disk"}, {"pressure": "disk"}),
        ("slow", {"factor": 2.5}, {"slow": "2.5", "slow-since": "2026-11-27T20:30:00Z"}),
        (
            "fail",
            {"pods": "30%"},
            {
                "fail": "ImagePullBackOff",
                "fail-share": "30%",
                "fail-seed": "7",
                "fail-since": "2026-11-27T20:30:00Z",
            },
        ),
    ],
)
async def test_a_fault_is_an_annotation_until_recovery(
    nodes: Nodes, api: ApiServer, action: Happening, fields: dict[str, str], expected: dict[str, str]
) -> None:
    assert await applied(nodes, action, "spot-0", "spot-1", **fields) == {}
    assert faults(api) == faults(api, "spot-1") == expected
    assert not parse_faults(api.store.get("nodes", "spot-0")["metadata"]["annotations"]).problems
    assert await recovered(nodes, "spot-0", "spot-1") == {}
    assert faults(api) == faults(api, "spot-1") == {}


async def test_a_drained_node_is_cordoned_until_recovery(nodes: Nodes, api: ApiServer) -> None:
    await applied(nodes, "drain")
    assert api.store.get("nodes", "spot-0")["spec"]["unschedulable"] is True
    await recovered(nodes, "spot-0")
    assert "unschedulable" not in api.store.get("nodes", "spot-0")["spec"]


async def test_a_node_cordoned_by_hand_stays_cordoned(nodes: Nodes, api: ApiServer, client: Client) -> None:
    await client.patch("/api/v1/nodes/spot-0", {"spec": {"unschedulable": True}})
    await applied(nodes, "drain")
    await recovered(nodes, "spot-0")
    assert api.store.get("nodes", "spot-0")["spec"]["unschedulable"] is True


async def test_a_reclaimed_node_has_taint_event_and_end(nodes: Nodes, api: ApiServer) -> None:
    other = {"key": "team", "effect": "NoSchedule"}
    node = api.store.get("nodes", "spot-0")
    api.store.update("nodes", {**node, "spec": {"taints": [other]}})
    await applied(nodes, "reclaim", taint={"key": "spot-itn"}, drain=True)
    spec = api.store.get("nodes", "spot-0")["spec"]
    assert spec == {"taints": [other, {"key": "spot-itn", "effect": "NoSchedule"}], "unschedulable": True}
    (event,) = api.store.list("events")
    assert (event["reason"], event["involvedObject"]["kind"]) == ("SpotInterruption", "Node")
    assert event["message"] == "the instance is reclaimed at 2026-11-27T20:32:00Z"
    await applied(nodes, "reclaimed")
    assert faults(api) == {
        "reclaim": "spot-itn:NoSchedule",
        "drain": "true",
        "not-ready": "the spot instance was reclaimed",
    }
    await recovered(nodes, "spot-0")
    assert (api.store.get("nodes", "spot-0")["spec"], faults(api)) == ({"taints": [other]}, {})


async def test_a_vanished_node_is_created_at_recovery(nodes: Nodes, api: ApiServer) -> None:
    before = api.store.get("nodes", "spot-0")
    resources = {"capacity": {"cpu": "8"}, "allocatable": {"cpu": "7"}}
    spec = {"taints": [CORDONED], "providerID": "kwok:spot-0"}
    changed = api.store.update("nodes", {**before, "spec": spec})
    api.store.update("nodes", {**changed, "status": {**resources, "phase": "Running"}}, subresource="status")
    await applied(nodes, "reclaimed", then="vanish")
    deleted = [change.before for change in api.store.history("nodes", 0) if change.after is None]
    assert deleted[0] is not None
    assert deleted[0]["metadata"]["annotations"] == {"fault.virtual-kubelet.io/vanish": "true"}
    assert await applied(nodes, "partition") != {}  # it does not exist
    await recovered(nodes, "spot-0")
    after = api.store.get("nodes", "spot-0")
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert (after["spec"], faults(api)) == ({"taints": [], "providerID": "kwok:spot-0"}, {})
    assert after["status"] == resources


async def test_a_later_play_recovers_vanished_nodes(nodes: Nodes, api: ApiServer, client: Client) -> None:
    await applied(nodes, "vanish", "spot-0", "spot-1")
    later = Nodes(client, clock=lambda: NOW, seed=8, pool_label=POOL)
    gone = KnownNode("spot", frozenset({"node"}), has_vanished=True)
    assert await later.known() == {"spot-0": gone, "spot-1": gone}
    (kept, _) = api.store.list("configmaps")
    assert kept["metadata"]["name"] == "vanished-node.spot-0"
    api.store.create(
        "nodes", {**api.store.get("nodes", "real"), "metadata": json_node(kept)["metadata"]}
    )  # restarted
    await later.forget_returned()
    assert await recovered(later, "spot-1") == {}
    assert await later.known() == {"spot-0": KnownNode("spot"), "spot-1": KnownNode("spot")}
    assert api.store.list("configmaps") == []


async def test_a_node_about_to_vanish_recovers(nodes: Nodes, api: ApiServer) -> None:
    with api.failing(403, reason="Forbidden", method="DELETE", path="nodes/spot-0"):
        assert await applied(nodes, "vanish") != {}
    await recovered(nodes, "spot-0")
    assert (faults(api), api.store.list("configmaps")) == ({}, [])


async def test_errors_are_returned_by_node(nodes: Nodes) -> None:
    errors = await applied(nodes, "partition", "spot-0", "gone")
    assert {name: type(error) for name, error in errors.items()} == {"gone": NotFound}
    assert await recovered(nodes, "gone") == {}


async def test_requests_are_repeated_after_a_conflict(nodes: Nodes, api: ApiServer) -> None:
    with api.failing(409, reason="Conflict", method="PATCH", times=1):
        assert await applied(nodes, "reclaim") == {}
    with api.failing(503, reason="ServiceUnavailable", method="PATCH", times=1):
        assert await applied(nodes, "partition", "spot-1") == {}
    assert len(api.store.get("nodes", "spot-0")["spec"]["taints"]) == 1
