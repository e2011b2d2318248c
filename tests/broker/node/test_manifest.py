"""The Node object: labels, taint and status."""

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.node.manifest import (
    NotReady,
    is_stored,
    latest_conditions,
    new_node,
    node_status,
    status_patch,
    with_own_taints,
)
from broker.node.report import NodeReport
from broker.node_info import NodeInfo
from broker.node_spec import NodeSpec
from broker.types import Object
from tests.broker.nodes import settings_of_a_node

NOW = datetime(2026, 11, 22, 8, 46, 38, 123456, tzinfo=UTC)
CAPACITY = {"cpu": "4", "memory": "8Gi", "pods": "100"}
OURS = {"key": "virtual-kubelet.io/provider", "value": "web", "effect": "NoSchedule"}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}


def spec(**fields: Any) -> NodeSpec:
    return NodeSpec.of_settings(settings_of_a_node("http://127.0.0.1:3000", **fields))


def status(report: NodeReport = NodeReport(CAPACITY), **fields: Any) -> Object:  # noqa: B008 - a tuple
    known = {name: fields.pop(name) for name in ("addresses", "measured_pressures") if name in fields}
    node = NodeInfo("node", capacity=report.capacity, allocatable=report.capacity, **known)
    given: dict[str, Any] = {"not_ready": None, "before": [], "now": NOW}
    return node_status(spec(), node, report.conditions, port=10250, **{**given, **fields})


def condition(obj: Object, type_: str) -> Object:
    found: Object = next(c for c in obj["conditions"] if c["type"] == type_)
    return found


def test_a_node_has_the_well_known_labels() -> None:
    labels = spec(node_name="edge-1", labels={"zone": "a", "kubernetes.io/arch": "arm64"}).labels
    assert labels == {
        "type": "virtual-kubelet",
        "kubernetes.io/role": "agent",
        "kubernetes.io/hostname": "edge-1",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "arm64",
        "node.kubernetes.io/exclude-from-external-load-balancers": "true",
        "zone": "a",
    }


def test_a_node_has_a_taint_unless_disabled() -> None:
    assert new_node(spec(), {}, {})["spec"] == {"taints": [OURS]}
    assert new_node(spec(taint_value="x"), {}, {})["spec"]["taints"][0]["value"] == "x"
    assert new_node(spec(disable_taint=True), {}, {})["spec"] == {"taints": []}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ([], [OURS]),
        ([NOT_READY], [NOT_READY, OURS]),
        ([{**OURS, "effect": "NoExecute"}, NOT_READY], [NOT_READY, OURS]),
    ],
)
def test_the_taints_of_other_parties_stay(there: list[Object], wanted: list[Object]) -> None:
    assert with_own_taints(there, spec()) == wanted


def test_a_disabled_taint_is_removed() -> None:
    assert with_own_taints([OURS, NOT_READY], spec(disable_taint=True)) == [NOT_READY]


def test_capacity_and_allocatable_come_from_the_provider() -> None:
    found = status()
    assert found["capacity"] == found["allocatable"] == CAPACITY
    assert found["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert found["features"] == {"supplementalGroupsPolicy": False}
    assert found["declaredFeatures"] == [
        "ExtendWebSocketsToKubelet",
        "InPlacePodLevelResourcesVerticalScaling",
        "InPlacePodVerticalScalingInitContainers",
        "RestartAllContainersOnContainerExits",
    ]
    assert condition(found, "Ready")["status"] == "True"
    assert condition(found, "NetworkUnavailable")["status"] == "False"


@pytest.mark.parametrize("missing", ["cpu", "memory", "pods"])
def test_a_node_requires_cpu_memory_and_pods(missing: str) -> None:
    found = status(NodeReport({name: value for name, value in CAPACITY.items() if name != missing}))
    assert condition(found, "Ready")["status"] == "False"
    assert missing in condition(found, "Ready")["message"]


def test_conditions_of_the_provider_are_reported() -> None:
    conditions = (
        {"type": "Ready", "status": "False", "reason": "Maintenance", "message": "until noon"},
        {"type": "DiskPressure", "status": "true"},
        {"type": "NetworkUnavailable", "status": "maybe"},
    )
    found = status(NodeReport(CAPACITY, conditions))
    ready = condition(found, "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "Maintenance", "until noon")
    assert condition(found, "DiskPressure")["status"] == "True"
    assert condition(found, "NetworkUnavailable")["status"] == "Unknown"


def test_pressures_follow_from_the_thresholds() -> None:
    found = status(measured_pressures={"MemoryPressure": True, "DiskPressure": False})
    memory, disk = condition(found, "MemoryPressure"), condition(found, "DiskPressure")
    assert (memory["status"], memory["reason"]) == ("True", "KubeletHasInsufficientMemory")
    assert (disk["status"], disk["reason"]) == ("False", "KubeletHasNoDiskPressure")
    assert "PIDPressure" not in [c["type"] for c in found["conditions"]]


def test_the_provider_may_report_a_pressure_itself() -> None:
    own = NodeReport(CAPACITY, ({"type": "DiskPressure", "status": "True", "reason": "Full"},))
    for holds in (True, False):
        found = status(own, measured_pressures={"DiskPressure": holds})
        assert condition(found, "DiskPressure")["reason"] == "Full"
    fine = NodeReport(CAPACITY, ({"type": "DiskPressure", "status": "False", "reason": "Fine"},))
    assert condition(status(fine, measured_pressures={"DiskPressure": True}), "DiskPressure")["status"] == "True"
    assert condition(status(fine, measured_pressures={"DiskPressure": False}), "DiskPressure")["reason"] == "Fine"


def test_not_ready_overrides_the_condition_of_the_provider() -> None:
    found = status(not_ready=NotReady("ProviderUnavailable", "no answer"))
    ready = condition(found, "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "ProviderUnavailable", "no answer")
    assert found["capacity"] == CAPACITY


def test_the_transition_time_changes_with_the_status() -> None:
    earlier = "2026-11-22T08:00:00Z"
    before = [
        {"type": "Ready", "status": "True", "lastTransitionTime": earlier},
        {"type": "NetworkUnavailable", "status": "True", "lastTransitionTime": earlier},
    ]
    found = status(before=before)
    assert condition(found, "Ready")["lastTransitionTime"] == earlier
    assert condition(found, "NetworkUnavailable")["lastTransitionTime"] == "2026-11-22T08:46:38Z"
    assert {c["lastHeartbeatTime"] for c in found["conditions"]} == {"2026-11-22T08:46:38Z"}


def test_a_transition_time_never_goes_back() -> None:
    ahead = "2026-11-22T10:46:38Z"
    found = status(before=[{"type": "Ready", "status": "Unknown", "lastTransitionTime": ahead}])
    assert condition(found, "Ready")["lastTransitionTime"] == ahead


def test_an_observed_older_transition_is_ignored() -> None:
    earlier = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-11-22T08:00:00Z"}
    later = {**earlier, "status": "True", "lastTransitionTime": "2026-11-22T08:01:00Z"}
    assert latest_conditions([later], [earlier]) == [later]
    assert latest_conditions([earlier], [later]) == [later]
    assert latest_conditions([later], [{**later, "status": "False"}]) == [{**later, "status": "False"}]


def test_heartbeats_are_ignored_in_comparisons() -> None:
    one = status()
    other = status(before=one["conditions"], now=NOW.replace(hour=9))
    assert one != other
    assert is_stored(one, other)


def test_another_notation_of_a_quantity_is_stored() -> None:
    found = status(NodeReport({**CAPACITY, "memory": "8192Mi"}))
    assert is_stored(found, {**found, "capacity": CAPACITY, "allocatable": CAPACITY})
    fine = status(NodeReport({**CAPACITY, "cpu": "0.0001"}))
    rounded = {**CAPACITY, "cpu": "1m"}  # as the API server does
    assert is_stored(fine, {**fine, "capacity": rounded, "allocatable": rounded})


def test_fields_of_other_clients_are_no_difference() -> None:
    found = status()
    theirs = {"type": "KernelDeadlock", "status": "False"}
    assert is_stored(found, {**found, "conditions": [*found["conditions"], theirs]})
    assert is_stored(found, {**found, "capacity": {**CAPACITY, "example.com/dongle": "4"}})
    assert is_stored(found, {**found, "nodeInfo": {**found["nodeInfo"], "swap": {"capacity": 0}}})


def test_an_older_cluster_drops_declared_features() -> None:
    found = status()
    stored = {name: value for name, value in found.items() if name != "declaredFeatures"}
    assert is_stored(found, stored)


@pytest.mark.parametrize(
    "changed",
    [
        {"conditions": []},
        {"capacity": {**CAPACITY, "cpu": "1"}},
        {"allocatable": {"cpu": "4", "memory": "8Gi"}},
        {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}},
        {"nodeInfo": {}},
        {"declaredFeatures": []},
    ],
)
def test_a_changed_field_of_the_broker_is_noticed(changed: Object) -> None:
    found = status()
    assert not is_stored(found, {**found, **changed})


def test_unreported_pressures_are_removed() -> None:
    unknown = {"type": "DiskPressure", "status": "Unknown", "reason": "NodeStatusNeverUpdated"}
    theirs = {"type": "KernelDeadlock", "status": "False"}
    patch = status_patch(status(), written={}, stored={"conditions": [unknown, theirs]})["status"]
    assert patch["conditions"][2:] == [{"$patch": "delete", "type": "DiskPressure"}]


def test_a_patch_replaces_addresses_and_removes_resources() -> None:
    addresses = [{"type": "InternalIP", "address": ip} for ip in ("10.0.0.1", "fd00::1")]
    written = {"capacity": {"cpu": "1", "gpu": "2"}}
    patch = status_patch(status(addresses=addresses), written=written, stored={})["status"]
    assert patch["addresses"] == [*addresses, {"$patch": "replace"}]
    assert patch["capacity"] == {**CAPACITY, "gpu": None}
    assert patch["allocatable"] == CAPACITY
