"""Failures of the provider and of the API server: no pod is lost, fails without need, or regresses."""

from functools import partial

import pytest

from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, bound, events, phase, run, status, stored
from tests.pods import a_container
from tests.stub_provider import WAYS, StubProvider, Ways, providing, running

POD = "default/web-0"
SECRET = "hunter2hunter2"


async def test_a_request_to_a_hanging_provider_is_retried(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub, provider_timeout=0.2):
        with stub.hanging("/createPod"):
            await stub.until(lambda: len(stub.requests_to("/createPod")) > 1)
            await api.until(lambda: events(api, "ProviderCreateFailed"))
            assert phase(api) == "Pending"
        await api.until(lambda: phase(api) == "Running")


async def test_pods_wait_for_an_unreachable_provider(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    await stub.stop()
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: api.requests_to("GET", "/pods") and api.requests_to("GET", "/services"))
        assert phase(api) == "Pending"
        await stub.start()
        await api.until(lambda: phase(api) == "Running")
    assert len(stub.requests_to("/createPod")) == 1


async def test_a_provider_outage_changes_no_status(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        patches = len(api.requests_to("PATCH", "/status"))
        await stub.stop()
        api.store.create("pods", bound("web-1"))
        await api.until(lambda: events(api, "ProviderCreateFailed"))
        await stub.start()
        await api.until(lambda: phase(api, "web-1") == "Running")
    of_the_first = [request for request in api.requests_to("PATCH", "/status") if "/web-0/" in request.path]
    assert len(of_the_first) == patches


@pytest.mark.parametrize("code", [429, 500, 502, 503])
async def test_a_temporary_failure_is_retried(
    api: ApiServer, stub: StubProvider, controlling: Controlling, code: int
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/createPod", code, times=3):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.requests_to("/createPod")) == 4


async def test_a_failed_get_causes_no_write(api: ApiServer, stub: StubProvider, controlling: Controlling) -> None:
    api.store.create("pods", bound())
    with stub.failing("/getPods", 500), stub.failing("/getPod$", 500):
        async with controlling(stub):
            await stub.until(lambda: len(stub.requests_to("/getPod")) > 3)
    assert not stub.requests_to("/createPod")
    assert not stub.requests_to("/updatePod")


async def test_a_create_with_lost_response_is_not_repeated(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    with stub.failing("/createPod", 500, times=1), stub.hanging("/getPod$") as fault:
        async with controlling(stub):
            pod = api.store.create("pods", bound())
            await stub.until(lambda: stub.requests_to("/getPod"))
            (sent,) = [request.body for request in stub.requests_to("/createPod")]
            stub.pods[POD], stub.statuses[POD] = sent, running(pod)
            fault.lifted.set()
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.requests_to("/createPod")) == 1
    assert not stub.requests_to("/updatePod")


@pytest.mark.parametrize("code", [400, 422])
async def test_a_rejected_pod_fails_with_the_providers_message(
    api: ApiServer, stub: StubProvider, controlling: Controlling, code: int
) -> None:
    env = [{"name": "P", "value": SECRET}]
    api.store.create("pods", bound(containers=[a_container(env=env)]))
    body = f'{{"error": {{"code": {code}, "message": "no {SECRET} here"}}}}'.encode()
    with stub.failing("/createPod", code, body=body):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Failed")
            await api.until(lambda: events(api, "ProviderFailed"))
    found = status(api)
    assert found["reason"] == "ProviderFailed"
    assert found["message"] == f"the provider answers {code}: no … here"
    assert len(stub.requests_to("/createPod")) == 1
    assert SECRET not in str(api.store.list("events"))


async def test_a_pod_too_large_waits_with_back_off(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/createPod", 413, body=b"too large"):
        async with controlling(stub):
            (event,) = await api.until(lambda: events(api, "ProviderCreateFailed"))
            api.store.create("pods", bound("web-1"))
            await api.until(lambda: len(events(api, "ProviderCreateFailed")) > 1)
            assert event["message"] == "pod not created: the provider answers 413: too large"
            assert phase(api) == "Pending"
            creates = [request.body["metadata"]["name"] for request in stub.requests_to("/createPod")]
            assert creates == ["web-0", "web-1"]


async def test_a_pod_too_large_can_be_deleted(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/createPod", 413):
        async with controlling(stub):
            await api.until(lambda: events(api, "ProviderCreateFailed"))
            api.store.delete("pods", "web-0", "default")
            await api.until(lambda: phase(api) is None)


async def test_an_update_too_large_is_retried(
    api: ApiServer, stub: StubProvider, controlling: Controlling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.errors._TOO_LARGE_DELAY", 0.05)
    async with controlling(stub):
        await run(api, bound())
        with stub.failing("/updatePod", 413, times=2):
            pod = stored(api)
            pod["metadata"]["labels"] = {"new": "1"}
            api.store.update("pods", pod)
            await stub.until(lambda: stub.pods[POD]["metadata"].get("labels") == {"new": "1"})
        assert phase(api) == "Running"
        await api.until(lambda: events(api, "ProviderUpdateFailed"))


@pytest.mark.parametrize("code", [301, 401, 403, 404, 405, 409])
async def test_other_client_errors_do_not_fail_a_pod(
    api: ApiServer, stub: StubProvider, controlling: Controlling, code: int
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/createPod", code, times=2):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert "reason" not in status(api)


@pytest.mark.parametrize("ways", [pytest.param(ways, id=name) for name, ways in WAYS.items()])
async def test_pods_lost_by_the_provider_are_recreated(
    api: ApiServer, controlling: Controlling, ways: Ways
) -> None:
    async with providing(ways) as stub, controlling(stub):
        for number in range(3):
            api.store.create("pods", bound(f"web-{number}"))
        await api.until(lambda: all(phase(api, f"web-{number}") == "Running" for number in range(3)))
        await stub.stop()
        stub.forget()
        await stub.start()
        await stub.until(lambda: len(stub.pods) == 3)
    uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in api.store.list("pods")}
    assert {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in stub.pods.values()} == uids


async def test_a_running_pod_survives_a_rejected_recreation(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        with stub.failing("/createPod", 422):
            stub.forget()
            await stub.until(lambda: len(stub.requests_to("/createPod")) > 2)
            assert phase(api) == "Running"
        await stub.until(lambda: POD in stub.pods)


async def test_one_missing_status_does_not_recreate_a_pod(api: ApiServer, controlling: Controlling) -> None:
    api.store.create("pods", bound())
    async with providing(WAYS["no /getPod"]) as stub, controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        with stub.failing("/getPodStatus", 404, times=1) as fault:
            await stub.until(lambda: fault.met)
        before = len(stub.requests_to("/getPodStatus"))
        await stub.until(lambda: len(stub.requests_to("/getPodStatus")) > before + 2)
    assert len(stub.requests_to("/createPod")) == 1


async def test_an_update_of_a_lost_pod_recreates_it(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub, status_interval=300):
        await run(api, bound())
        stub.forget()
        pod = stored(api)
        pod["metadata"]["labels"] = {"new": "1"}
        api.store.update("pods", pod)
        await stub.until(lambda: POD in stub.pods)
    assert stub.pods[POD]["metadata"]["labels"] == {"new": "1"}
    assert len(stub.requests_to("/updatePod")) == 1


def was_updated(stub: StubProvider, times: int) -> bool:
    return len(stub.requests_to("/updatePod")) >= times


async def test_a_provider_without_updates_keeps_its_pods(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(takes_updates=False)) as stub, controlling(stub):
        await run(api, bound())
        for number in (1, 2):
            pod = stored(api)
            pod["metadata"]["labels"] = {"new": str(number)}
            api.store.update("pods", pod)
            await stub.until(partial(was_updated, stub, number))
        await api.until(lambda: events(api, "ProviderUpdateFailed"))
    assert len(stub.requests_to("/createPod")) == 1
    assert len(stub.requests_to("/updatePod")) == 2


@pytest.mark.parametrize(
    "answer", [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (503, "Unavailable")]
)
async def test_a_failed_status_write_is_retried(
    api: ApiServer, stub: StubProvider, controlling: Controlling, answer: tuple[int, str]
) -> None:
    api.store.create("pods", bound())
    code, reason = answer
    with api.failing(code, reason=reason, method="PATCH", path="/status", times=3):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.requests_to("/createPod")) == 1


async def test_a_status_write_keeps_concurrent_conditions(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        with stub.hanging("/createPod"):
            await stub.until(lambda: stub.requests_to("/createPod"))
            pod = stored(api)
            pod["status"]["conditions"] = [{"type": "example.com/late", "status": "True"}]
            api.store.update("pods", pod, subresource="status")
        await api.until(lambda: phase(api) == "Running")
    types = [c["type"] for c in status(api)["conditions"]]
    assert "example.com/late" in types
    assert "Ready" in types


async def test_a_failing_update_does_not_block_statuses(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        with stub.failing("/updatePod", 503):
            pod = stored(api)
            pod["metadata"]["labels"] = {"new": "1"}
            api.store.update("pods", pod)
            await stub.until(lambda: stub.requests_to("/updatePod"))
            stub.report(POD, {**running(stub.pods[POD]), "message": "meanwhile"})
            await api.until(lambda: status(api).get("message") == "meanwhile")
        await stub.until(lambda: stub.pods[POD]["metadata"].get("labels") == {"new": "1"})


@pytest.mark.parametrize(("code", "reason"), [(422, "Invalid"), (413, "RequestEntityTooLarge")])
async def test_a_rejected_last_status_does_not_block_deletion(
    api: ApiServer, stub: StubProvider, controlling: Controlling, code: int, reason: str
) -> None:
    async with controlling(stub):
        await run(api, bound())
        with api.failing(code, reason=reason, method="PATCH", path="/status"):
            api.store.delete("pods", "web-0", "default")
            await api.until(lambda: phase(api) is None)


@pytest.mark.parametrize("status", [b"[]", b'"Running"', b"<html>", b"{"])
async def test_an_invalid_status_is_treated_as_an_outage(
    api: ApiServer, stub: StubProvider, controlling: Controlling, status: bytes
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/getPodStatus", 200, body=status, times=3):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.requests_to("/createPod")) == 1


async def test_pods_and_statuses_survive_an_api_server_restart(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        await api.stop()
        stub.report(POD, {**running(stub.pods[POD]), "message": "meanwhile"})
        api.store.create("pods", bound("web-1"))
        await api.start()
        await api.until(lambda: phase(api, "web-1") == "Running")
        await api.until(lambda: status(api).get("message") == "meanwhile")


async def test_a_pod_deleted_during_an_outage_is_deleted(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        with api.failing(500, method="GET", path="^/api/v1/pods$"):
            api.cut_watches()
            api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": 0})
            api.store.compact()
        await stub.until(lambda: not stub.pods)


async def test_a_delete_is_retried_until_the_provider_accepts(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound(terminationGracePeriodSeconds=1))
        with stub.failing("/deletePod", 500):
            api.store.delete("pods", "web-0", "default")
            await stub.until(lambda: len(stub.requests_to("/deletePod")) > 3)
            await api.until(lambda: events(api, "ProviderDeleteFailed"))
            assert not api.requests_to("DELETE", "/pods/")
        await api.until(lambda: phase(api) is None)
    assert not stub.pods


async def test_a_restarted_broker_completes_a_deletion(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
    api.store.delete("pods", "web-0", "default")
    async with controlling(stub):
        await api.until(lambda: phase(api) is None)
    assert not stub.pods


async def test_a_stop_completes_pods_in_progress(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    with stub.hanging("/createPod") as fault:
        async with controlling(stub) as controller:
            for number in range(5):
                api.store.create("pods", bound(f"web-{number}"))
            await stub.until(lambda: len(stub.requests_to("/createPod")) == 5)
            controller.stop()
            fault.lifted.set()
    assert len(stub.pods) == 5
    assert all(phase(api, f"web-{number}") == "Running" for number in range(5))
