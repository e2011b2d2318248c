"""Graceful deletion: a pod stays until its containers have ended, and its last status is true."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from broker.pods import termination
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, bound, events, phase, run, status, stored
from tests.stub_provider import StubProvider, Ways, ended, providing, running

POD = "default/web-0"
WATCHED = {"finalizers": ["example.com/watched"]}


@pytest.fixture
async def graceful() -> AsyncIterator[StubProvider]:
    """A provider whose deleted pods end when the test ends them."""
    async with providing(Ways(extensions=("gracefulDelete", "podStatuses"), reports_changes=True)) as provider:
        yield provider


def deletes(stub: StubProvider) -> list[Any]:
    """Return the grace periods sent to the provider; None where a pod has none of its own."""
    return [r.body["metadata"].get("deletionGracePeriodSeconds") for r in stub.requests_to("/deletePod")]


def writes(stub: StubProvider) -> list[tuple[str, str]]:
    """Return path and UID of the creates and deletes."""
    return [
        (request.path, request.body["metadata"]["uid"])
        for request in stub.requests
        if request.path in ("/createPod", "/deletePod")
    ]


def exit_code(api: ApiServer) -> int | None:
    """Return the exit code in Kubernetes of the pod's container; None while it runs."""
    (container,) = status(api)["containerStatuses"]
    code: int | None = container["state"].get("terminated", {}).get("exitCode")
    return code


async def delete_running(api: ApiServer, stub: StubProvider) -> None:
    """Create a pod with a finalizer, and delete it when it runs; wait until the provider has the request."""
    await run(api, bound(metadata=WATCHED))
    api.store.delete("pods", "web-0", "default")
    await stub.until(lambda: stub.requests_to("/deletePod"))


async def test_a_deleted_pod_stays_until_it_ends(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await delete_running(api, graceful)
        graceful.report(POD, {**running(graceful.pods[POD]), "message": "stopping"})
        await api.until(lambda: status(api).get("message") == "stopping")
        assert not api.requests_to("DELETE", "/pods/web-0")
        graceful.end(POD, 143)
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert (phase(api), exit_code(api)) == ("Failed", 143)
        assert status(api)["observedGeneration"] == 2
    assert deletes(graceful) == [30]
    assert len(graceful.requests_to("/createPod")) == 1


async def test_the_conditions_of_a_pod_that_ends_have_its_generation(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    initialized = {"type": "Initialized", "status": "True", "observedGeneration": 1}
    async with controlling(graceful):
        await delete_running(api, graceful)
        stopping = {**running(graceful.pods[POD]), "message": "stopping", "observedGeneration": 1}
        graceful.report(POD, {**stopping, "conditions": [initialized]})
        await api.until(lambda: status(api).get("message") == "stopping")
        assert {condition["observedGeneration"] for condition in status(api)["conditions"]} == {2}


async def test_a_pod_that_ends_at_once_leaves_at_once(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(extensions=("gracefulDelete",))) as stub, controlling(stub):
        await run(api, bound())
        stub.report(POD, ended(stub.statuses[POD], 0))
        await api.until(lambda: phase(api) == "Succeeded")
        api.store.delete("pods", "web-0", "default")
        await stub.until(lambda: not stub.pods)
    assert phase(api) is None


async def test_a_quick_end_needs_few_requests(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await graceful.until(lambda: graceful.requests_to("/podStatuses"))
        await delete_running(api, graceful)
        before = len(api.requests_to("PATCH", "/status")), len(graceful.requests_to("/getPodStatus"))
        graceful.end(POD, 143)
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        after = len(api.requests_to("PATCH", "/status")), len(graceful.requests_to("/getPodStatus"))
    assert exit_code(api) == 143
    assert after == (before[0] + 1, before[1])


async def test_an_ended_pod_is_not_deleted_again(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await delete_running(api, graceful)
        graceful.end(POD, 143)
        await api.until(lambda: stored(api)["metadata"]["deletionGracePeriodSeconds"] == 0)
        await run(api, bound("web-1"))
    assert deletes(graceful) == [30]


async def test_a_pod_is_polled_without_pod_statuses(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(extensions=("gracefulDelete",))) as stub, controlling(stub):
        await run(api, bound(metadata=WATCHED))
        api.store.delete("pods", "web-0", "default")
        await stub.until(lambda: stub.requests_to("/deletePod"))
        stub.report(POD, ended(stub.statuses[POD], 7))
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert exit_code(api) == 7


@pytest.mark.parametrize("force", [False, True])
async def test_a_successor_starts_after_the_end(
    api: ApiServer, graceful: StubProvider, controlling: Controlling, force: bool
) -> None:
    old = api.store.create("pods", bound())["metadata"]["uid"]
    async with controlling(graceful):
        await api.until(lambda: phase(api) == "Running")
        if not force:
            api.store.delete("pods", "web-0", "default")
            await graceful.until(lambda: graceful.requests_to("/deletePod"))
        api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": 0})
        new = api.store.create("pods", bound())["metadata"]["uid"]
        await graceful.until(lambda: deletes(graceful)[-1:] == [0])
        asked = len(graceful.requests_to("/getPodStatus"))
        await graceful.until(lambda: len(graceful.requests_to("/getPodStatus")) > asked)
        assert ("/createPod", new) not in writes(graceful)
        graceful.end(POD)
        await api.until(lambda: phase(api) == "Running")
    assert writes(graceful)[-1] == ("/createPod", new)
    assert {uid for path, uid in writes(graceful) if path == "/deletePod"} == {old}


async def test_a_force_deletion_is_retried_without_grace(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await run(api, bound())
        with graceful.failing("/deletePod", 503, times=2):
            api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": 0})
            await graceful.until(lambda: len(graceful.requests_to("/deletePod")) == 3)
        graceful.end(POD)
    assert deletes(graceful) == [0, 0, 0]


async def test_only_a_shorter_grace_is_sent_again(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await run(api, bound(terminationGracePeriodSeconds=3600))
        for grace in (600, 600, 3000, 60):
            api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": grace})
            await graceful.until(lambda: deletes(graceful))
        await graceful.until(lambda: deletes(graceful)[-1] == 60)
        graceful.end(POD)
        await api.until(lambda: phase(api) is None)
    assert deletes(graceful) == [600, 60]


async def test_a_restarted_broker_continues_a_deletion(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await delete_running(api, graceful)
    async with controlling(graceful):
        await graceful.until(lambda: len(graceful.requests_to("/deletePod")) == 2)
        graceful.end(POD, 3)
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert exit_code(api) == 3
    assert len(graceful.requests_to("/createPod")) == 1


async def test_an_end_without_a_broker_is_known(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await delete_running(api, graceful)
    graceful.end(POD, 3)
    async with controlling(graceful):
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert exit_code(api) == 3
    assert len(graceful.requests_to("/createPod")) == len(graceful.requests_to("/deletePod")) == 1


async def test_an_end_during_an_outage_is_known(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await delete_running(api, graceful)
        await graceful.stop()
        graceful.end(POD, 143)
        await graceful.start()
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert exit_code(api) == 143
    assert len(graceful.requests_to("/createPod")) == 1


async def test_an_end_while_changes_are_not_read_is_known(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await run(api, bound(metadata=WATCHED))
        with graceful.failing("/podStatuses", 500) as failing:
            graceful.report(POD, {**graceful.statuses[POD], "message": "the last change that is read"})
            await graceful.until(lambda: failing.met)
            graceful.statuses[POD] = ended(graceful.statuses[POD], 0)
            polls = len(graceful.requests_to("/getPodStatus"))
            api.store.delete("pods", "web-0", "default")
            await graceful.until(lambda: len(graceful.requests_to("/getPodStatus")) > polls)
            await graceful.until(lambda: graceful.pods == {})
        await api.until(lambda: exit_code(api) is not None)
        assert (phase(api), exit_code(api)) == ("Succeeded", 0)


async def test_errors_of_the_provider_delay_a_deletion(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await run(api, bound(metadata=WATCHED))
        with graceful.failing("/deletePod", 500, times=2), graceful.failing("/getPodStatus", 502, times=2):
            api.store.delete("pods", "web-0", "default")
            await graceful.until(lambda: len(deletes(graceful)) == 3)
        assert not api.requests_to("DELETE", "/pods/web-0")
        graceful.end(POD, 143)
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert exit_code(api) == 143


async def test_a_pod_lost_while_it_ends_has_ended(
    api: ApiServer, graceful: StubProvider, controlling: Controlling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(termination, "_LAST_STATUS_TIMEOUT", 0.1)
    async with controlling(graceful):
        await delete_running(api, graceful)
        await graceful.stop()
        graceful.forget()
        await graceful.start()
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert exit_code(api) == 137, "nobody can know"
    assert len(graceful.requests_to("/createPod")) == 1


async def test_a_pod_that_outlives_its_grace_blocks_successors(
    api: ApiServer, graceful: StubProvider, controlling: Controlling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(termination, "_MARGIN", 0.1)
    async with controlling(graceful):
        await run(api, bound(terminationGracePeriodSeconds=1))
        api.store.delete("pods", "web-0", "default")
        await api.until(lambda: phase(api) is None)
        new = api.store.create("pods", bound())["metadata"]["uid"]
        await graceful.until(lambda: len(deletes(graceful)) > 2)
        assert ("/createPod", new) not in writes(graceful)
        graceful.end(POD)
        await api.until(lambda: phase(api) == "Running")
    assert set(deletes(graceful)) == {1, 0}


def has_listed_more_than(stub: StubProvider, times: int) -> bool:
    return len(stub.requests_to("/getPods")) > times


async def test_an_unknown_pod_is_deleted_once_while_it_ends(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    stranger = {**bound("stranger"), "metadata": {"namespace": "default", "name": "stranger", "uid": "uid-9"}}
    graceful.pods["default/stranger"] = stranger
    graceful.statuses["default/stranger"] = running(stranger)
    async with controlling(graceful):
        await graceful.until(lambda: deletes(graceful))
        for _ in range(2):
            listed = len(graceful.requests_to("/getPods"))
            api.expire_watches()
            await graceful.until(partial(has_listed_more_than, graceful, listed))
        graceful.end("default/stranger")
    assert deletes(graceful) == [0]


async def test_a_deadline_waits_for_the_exit_codes(
    api: ApiServer, graceful: StubProvider, controlling: Controlling
) -> None:
    async with controlling(graceful):
        await run(api, bound(metadata=WATCHED))
        pod = stored(api)
        pod["spec"]["activeDeadlineSeconds"] = 1
        api.store.update("pods", pod)
        await graceful.until(lambda: graceful.requests_to("/deletePod"))
        assert phase(api) == "Running"
        graceful.end(POD, 143)
        await api.until(lambda: phase(api) == "Failed" and events(api, "DeadlineExceeded"))
    assert (status(api)["reason"], exit_code(api)) == ("DeadlineExceeded", 143)
    assert status(api)["observedGeneration"] == 2
    assert len(events(api, "DeadlineExceeded")) == 1
    assert len(graceful.requests_to("/createPod")) == len(graceful.requests_to("/deletePod")) == 1


@pytest.mark.parametrize("result", ["Failed", "Succeeded"])
async def test_a_pod_ended_by_another_client_is_terminated(
    api: ApiServer, graceful: StubProvider, controlling: Controlling, result: str
) -> None:
    async with controlling(graceful):
        await run(api, bound())
        pod = stored(api)
        pod["status"] |= {"phase": result, "reason": "NodeLost"}
        api.store.update("pods", pod, subresource="status")
        await graceful.until(lambda: graceful.requests_to("/deletePod"))
        graceful.report(POD, {**running(graceful.pods[POD]), "message": "stopping"})
        graceful.end(POD, 143)
        await api.until(lambda: exit_code(api) == 143)
        assert (status(api)["phase"], status(api)["reason"]) == (result, "NodeLost")
    assert graceful.pods == {}
    assert len(graceful.requests_to("/createPod")) == len(graceful.requests_to("/deletePod")) == 1


async def test_an_end_by_another_client_is_found_later(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    for name in ("web-0", "done"):
        api.store.create("pods", bound(name, restartPolicy="Never"))
    async with controlling(stub):
        await api.until(lambda: phase(api) == phase(api, "done") == "Running")
        stub.report("default/done", ended(stub.statuses["default/done"], 0))
        await api.until(lambda: phase(api, "done") == "Succeeded")
    pod = stored(api)
    pod["status"] |= {"phase": "Failed", "reason": "NodeLost"}
    api.store.update("pods", pod, subresource="status")
    async with controlling(stub):
        await stub.until(lambda: POD not in stub.pods)
        assert phase(api) == "Failed"
        assert "default/done" in stub.pods
