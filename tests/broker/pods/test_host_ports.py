"""Host ports of pods, and conflicts between them."""

from typing import Any

import pytest

from broker.pods.host_ports import HostPort, has_conflict, host_ports
from tests.pods import a_container, a_pod

Object = dict[str, Any]


def listening(name: str, port: int, **more: Any) -> Object:
    """A container with a host port."""
    return a_container(name, ports=[{"containerPort": 80, "hostPort": port}], **more)


def test_containers_and_sidecars_use_host_ports() -> None:
    pod = a_pod(
        containers=[listening("a", 1), listening("b", 2), a_container("c", ports=[{"containerPort": 80}])],
        initContainers=[listening("init", 3), listening("sidecar", 4, restartPolicy="Always")],
    )
    assert {port.port for port in host_ports(pod)} == {1, 2, 4}


def test_protocol_and_address_have_defaults() -> None:
    ports = [
        {"containerPort": 80, "hostPort": 80},
        {"containerPort": 80, "hostPort": 81, "protocol": "UDP", "hostIP": "192.0.2.1"},
        {"containerPort": 80, "hostPort": 0},
    ]
    assert host_ports(a_pod(containers=[a_container(ports=ports)])) == {
        HostPort("TCP", 80, "0.0.0.0"),
        HostPort("UDP", 81, "192.0.2.1"),
    }


@pytest.mark.parametrize(
    ("wanted", "used", "conflict"),
    [
        pytest.param(HostPort("TCP", 80), HostPort("TCP", 80), True, id="the same"),
        pytest.param(HostPort("TCP", 80), HostPort("TCP", 81), False, id="another port"),
        pytest.param(HostPort("UDP", 80), HostPort("TCP", 80), False, id="another protocol"),
        pytest.param(
            HostPort("TCP", 80, "192.0.2.1"), HostPort("TCP", 80, "192.0.2.2"), False, id="another address"
        ),
        pytest.param(
            HostPort("TCP", 80, "192.0.2.1"), HostPort("TCP", 80, "192.0.2.1"), True, id="the same address"
        ),
        pytest.param(HostPort("TCP", 80), HostPort("TCP", 80, "192.0.2.2"), True, id="all addresses wanted"),
        pytest.param(HostPort("TCP", 80, "192.0.2.1"), HostPort("TCP", 80), True, id="all addresses used"),
    ],
)
def test_ports_conflict_on_a_common_address(wanted: HostPort, used: HostPort, conflict: bool) -> None:
    assert has_conflict([wanted], [HostPort("SCTP", 9), used]) is conflict
    assert not has_conflict([], [used])
