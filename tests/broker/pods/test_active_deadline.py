"""The deadline of a pod: the broker ends it, or its provider where it can."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from broker.kubernetes.objects import from_time, to_time
from broker.pods import active_deadline
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, bound, events, phase, run, status, stored
from tests.stub_provider import StubProvider, Ways, providing
from tests.stub_provider.statuses import NOW, ended

POD = "default/web-0"


async def test_a_pod_past_its_deadline_fails(api: ApiServer, stub: StubProvider, controlling: Controlling) -> None:
    async with controlling(stub):
        await run(api, bound(activeDeadlineSeconds=60))
        assert POD in stub.pods
        pod = stored(api)
        pod["status"]["startTime"] = to_time(datetime.now(UTC) - timedelta(seconds=61))
        api.store.update("pods", pod, subresource="status")
        await api.until(lambda: phase(api) == "Failed")
        await api.until(lambda: events(api, "DeadlineExceeded"))
        assert stub.pods == {}
    assert status(api)["reason"] == "DeadlineExceeded"


async def test_a_deadline_is_enforced_without_other_events(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound(activeDeadlineSeconds=1))
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Failed")
    assert status(api)["reason"] == "DeadlineExceeded"


@pytest.fixture
async def ends_by_itself() -> AsyncIterator[StubProvider]:
    """A provider that is to end pods at their deadline."""
    async with providing(Ways(reports_changes=True, extensions=("activeDeadline", "gracefulDelete"))) as stub:
        yield stub


async def test_a_provider_may_end_pods_at_their_deadline(
    api: ApiServer, ends_by_itself: StubProvider, controlling: Controlling, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = ends_by_itself
    monkeypatch.setattr(active_deadline, "MARGIN", 1e9)  # the pods of the stub started long ago
    async with controlling(stub):
        await run(api, bound(activeDeadlineSeconds=60))
        stub.report(POD, {**ended(stub.statuses[POD], 143), "reason": "DeadlineExceeded"})
        await api.until(lambda: phase(api) == "Failed")
        await api.until(lambda: events(api, "DeadlineExceeded"))
    assert POD in stub.pods, "with its logs"
    assert status(api)["reason"] == "DeadlineExceeded"


async def test_a_pod_that_the_provider_does_not_end_is_deleted(
    api: ApiServer, ends_by_itself: StubProvider, controlling: Controlling, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = ends_by_itself
    seconds = (datetime.now(UTC) - from_time(NOW)).total_seconds()
    monkeypatch.setattr(active_deadline, "MARGIN", seconds - 61 + 0.5)
    api.store.create("pods", bound(activeDeadlineSeconds=60, terminationGracePeriodSeconds=1))
    async with controlling(stub):
        await stub.until(lambda: stub.requests_to("/deletePod"))
        assert phase(api) == "Running"
        stub.end(POD)
        await api.until(lambda: phase(api) == "Failed")
    assert status(api)["reason"] == "DeadlineExceeded"
