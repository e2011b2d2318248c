from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest
from sqlalchemy import Connection, insert

from app.core.errors import Unavailable
from app.db.engine import Database
from app.db.models import Fleet, Pod
from app.pods.ipam import FreeAddresses
from tests.conftest import MakeApp
from tests.pods import a_pod

NODE, OTHER_NODE = "node-a", "node-b"
NOW = datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)


def occupy(
    connection: Connection, *addresses: str | None, fleet: str = NODE, deleted_at: datetime | None = None
) -> None:
    """Insert pods with these addresses."""
    connection.execute(insert(Fleet), {"name": fleet, "revision": 1, "settled_at": NOW})
    rows = [
        {
            "fleet": fleet,
            "namespace": "default",
            "name": f"web-{index}",
            "uid": f"uid-{index}",
            "pod": "{}",
            "digest": "0" * 64,
            "pod_ip": address,
            "created_at": NOW,
            "updated_at": NOW,
            "deleted_at": deleted_at,
            "revision": 1,
        }
        for index, address in enumerate(addresses)
    ]
    connection.execute(insert(Pod), rows)


def find(connection: Connection, network: str, *, start: int = 0) -> str:
    return FreeAddresses(connection, fleet=NODE, network=ip_network(network), start=start).take()


def usable(network: str) -> list[str]:
    return [str(address) for address in ip_network(network)][1:-1]


def test_first_free_address_is_the_start(database: Database) -> None:
    with database.write() as connection:
        for network, start, expected in (
            ("10.1.0.0/24", 0, "10.1.0.1"),
            ("10.1.0.0/24", 253, "10.1.0.254"),
            ("10.1.0.0/24", 254, "10.1.0.1"),
            ("10.1.0.0/30", 2**62 + 1, "10.1.0.2"),
            ("0.0.0.0/0", 2**32 - 3, "255.255.255.254"),
            ("fd00:1::/126", 1, "fd00:1::2"),
            ("fd00:1::/64", 2**40, "fd00:1::100:0:1"),
            ("::/0", 0, "::1"),
        ):
            assert find(connection, network, start=start) == expected


def test_consecutive_searches_cycle_through_the_network(database: Database) -> None:
    with database.write() as connection:
        found = [find(connection, "10.1.0.0/29", start=start) for start in range(1, 13)]
    addresses = usable("10.1.0.0/29")
    assert found == [*addresses[1:], *addresses, addresses[0]]


def test_address_of_a_live_pod_is_skipped(database: Database) -> None:
    with database.write() as connection:
        occupy(connection, "10.1.0.1", "10.1.0.2", "10.1.0.4")
        assert find(connection, "10.1.0.0/24", start=0) == "10.1.0.3"
        assert find(connection, "10.1.0.0/24", start=3) == "10.1.0.5"


def test_search_continues_at_the_networks_start(database: Database) -> None:
    with database.write() as connection:
        occupy(connection, "10.1.0.253", "10.1.0.254", "10.1.0.1")
        assert find(connection, "10.1.0.0/24", start=252) == "10.1.0.2"


def test_the_smallest_network_has_room_for_two(database: Database) -> None:
    with database.write() as connection:
        occupy(connection, "10.1.0.1")
        for start in range(4):
            assert find(connection, "10.1.0.0/30", start=start) == "10.1.0.2"


def test_an_address_in_ipv6_is_passed_over_too(database: Database) -> None:
    with database.write() as connection:
        occupy(connection, "fd00:1::1", "fd00:1::2")
        assert find(connection, "fd00:1::/64") == "fd00:1::3"


def test_address_of_a_deleted_pod_is_free(database: Database) -> None:
    with database.write() as connection:
        occupy(connection, "10.1.0.1", deleted_at=NOW)
        assert find(connection, "10.1.0.0/24") == "10.1.0.1"


def test_an_address_on_another_node_is_free(database: Database) -> None:
    with database.write() as connection:
        occupy(connection, "10.1.0.1", fleet=OTHER_NODE)
        assert find(connection, "10.1.0.0/24") == "10.1.0.1"


def test_host_network_pod_takes_no_address(database: Database) -> None:
    with database.write() as connection:
        occupy(connection, None, None)
        assert find(connection, "10.1.0.0/30") == "10.1.0.1"


@pytest.mark.parametrize("free", [0, 700, 1021])
def test_last_free_address_is_found_from_any_start(database: Database, free: int) -> None:
    addresses = usable("10.1.0.0/22")
    with database.write() as connection:
        occupy(connection, *addresses[:free], *addresses[free + 1 :])
        for start in (0, 1, free - 1, free, free + 1, free + 256, free + 257, free + 258, 1021, 1022, 10**12):
            assert find(connection, "10.1.0.0/22", start=start) == addresses[free]


@pytest.mark.parametrize("network", ["10.1.0.0/30", "10.1.0.0/23", "fd00:1::/120"])
def test_exhausted_network_error_names_the_setting(database: Database, network: str) -> None:
    with database.write() as connection:
        occupy(connection, *usable(network))
        for start in (0, 1, 10**12):
            with pytest.raises(Unavailable, match="no address is free") as refusal:
                find(connection, network, start=start)
            assert network in str(refusal.value)
            assert "POD_CIDR" in str(refusal.value)


def test_deleted_pod_frees_its_unique_address(make_app: MakeApp) -> None:
    client = make_app(pod_cidr="10.1.0.0/29").test_client()
    pods = [a_pod(f"web-{index}") for index in range(6)]
    one_more = a_pod("one-more")
    for pod in pods:
        assert client.post("/createPod", json=pod).status_code == 200
    assert client.post("/createPod", json=one_more).status_code == 503
    assert client.post("/createPod", json=a_pod("on-the-host", hostNetwork=True)).status_code == 200

    listed = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in client.get("/getPods").json or []}
    assert listed.pop("on-the-host") == "127.0.0.1"
    assert sorted(listed.values(), key=ip_address) == usable("10.1.0.0/29")

    assert client.delete("/deletePod", json=pods[3]).status_code == 200
    assert client.post("/createPod", json=one_more).status_code == 200
    again = client.get("/getPodStatus?namespace=default&name=one-more").json or {}
    assert again["podIP"] == listed["web-3"]
