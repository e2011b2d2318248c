"""The variables of services, as in Kubernetes' documentation, "Discovering services"."""

import json
from typing import Any

import pytest

from broker.pods.service_env import Service, parse_service, variables


def service(name: str, *, namespace: str = "default", ip: str = "10.0.0.11", ports: Any = None) -> Service:
    spec = {"clusterIP": ip, "ports": ports or [{"port": 6379, "protocol": "TCP"}]}
    return parse_service(json.dumps({"metadata": {"name": name, "namespace": namespace}, "spec": spec}).encode())


KUBERNETES = service("kubernetes", ip="10.0.0.1", ports=[{"name": "https", "port": 443, "protocol": "TCP"}])


def test_variables_of_a_service() -> None:
    assert variables([service("redis-primary")], "default", links=True) == {
        "REDIS_PRIMARY_SERVICE_HOST": "10.0.0.11",
        "REDIS_PRIMARY_SERVICE_PORT": "6379",
        "REDIS_PRIMARY_PORT": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_PRIMARY_PORT_6379_TCP_PORT": "6379",
        "REDIS_PRIMARY_PORT_6379_TCP_ADDR": "10.0.0.11",
    }


def test_every_port_of_a_service_has_variables() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 54, "protocol": "TCP"}]
    found = variables([service("dns", ip="fd00::a", ports=ports)], "default", links=True)
    assert found["DNS_SERVICE_PORT"] == found["DNS_SERVICE_PORT_DNS"] == "53"
    assert found["DNS_SERVICE_PORT_DNS_TCP"] == "54"
    assert found["DNS_PORT"] == found["DNS_PORT_53_UDP"] == "udp://[fd00::a]:53"
    assert found["DNS_PORT_54_TCP"] == "tcp://[fd00::a]:54"
    assert found["DNS_PORT_54_TCP_ADDR"] == found["DNS_SERVICE_HOST"] == "fd00::a"


@pytest.mark.parametrize(
    ("namespace", "links", "names"),
    [
        pytest.param("shop", True, ["CART", "KUBERNETES"], id="of the pod's namespace, and the API server's"),
        pytest.param("shop", False, ["KUBERNETES"], id="without links, the API server's"),
        pytest.param("default", True, ["KUBERNETES", "WEB"], id="in the default namespace"),
    ],
)
def test_variables_cover_the_namespace_and_the_api_server(namespace: str, links: bool, names: list[str]) -> None:
    services = [KUBERNETES, service("web"), service("cart", namespace="shop")]
    found = variables(services, namespace, links=links)
    assert [name.removesuffix("_SERVICE_HOST") for name in found if name.endswith("_SERVICE_HOST")] == names


@pytest.mark.parametrize("ip", ["None", ""])
def test_a_service_without_address_has_no_variables(ip: str) -> None:
    assert variables([service("headless", ip=ip)], "default", links=True) == {}


def test_the_order_is_independent_of_the_services() -> None:
    services = [KUBERNETES, service("web"), service("db")]
    assert list(variables(services, "default", links=True)) == list(
        variables(services[::-1], "default", links=True)
    )
