"""The fake API server responds as a real one; `pytest -m cluster` compares them."""

import asyncio
import gc
import socket
import ssl
import warnings
from contextlib import aclosing
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from broker.kubernetes.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from broker.kubernetes.watch import list_and_watch
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority, server_context
from tests.broker.cluster import Corner

STATUS = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}
ENDED = {"name": "web", "image": "i", "imageID": "", "ready": False, "restartCount": 0}


@pytest.fixture
async def pod(corner: Corner) -> Object:
    """A pod bound to a node that no broker runs."""
    await corner.client.create("/api/v1/nodes", {"metadata": {"name": corner.node}})
    return await corner.create_pod("web", restartPolicy="Never")


def path(corner: Corner) -> str:
    return f"{corner.pods}/web"


async def patch(corner: Corner, status: Any, **metadata: Any) -> Object:
    return await corner.client.patch(f"{path(corner)}/status", {"metadata": metadata, "status": status})


def container(state: Object) -> Object:
    return {"containerStatuses": [{**ENDED, "state": state}]}


async def test_a_new_pod_is_pending_with_defaults(pod: Object) -> None:
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["qosClass"] == "BestEffort"
    assert pod["metadata"]["generation"] == 1
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30
    assert pod["spec"]["enableServiceLinks"] is True


async def test_host_network_makes_ports_host_ports(corner: Corner, pod: Object) -> None:
    host = await corner.create_pod("host", hostNetwork=True, container={"ports": [{"containerPort": 8080}]})
    (container,) = host["spec"]["containers"]
    assert container["ports"] == [{"containerPort": 8080, "hostPort": 8080, "protocol": "TCP"}]


async def test_only_a_resize_changes_resources(corner: Corner, pod: Object) -> None:
    await corner.client.patch(
        f"{corner.node_path}/status", {"status": {"allocatable": {"cpu": "4", "memory": "1Gi"}}}
    )
    small = {"resources": {"requests": {"cpu": "1"}}}
    made = await corner.create_pod("small", container=small)
    large: Object = {"spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "2"}}}]}}
    with pytest.raises(Invalid):
        await corner.client.patch(f"{corner.pods}/small", large)
    resized = await corner.client.patch(f"{corner.pods}/small/resize", large)
    assert resized["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
    assert resized["metadata"]["generation"] == made["metadata"]["generation"] + 1
    all_of_it = {"cpu": "2", "memory": "1Gi"}
    guaranteed: Object = {"name": "web", "resources": {"limits": all_of_it, "requests": all_of_it}}
    with pytest.raises(Invalid):  # another QoS class
        await corner.client.patch(f"{corner.pods}/small/resize", {"spec": {"containers": [guaranteed]}})
    beyond: Object = {"name": "web", "resources": {"requests": {"cpu": "5"}}}
    with pytest.raises(Forbidden, match="cpu, requested: 5000, allocatable: 4000"):
        await corner.client.patch(f"{corner.pods}/small/resize", {"spec": {"containers": [beyond]}})


async def test_a_name_is_unique(corner: Corner, pod: Object) -> None:
    with pytest.raises(AlreadyExists):
        await corner.client.create(corner.pods, {"metadata": {"name": "web"}, "spec": pod["spec"]})


async def test_status_and_spec_are_written_separately(corner: Corner, pod: Object) -> None:
    changed = await corner.client.patch(
        f"{path(corner)}/status", {"spec": {"restartPolicy": "Always"}, "status": STATUS}
    )
    assert changed["spec"] == pod["spec"]
    assert changed["status"] == {**pod["status"], **STATUS}
    labelled = await corner.client.patch(
        path(corner), {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Failed"}}
    )
    assert labelled["metadata"]["labels"] == {"a": "b"}
    assert labelled["status"] == changed["status"]


async def test_an_unchanged_object_keeps_its_version(corner: Corner, pod: Object) -> None:
    first = await patch(corner, STATUS)
    second = await patch(corner, STATUS)
    assert first["metadata"]["resourceVersion"] != pod["metadata"]["resourceVersion"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_an_outdated_version_is_a_conflict(corner: Corner, pod: Object) -> None:
    await patch(corner, STATUS)
    with pytest.raises(Conflict):
        await patch(corner, {"phase": "Failed"}, resourceVersion=pod["metadata"]["resourceVersion"])


@pytest.mark.usefixtures("pod")
async def test_another_uid_is_invalid(corner: Corner) -> None:
    with pytest.raises(Invalid):
        await patch(corner, STATUS, uid="6f1c9f0e-2d8b-4a3c-9a44-0b8c5d1e7f20")


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    "status",
    [
        {"qosClass": "Guaranteed"},
        {"podIPs": [{"ip": "10.0.0"}]},
        {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}, {"ip": "fd00::1"}]},
    ],
)
async def test_an_inconsistent_status_is_invalid(corner: Corner, status: Object) -> None:
    with pytest.raises(Invalid):
        await patch(corner, status)


@pytest.mark.usefixtures("pod")
async def test_a_terminated_container_cannot_restart_against_its_policy(corner: Corner) -> None:
    await patch(corner, container({"terminated": {"exitCode": 1}}))
    with pytest.raises(Invalid):
        await patch(corner, container({"running": {}}))


@pytest.mark.usefixtures("pod")
async def test_conditions_and_pod_ips_merge_by_key(corner: Corner) -> None:
    await patch(corner, {"conditions": [{"type": "A", "status": "True"}], "podIPs": [{"ip": "10.0.0.1"}]})
    status = (
        await patch(
            corner,
            {
                "conditions": [{"type": "B", "status": "True"}, {"type": "A", "status": "False"}],
                "podIP": "fd00::1",
                "podIPs": [{"ip": "fd00::1"}],
            },
        )
    )["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"A": "False", "B": "True"}
    assert {entry["ip"] for entry in status["podIPs"]} == {"10.0.0.1", "fd00::1"}


@pytest.mark.usefixtures("pod")
async def test_node_addresses_merge_by_type_or_are_replaced(corner: Corner) -> None:
    async def write(*addresses: Object) -> set[str]:
        node = await corner.client.patch(f"{corner.node_path}/status", {"status": {"addresses": list(addresses)}})
        return {address["address"] for address in node["status"]["addresses"]}

    first, second = ({"type": "InternalIP", "address": ip} for ip in ("10.0.0.1", "fd00::1"))
    assert await write(first) == {"10.0.0.1"}
    assert await write(second) == {"fd00::1"}
    assert await write(first, second, {"$patch": "replace"}) == {"10.0.0.1", "fd00::1"}


async def test_a_grace_period_can_only_be_shortened(corner: Corner, pod: Object) -> None:
    await corner.delete_pod("web")
    dying = await corner.client.get(path(corner))
    assert dying["metadata"]["deletionGracePeriodSeconds"] == 30
    assert dying["metadata"]["uid"] == pod["metadata"]["uid"]
    await corner.delete_pod("web", gracePeriodSeconds=5)
    await corner.delete_pod("web", gracePeriodSeconds=20)
    shorter = await corner.client.get(path(corner))
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    assert shorter["metadata"]["deletionTimestamp"] < dying["metadata"]["deletionTimestamp"]
    await corner.delete_pod("web", gracePeriodSeconds=0)
    assert await corner.read(path(corner)) is None


async def test_a_delete_with_another_uid_is_a_conflict(corner: Corner, pod: Object) -> None:
    with pytest.raises(Conflict):
        await corner.delete_pod("web", preconditions={"uid": "6f1c9f0e-2d8b-4a3c-9a44-0b8c5d1e7f20"})
    await corner.delete_pod("web", gracePeriodSeconds=0, preconditions={"uid": pod["metadata"]["uid"]})
    assert await corner.read(path(corner)) is None


@pytest.mark.usefixtures("pod")
async def test_an_ended_pod_is_deleted_at_once(corner: Corner) -> None:
    await patch(corner, {"phase": "Succeeded"})
    await corner.delete_pod("web")
    assert await corner.read(path(corner)) is None


@pytest.mark.usefixtures("pod")
async def test_a_token_is_bound_to_a_pod(corner: Corner) -> None:
    accounts = f"/api/v1/namespaces/{corner.namespace}/serviceaccounts"
    for name in ("robot", "stranger"):
        await corner.client.create(accounts, {"metadata": {"name": name}})
    pod = await corner.create_pod("bound", serviceAccountName="robot")

    def request(**spec: Any) -> Object:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": "bound", "uid": pod["metadata"]["uid"]}
        return {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"boundObjectRef": bound, "audiences": [], **spec},
        }

    token = await corner.client.create(f"{accounts}/robot/token", request(expirationSeconds=600))
    assert token["spec"]["expirationSeconds"] == 600
    assert token["status"]["token"]
    assert token["status"]["expirationTimestamp"].endswith("Z")
    with pytest.raises(ApiError, match="different serviceaccount name"):
        await corner.client.create(f"{accounts}/stranger/token", request())
    with pytest.raises(Invalid):
        await corner.client.create(f"{accounts}/robot/token", request(expirationSeconds=599))
    with pytest.raises(NotFound, match=r'serviceaccounts "none" not found'):
        await corner.client.create(f"{accounts}/none/token", request())
    other = {"apiVersion": "v1", "kind": "Pod", "name": "bound", "uid": "6f1c9f0e-2d8b-4a3c-9a44-0b8c5d1e7f20"}
    with pytest.raises(Conflict):
        await corner.client.create(f"{accounts}/robot/token", request(boundObjectRef=other))
    with pytest.raises(NotFound, match=r'pods "other" not found'):
        await corner.client.create(f"{accounts}/robot/token", request(boundObjectRef={**other, "name": "other"}))


async def test_a_name_selects_one_object(corner: Corner) -> None:
    config_maps = f"/api/v1/namespaces/{corner.namespace}/configmaps"
    events = list_and_watch(
        corner.client,
        config_maps,
        field_selector="metadata.name=one",
        clock=lambda: datetime.now(UTC),
        random=Random(1),
    )
    async with aclosing(events), asyncio.timeout(30):
        assert (await anext(events)).type == "SYNCED"
        for name in ("other", "one"):
            await corner.client.create(config_maps, {"metadata": {"name": name}})
        added = await anext(events)
        await corner.client.delete(f"{config_maps}/one")
        deleted = await anext(events)
    assert added.object
    assert (added.type, added.object.metadata.name, deleted.type) == ("ADDED", "one", "DELETED")


async def test_a_watch_with_selector_adds_and_deletes(corner: Corner, pod: Object) -> None:
    types: list[str] = []
    arrived = asyncio.Event()

    async def listen() -> None:
        events = list_and_watch(
            corner.client,
            corner.pods,
            field_selector=f"spec.nodeName={corner.node},status.phase=Running",
            clock=lambda: datetime.now(UTC),
            random=Random(1),
        )
        async with aclosing(events):
            async for event in events:
                types.append(event.type)
                arrived.set()

    async def hear(event: str) -> None:
        async with asyncio.timeout(30):
            while event not in types:
                arrived.clear()
                await arrived.wait()

    task = asyncio.create_task(listen())
    try:
        await hear("SYNCED")
        await patch(corner, {"phase": "Running"})
        await hear("ADDED")
        await patch(corner, {"phase": "Succeeded"})
        await hear("DELETED")
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert types == ["SYNCED", "ADDED", "DELETED"]
    assert (await corner.client.get(path(corner)))["metadata"]["uid"] == pod["metadata"]["uid"]


@pytest.mark.parametrize("query", [{"fieldSelector": "spec.nodeName"}, {"continue": "nonsense"}])
async def test_an_invalid_list_query_is_rejected(corner: Corner, query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        await corner.client.get(corner.pods, **query)
    assert caught.value.status in (400, 410)


def connect(port: int, trust: ssl.SSLContext) -> ssl.SSLSocket:
    """Open a connection, and complete a request on it."""
    connection = trust.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
    connection.sendall(b"GET /api/v1/nodes HTTP/1.1\r\nHost: api\r\n\r\n")
    assert connection.recv(1024)
    return connection


def test_a_stopped_server_leaves_no_open_connection(authority: Authority) -> None:
    trust = ssl.create_default_context(cadata=authority.pem)

    async def stop_with_a_client() -> ssl.SSLSocket:
        server = ApiServer(server_context(authority.server()))
        await server.start()
        client = await asyncio.to_thread(connect, server.port, trust)
        await server.stop()
        return client

    gc.collect()  # what other tests have left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(stop_with_a_client()).close()
        gc.collect()
    assert not [str(warning.message) for warning in caught]
