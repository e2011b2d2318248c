"""A node as the provider reports it: its addresses, and what is left out."""

import pytest

from broker.node.report import NodeReport, drop_invalid, node_addresses
from broker.types import Object


@pytest.mark.parametrize(
    ("reported", "prefer_own", "published"),
    [
        ([], False, ["InternalIP 10.0.0.9"]),
        (["InternalIP 10.0.0.1"], False, ["InternalIP 10.0.0.1"]),
        (["InternalIP 10.0.0.1"], True, ["InternalIP 10.0.0.9"]),
        (["ExternalIP 1.2.3.4", "InternalIP 10.0.0.1"], False, ["InternalIP 10.0.0.1", "ExternalIP 1.2.3.4"]),
        (["Hostname edge"], True, ["InternalIP 10.0.0.9", "Hostname edge"]),
    ],
)
def test_the_node_has_a_reachable_internal_address(
    reported: list[str], prefer_own: bool, published: list[str]
) -> None:
    def parsed(texts: list[str]) -> list[Object]:
        return [dict(zip(("type", "address"), text.split(), strict=True)) for text in texts]

    assert node_addresses(parsed(reported), "10.0.0.9", prefer_own=prefer_own) == parsed(published)


def test_invalid_values_are_dropped_from_a_report() -> None:
    report = NodeReport(
        {"cpu": "4", "memory": "much", "pods": "-1"},
        ({"type": "Ready", "status": "True"}, {"status": "True"}, {"type": 7}),
        (
            {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "InternalIP", "address": "somewhere"},
            {"type": "Elsewhere", "address": "10.0.0.1"},
            {"type": "Hostname", "address": ""},
            {"address": "10.0.0.1"},
        ),
        {"zone": "a", "a zone": "a", "tier": "no value"},
        (
            {"key": "spot", "effect": "NoSchedule"},
            {"key": "spot", "value": "yes", "effect": "NoSchedule"},
            {"key": "spot", "effect": "Never"},
            {"effect": "NoSchedule"},
        ),
        {
            "cpu": "3",
            "memory": "some",
            "pods": "1.5",
            "memory-of-all": "1e30",
            "example.com/fpga": "9223372036854776",
        },
    )
    assert drop_invalid(report) == NodeReport(
        {"cpu": "4"},
        ({"type": "Ready", "status": "True"},),
        ({"type": "InternalIP", "address": "10.0.0.1"},),
        {"zone": "a"},
        ({"key": "spot", "value": "yes", "effect": "NoSchedule"},),
        {"cpu": "3"},
    )
