"""The lease of the node, with an API server."""

import asyncio
from collections.abc import Callable
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError
from broker.node import lease as module
from broker.node import leases
from broker.node.lease import Lease, LeaseLost
from broker.node.leases import Leases
from broker.node_info import NodeInfo
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of, settings_of_a_node
from tests.conftest import Clock

PATH = "leases/node"


@pytest.fixture
def info() -> NodeInfo:
    return NodeInfo("node", uid="uid-of-the-node")


@pytest.fixture
def recovered() -> Mock:
    return Mock()


@pytest.fixture
def lease(client: Client, info: NodeInfo, clock: Clock, *, recovered: Mock) -> Lease:
    return lease_of(client, info, "first", clock=clock, recovered=recovered)


@pytest.fixture
def second(client: Client, info: NodeInfo, clock: Clock) -> Lease:
    """The lease as another broker with the same node name sees it."""
    return lease_of(client, info, "second", clock=clock)


def lease_of(
    client: Client,
    info: NodeInfo,
    identity: str,
    *,
    clock: Clock,
    recovered: Mock | None = None,
    are_many: bool = False,
) -> Lease:
    settings = settings_of_a_node("http://127.0.0.1:1", lease_identity=identity)
    dependencies = dependencies_of(client, info, settings=settings, clock=clock)
    shared = Leases(client, are_many=are_many)
    return Lease(dependencies, info, leases=shared, on_recovery=recovered or Mock())


def stored(api: ApiServer) -> Object:
    return api.store.get("leases", "node", "kube-node-lease")


async def test_a_missing_lease_is_created(api: ApiServer, lease: Lease) -> None:
    await lease.renew()
    assert stored(api)["spec"] == {
        "holderIdentity": "node_first",
        "leaseDurationSeconds": 40,
        "renewTime": "2026-11-22T08:46:38.123456Z",
    }
    assert stored(api)["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "node", "uid": "uid-of-the-node"}
    ]


async def test_a_renewal_is_one_request(api: ApiServer, lease: Lease, clock: Clock) -> None:
    await lease.renew()
    clock.advance(10)
    api.requests.clear()
    await lease.renew()
    assert [request.method for request in api.requests] == ["PUT"]
    assert stored(api)["spec"]["renewTime"] == "2026-11-22T08:46:48.123456Z"


async def test_a_renewal_has_no_managed_fields(api: ApiServer, lease: Lease) -> None:
    metadata = {"name": "node", "namespace": "kube-node-lease", "managedFields": [{"manager": "another"}]}
    api.store.create("leases", {"metadata": metadata, "spec": {}})
    await lease.renew()
    (request,) = api.requests_to("PUT", PATH)
    assert "managedFields" not in request.body["metadata"]


async def test_an_existing_lease_is_adopted(api: ApiServer, lease: Lease) -> None:
    earlier = {"metadata": {"name": "node", "namespace": "kube-node-lease"}, "spec": {"leaseTransitions": 3}}
    api.store.create("leases", earlier)
    with capture_logs() as logs:
        await lease.renew()
    assert stored(api)["spec"]["leaseTransitions"] == 3
    assert stored(api)["spec"]["renewTime"] == "2026-11-22T08:46:38.123456Z"
    assert logs == []


async def test_a_deleted_lease_is_recreated_with_current_owner(
    api: ApiServer, lease: Lease, info: NodeInfo
) -> None:
    await lease.renew()
    api.store.delete("leases", "node", "kube-node-lease")
    info.uid = "another"
    await lease.renew()
    assert stored(api)["metadata"]["ownerReferences"][0]["uid"] == "another"


async def test_a_free_lease_is_not_waited_for(lease: Lease, second: Lease) -> None:
    await lease.wait_until_free()
    await lease.acquire()
    await lease.wait_until_free()
    await lease.release()
    await second.wait_until_free()
    await second.acquire()


async def test_a_renewal_without_answer_does_not_hinder_a_release(
    api: ApiServer, lease: Lease, second: Lease
) -> None:
    await lease.renew()
    with api.failing(503, method="PUT", lost=True), pytest.raises(ApiError):
        await lease.renew()
    await lease.release()
    await second.renew()
    await lease.release()
    assert stored(api)["spec"]["holderIdentity"] == "node_second"


async def test_a_held_lease_is_only_read(
    api: ApiServer, lease: Lease, second: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_PERIOD", 0.01)
    await lease.renew()
    api.requests.clear()
    with capture_logs() as logs:
        waiting = asyncio.create_task(second.wait_until_free())
        await api.until(lambda: len(api.requests) > 3)
        assert second.other == "node_first"
        await lease.release()
        await waiting
    assert second.other is None
    assert {request.method for request in api.requests} == {"GET", "PUT"}
    assert len(api.requests_to("PUT")) == 1
    assert [entry["holder"] for entry in logs] == ["node_first"]


async def test_an_unrenewed_lease_is_taken_over(
    api: ApiServer, lease: Lease, second: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_PERIOD", 0.01)
    monkeypatch.setattr(module, "DURATION", 1)
    await lease.renew()
    waiting = asyncio.create_task(second.wait_until_free())
    for _ in range(5):
        await api.until(lambda: second.other)
        await lease.renew()
    assert not waiting.done()
    await waiting
    await second.acquire()
    assert stored(api)["spec"]["holderIdentity"] == "node_second"
    with pytest.raises(LeaseLost, match="node_second"):
        await lease.renew()
    assert stored(api)["spec"]["holderIdentity"] == "node_second"


async def test_one_of_two_waiting_brokers_takes_over(
    api: ApiServer, lease: Lease, second: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_PERIOD", 0.01)
    monkeypatch.setattr(module, "DURATION", 0.05)
    third = {
        "metadata": {"name": "node", "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": "node_third"},
    }
    api.store.create("leases", third)
    await asyncio.gather(lease.wait_until_free(), second.wait_until_free())
    results = await asyncio.gather(lease.acquire(), second.acquire(), return_exceptions=True)
    assert [type(result) for result in results if result] == [LeaseLost]


async def test_a_lost_lease_is_read_anew(
    api: ApiServer, client: Client, info: NodeInfo, clock: Clock, second: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of leases, which was read before, says that it is free."""
    monkeypatch.setattr(leases, "_MAX_AGE", 0.2)
    monkeypatch.setattr(module, "WAIT_PERIOD", 0.3)
    lease = lease_of(client, info, "first", clock=clock, are_many=True)
    await second.renew()
    await second.release()
    await lease.wait_until_free()
    await second.renew()
    with pytest.raises(LeaseLost, match="node_second"):
        await lease.acquire()
    assert lease.other == "node_second"
    await second.release()
    await lease.wait_until_free()
    await lease.acquire()
    assert len(api.requests_to("GET", "/leases$")) == 2


async def test_the_same_identity_does_not_wait(
    client: Client, info: NodeInfo, clock: Clock, *, lease: Lease
) -> None:
    await lease.renew()
    restarted = lease_of(client, info, "first", clock=clock)
    await restarted.wait_until_free()
    await restarted.acquire()


async def test_waiting_survives_an_outage(api: ApiServer, lease: Lease) -> None:
    with api.failing(503, times=2):
        await lease.wait_until_free()
    with api.failing(503, times=2):
        await lease.acquire()
    assert stored(api)["spec"]["holderIdentity"] == "node_first"


async def test_a_lost_response_is_no_second_broker(api: ApiServer, lease: Lease, clock: Clock) -> None:
    await lease.renew()
    clock.advance(10)
    with api.failing(500, method="PUT", path=PATH, lost=True), pytest.raises(ApiError):
        await lease.renew()
    clock.advance(1)
    with capture_logs() as logs:
        await lease.renew()
    assert stored(api)["spec"]["renewTime"] == "2026-11-22T08:46:49.123456Z"
    assert logs == []


async def renewals(lease: Lease, times: int, pause: Callable[[float], None]) -> None:
    """Run the lease for a number of pauses; `pause` is called instead of each."""
    enough = asyncio.Event()
    left = iter(range(times, 0, -1))

    async def sleep(seconds: float) -> None:
        pause(seconds)
        if next(left) == 1:
            enough.set()
            await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        task = asyncio.create_task(lease.run())
        await enough.wait()
    task.cancel()


async def test_a_failed_renewal_is_retried_with_back_off(api: ApiServer, lease: Lease) -> None:
    waits: list[float] = []
    with api.failing(503, times=8):
        await renewals(lease, 11, waits.append)
    assert 5 <= waits[0] <= 10
    assert waits[1:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 7.0, 7.0]
    assert all(10 <= wait <= 10.4 for wait in waits[9:])


async def test_a_lost_connection_is_noticed_in_a_period(
    api: ApiServer, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.3)
    with api.hanging(times=1) as fault:
        await renewals(lease, 3, lambda _: None)
    assert fault.met == 1
    assert stored(api)


async def test_a_late_renewal_is_a_recovery(lease: Lease, clock: Clock, recovered: Mock) -> None:
    pauses = iter([10.4, 10.4, 50, 10.4, 10.4])
    await renewals(lease, 5, lambda _: clock.advance(next(pauses)))
    assert recovered.call_count == 1


async def test_the_renew_time_never_goes_back(api: ApiServer, lease: Lease, clock: Clock) -> None:
    await lease.renew()
    clock.advance(-7200)
    await lease.renew()
    assert stored(api)["spec"]["renewTime"] == "2026-11-22T08:46:38.123457Z"
