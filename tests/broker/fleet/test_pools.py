"""The fleet file and the nodes that it describes."""

import json

import pytest

from broker.errors import ConfigurationError
from broker.fleet.pools import Fleet, fleet_of, fleet_of_settings
from broker.fleet.schema import FleetFile
from broker.node_spec import NodeSpec
from broker.yaml_document import parse_document
from tests.broker.nodes import settings_of_a_node
from tests.server import ROOT

URL = "http://127.0.0.1:1"
TAINT = {"key": "virtual-kubelet.io/provider", "value": "web", "effect": "NoSchedule"}


def fleet(text: str) -> Fleet:
    file = parse_document(text, FleetFile, name="fleet.yaml")
    return fleet_of(settings_of_a_node(URL, node_name="fleet", fleet="fleet.yaml"), file)


def pool(text: str) -> tuple[NodeSpec, ...]:
    return fleet(f"pools: [{{{text}}}]").specs


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        fleet(text)
    return str(caught.value).splitlines()


def test_without_a_fleet_there_is_one_node() -> None:
    (spec,) = fleet_of_settings(settings_of_a_node(URL, node_name="edge")).specs
    assert spec == NodeSpec.of_settings(settings_of_a_node(URL, node_name="edge"))
    assert not [label for label in spec.labels if label.startswith("fleet.")]


def test_a_number_of_nodes_has_the_fleets_name() -> None:
    specs = fleet_of_settings(settings_of_a_node(URL, node_name="edge", nodes=3)).specs
    assert [spec.name for spec in specs] == ["edge-0", "edge-1", "edge-2"]
    assert {spec.labels["kubernetes.io/hostname"] for spec in specs} == {"edge-0", "edge-1", "edge-2"}
    assert {spec.labels["fleet.virtual-kubelet.io/name"] for spec in specs} == {"edge"}


def test_a_pool_describes_its_nodes() -> None:
    text = "name: spot, count: 2, capacity: {cpu: 16, memory: 64Gi}, allocatable: {cpu: '15'}, startDelay: 2s"
    spec = pool(f"{text}, drain: true, labels: {{tier: web}}, taints: [{{key: spot, effect: NoSchedule}}]")[1]
    assert spec.name == "spot-1"
    assert (spec.capacity, spec.allocatable) == ({"cpu": "16", "memory": "64Gi"}, {"cpu": "15"})
    assert spec.taints == (TAINT, {"key": "spot", "effect": "NoSchedule"})
    assert (spec.labels["tier"], spec.labels["fleet.virtual-kubelet.io/pool"]) == ("web", "spot")
    assert (spec.start_delay, spec.drain) == (2.0, True)
    assert spec.annotations["metrics.k8s.io/resource-metrics-path"] == "/nodes/spot-1/metrics/resource"


def test_zones_come_in_turn() -> None:
    specs = pool("name: a, count: 3, zones: [eu-1a, eu-1b]")
    labels = [spec.labels for spec in specs]
    assert [each["topology.kubernetes.io/zone"] for each in labels] == ["eu-1a", "eu-1b", "eu-1a"]
    assert {each["topology.kubernetes.io/region"] for each in labels} == {"eu-1"}
    (other,) = pool("name: a, count: 1, zones: [z], region: r")
    assert other.labels["topology.kubernetes.io/region"] == "r"


def test_the_seed_decides_the_registration_delays() -> None:
    text = "name: a, count: 20, registerDelay: 1m30s, registerJitter: 10s"
    delays = [spec.register_delay for spec in pool(text)]
    assert delays == [spec.register_delay for spec in pool(text)]
    assert len(set(delays)) == 20
    assert all(90 <= delay <= 100 for delay in delays)
    assert delays != [spec.register_delay for spec in fleet(f"seed: 1\npools: [{{{text}}}]").specs]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("  cuont: 2", "pools[0].cuont: no such field here; is it count?"),
        ("  capacity: {cpu: many}", "pools[0].capacity.cpu: "),
        ("  capacity: {pods: 9223372036854776}", "pools[0].capacity.pods: must be an integer, at most 9223"),
        ("  capacity: {cpu: 1e999}", "pools[0].capacity.cpu: is too large"),
        ("  labels: {a b: c}", "pools[0].labels"),
        ("  taints: [{key: spot, effect: Never}]", "pools[0].taints[0].effect: "),
        ("  allocatable: {cpu: 9, memory: 1Gi}", "pools[0].allocatable.cpu: is more than the capacity, 8"),
        ("  drain: 1", "pools[0].drain: "),
        ("  registerDelay: soon", "pools[0].registerDelay: not a duration such as 500ms, 10s or 1m30s"),
    ],
)
def test_an_error_names_line_and_field(line: str, message: str) -> None:
    capacity = "" if "capacity:" in line else "\n  capacity: {cpu: 8}"
    (found,) = errors(f"pools:\n- name: a\n  count: 1\n{line}{capacity}\n")
    assert found.startswith("fleet.yaml:4: ")
    assert message in found


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["- {name: a, count: 1}"] * 2, "pools[1].name: several pools have the name a"),
        (
            ["- {name: a, count: 6000}", "- name: b", "  count: 6000"],
            "pools[1].count: 12000 nodes with the pools before; at most 10000",
        ),
        (
            ["- {name: a, count: 1, capacity: {", "  cpu: 1,", "  nvidia.com/gpu: 1.5}}"],
            "pools[0].capacity.nvidia.com/gpu: must be an integer, at most 9223372036854775",
        ),
        (
            ["- {name: a, count: 1, labels: {", "  tier: web,", "  fleet.virtual-kubelet.io/pool: b}}"],
            "pools[0].labels.fleet.virtual-kubelet.io/pool: is set by the broker",
        ),
        (
            [
                "- {name: a, count: 1, taints: [",
                "  {key: a, effect: NoExecute},",
                "  {key: a, effect: NoExecute}]}",
            ],
            "pools[0].taints[1]: an earlier taint has the same key and effect",
        ),
    ],
)
def test_an_error_of_several_fields_names_one(lines: list[str], error: str) -> None:
    assert errors("\n".join(["pools:", *lines])) == [f"fleet.yaml:{len(lines) + 1}: {error}"]


def test_the_published_schema_is_the_models() -> None:
    published = json.loads((ROOT / "broker/fleet/schema.json").read_text())
    assert published.pop("$schema") == "https://json-schema.org/draft/2020-12/schema"
    assert published == FleetFile.model_json_schema()


def test_the_documented_file_is_valid() -> None:
    text = (ROOT / "docs/fleet.md").read_text().split("```yaml\n", 1)[1].split("```", 1)[0]
    specs = fleet(text).specs
    assert len(specs) == 203
    assert specs[0].capacity["nvidia.com/gpu"] == "4"
