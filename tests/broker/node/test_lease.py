"""The lease of the node, with an API server."""

import asyncio
from collections.abc import Callable
from unittest.mock import AsyncMock

import pytest
from structlog.testing import capture_logs

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError
from broker.node import lease as module
from broker.node.lease import Lease
from broker.node_info import NodeInfo
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of
from tests.conftest import Clock

PATH = "leases/node"


@pytest.fixture
def info() -> NodeInfo:
    return NodeInfo("node", uid="uid-of-the-node")


@pytest.fixture
def recovered() -> AsyncMock:
    return AsyncMock()


@pytest.fixture
def lease(client: Client, info: NodeInfo, clock: Clock, *, recovered: AsyncMock) -> Lease:
    return Lease(dependencies_of(client, info, clock=clock), on_recovery=recovered)


def stored(api: ApiServer) -> Object:
    return api.store.get("leases", "node", "kube-node-lease")


def renewed_elsewhere(api: ApiServer) -> None:
    obj = stored(api)
    obj["spec"]["renewTime"] = "2026-11-22T08:50:00.000000Z"
    api.store.update("leases", obj)


async def test_a_missing_lease_is_created(api: ApiServer, lease: Lease) -> None:
    await lease.renew()
    assert stored(api)["spec"] == {
        "holderIdentity": "node",
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


async def test_a_second_broker_with_the_name_is_logged(api: ApiServer, lease: Lease) -> None:
    await lease.renew()
    await lease.renew()
    renewed_elsewhere(api)
    with capture_logs() as logs:
        await lease.renew()
    assert stored(api)["spec"]["renewTime"] == "2026-11-22T08:50:00.000001Z"
    assert [entry["log_level"] for entry in logs] == ["warning"]


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
    """Run the lease until it has paused so many times; `pause` takes the place of each."""
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
        await renewals(lease, 10, waits.append)
    assert waits[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 7.0, 7.0]
    assert all(10 <= wait <= 10.4 for wait in waits[8:])


async def test_a_lost_connection_is_noticed_in_a_period(
    api: ApiServer, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.05)
    with api.hanging(times=1) as fault:
        await renewals(lease, 2, lambda _: None)
    assert fault.met == 1
    assert stored(api)


async def test_a_late_renewal_is_a_recovery(lease: Lease, clock: Clock, recovered: AsyncMock) -> None:
    pauses = iter([10.4, 10.4, 50, 10.4, 10.4])
    await renewals(lease, 5, lambda _: clock.advance(next(pauses)))
    assert recovered.await_count == 1


async def test_a_failed_recovery_is_retried(lease: Lease, clock: Clock, recovered: AsyncMock) -> None:
    recovered.side_effect = [ApiError(500, "InternalError", "injected"), None]
    pauses = iter([50, 0.2, 10, 10])
    await renewals(lease, 4, lambda _: clock.advance(next(pauses)))
    assert recovered.await_count == 2


async def test_the_renew_time_never_goes_back(api: ApiServer, lease: Lease, clock: Clock) -> None:
    await lease.renew()
    clock.advance(-7200)
    await lease.renew()
    assert stored(api)["spec"]["renewTime"] == "2026-11-22T08:46:38.123457Z"
