"""Providers and API servers on a bad day: nothing is lost, nothing fails that need not, nothing regresses."""

from functools import partial

import pytest

from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, bound, events, phase
from tests.pods import a_container
from tests.stub_provider import WAYS, StubProvider, Ways, providing, running

POD = "default/web-0"
SECRET = "hunter2hunter2"


async def test_a_provider_that_hangs_is_given_up_and_asked_again(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub, provider_timeout=0.2):
        with stub.hanging("/createPod"):
            await stub.until(lambda: len(stub.made("/createPod")) > 1)
            await api.until(lambda: events(api, "ProviderCreateFailed"))
            assert phase(api) == "Pending"
        await api.until(lambda: phase(api) == "Running")


async def test_a_provider_that_is_down_is_waited_for(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    await stub.stop()
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: api.made("GET", "/pods") and api.made("GET", "/services"))
        assert phase(api) == "Pending"
        await stub.start()
        await api.until(lambda: phase(api) == "Running")
    assert len(stub.made("/createPod")) == 1


async def test_an_outage_of_the_provider_touches_no_status(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        patches = len(api.made("PATCH", "/status"))
        await stub.stop()
        api.store.create("pods", bound("web-1"))
        await api.until(lambda: events(api, "ProviderCreateFailed"))
        await stub.start()
        await api.until(lambda: phase(api, "web-1") == "Running")
    of_the_first = [request for request in api.made("PATCH", "/status") if "/web-0/" in request.path]
    assert len(of_the_first) == patches


@pytest.mark.parametrize("code", [429, 500, 502, 503])
async def test_a_provider_that_cannot_now_is_asked_again(
    api: ApiServer, stub: StubProvider, controlling: Controlling, code: int
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/createPod", code, times=3):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.made("/createPod")) == 4


async def test_an_answer_about_a_pod_that_is_none_says_neither_that_it_is_there_nor_that_it_is_not(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/getPods", 500), stub.failing("/getPod$", 500):
        async with controlling(stub):
            await stub.until(lambda: len(stub.made("/getPod")) > 3)
    assert not stub.made("/createPod")
    assert not stub.made("/updatePod")


async def test_a_create_whose_answer_was_lost_is_not_repeated(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    with stub.failing("/createPod", 500, times=1), stub.hanging("/getPod$") as fault:
        async with controlling(stub):
            pod = api.store.create("pods", bound())
            await stub.until(lambda: stub.made("/getPod"))
            (sent,) = [request.body for request in stub.made("/createPod")]
            stub.pods[POD], stub.statuses[POD] = sent, running(pod)
            fault.lifted.set()
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.made("/createPod")) == 1
    assert not stub.made("/updatePod")


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_a_pod_that_the_provider_will_never_take_fails_with_the_providers_words(
    api: ApiServer, stub: StubProvider, controlling: Controlling, code: int
) -> None:
    env = [{"name": "P", "value": SECRET}]
    api.store.create("pods", bound(containers=[a_container(env=env)]))
    body = f'{{"error": {{"code": {code}, "message": "no {SECRET} here"}}}}'.encode()
    with stub.failing("/createPod", code, body=body):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Failed")
            await api.until(lambda: events(api, "ProviderFailed"))
    status = api.store.get("pods", "web-0", "default")["status"]
    assert status["reason"] == "ProviderFailed"
    assert status["message"] == f"the provider answers {code}: no … here"
    assert len(stub.made("/createPod")) == 1
    assert SECRET not in str(api.store.list("events"))


@pytest.mark.parametrize("code", [301, 401, 403, 404, 405, 409])
async def test_another_refusal_fails_no_pod(
    api: ApiServer, stub: StubProvider, controlling: Controlling, code: int
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/createPod", code, times=2):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert "reason" not in api.store.get("pods", "web-0", "default")["status"]


@pytest.mark.parametrize("ways", [pytest.param(ways, id=name) for name, ways in WAYS.items()])
async def test_a_provider_that_comes_back_without_its_pods_gets_them_again(
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


async def test_a_pod_that_ran_does_not_fail_where_it_cannot_be_made_again(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        with stub.failing("/createPod", 422):
            stub.forget()
            await stub.until(lambda: len(stub.made("/createPod")) > 2)
            assert phase(api) == "Running"
        await stub.until(lambda: POD in stub.pods)


async def test_one_status_that_is_missing_is_no_lost_pod(api: ApiServer, controlling: Controlling) -> None:
    api.store.create("pods", bound())
    async with providing(WAYS["no /getPod"]) as stub, controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        with stub.failing("/getPodStatus", 404, times=1) as fault:
            await stub.until(lambda: fault.met)
        before = len(stub.made("/getPodStatus"))
        await stub.until(lambda: len(stub.made("/getPodStatus")) > before + 2)
    assert len(stub.made("/createPod")) == 1


async def test_a_pod_that_was_lost_without_a_word_is_made_again_instead_of_updated(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub, status_interval=300):
        await api.until(lambda: phase(api) == "Running")
        stub.forget()
        pod = api.store.get("pods", "web-0", "default")
        pod["metadata"]["labels"] = {"new": "1"}
        api.store.update("pods", pod)
        await stub.until(lambda: POD in stub.pods)
    assert stub.pods[POD]["metadata"]["labels"] == {"new": "1"}
    assert len(stub.made("/updatePod")) == 1


def was_updated(stub: StubProvider, times: int) -> bool:
    return len(stub.made("/updatePod")) >= times


async def test_a_provider_that_takes_no_updates_keeps_its_pods(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(takes_updates=False)) as stub, controlling(stub):
        api.store.create("pods", bound())
        await api.until(lambda: phase(api) == "Running")
        for number in (1, 2):
            pod = api.store.get("pods", "web-0", "default")
            pod["metadata"]["labels"] = {"new": str(number)}
            api.store.update("pods", pod)
            await stub.until(partial(was_updated, stub, number))
        await api.until(lambda: events(api, "ProviderUpdateFailed"))
    assert len(stub.made("/createPod")) == 1
    assert len(stub.made("/updatePod")) == 2


@pytest.mark.parametrize(
    "answer", [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (503, "Unavailable")]
)
async def test_a_status_that_could_not_be_written_is_written_later(
    api: ApiServer, stub: StubProvider, controlling: Controlling, answer: tuple[int, str]
) -> None:
    api.store.create("pods", bound())
    code, reason = answer
    with api.failing(code, reason=reason, method="PATCH", path="/status", times=3):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.made("/createPod")) == 1


async def test_a_status_is_written_on_what_the_pod_has_become(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        with stub.hanging("/createPod"):
            await stub.until(lambda: stub.made("/createPod"))
            pod = api.store.get("pods", "web-0", "default")
            pod["status"]["conditions"] = [{"type": "example.com/late", "status": "True"}]
            api.store.update("pods", pod, subresource="status")
        await api.until(lambda: phase(api) == "Running")
    types = [c["type"] for c in api.store.get("pods", "web-0", "default")["status"]["conditions"]]
    assert "example.com/late" in types
    assert "Ready" in types


async def test_a_status_is_written_though_the_pod_cannot_be_updated(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        with stub.failing("/updatePod", 503):
            pod = api.store.get("pods", "web-0", "default")
            pod["metadata"]["labels"] = {"new": "1"}
            api.store.update("pods", pod)
            await stub.until(lambda: stub.made("/updatePod"))
            stub.report(POD, {**running(stub.pods[POD]), "message": "meanwhile"})
            await api.until(
                lambda: api.store.get("pods", "web-0", "default")["status"].get("message") == "meanwhile"
            )
        await stub.until(lambda: stub.pods[POD]["metadata"].get("labels") == {"new": "1"})


async def test_a_last_status_that_is_refused_keeps_no_pod(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        with api.failing(422, reason="Invalid", method="PATCH", path="/status"):
            api.store.delete("pods", "web-0", "default")
            await api.until(lambda: phase(api) is None)


@pytest.mark.parametrize("status", [b"[]", b'"Running"', b"<html>", b"{"])
async def test_a_status_that_is_none_is_an_outage_and_no_status(
    api: ApiServer, stub: StubProvider, controlling: Controlling, status: bytes
) -> None:
    api.store.create("pods", bound())
    with stub.failing("/getPodStatus", 200, body=status, times=3):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")
    assert len(stub.made("/createPod")) == 1


async def test_an_api_server_that_restarts_finds_everything_going_on(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        api.store.create("pods", bound())
        await api.until(lambda: phase(api) == "Running")
        await api.stop()
        stub.report(POD, {**running(stub.pods[POD]), "message": "meanwhile"})
        api.store.create("pods", bound("web-1"))
        await api.start()
        await api.until(lambda: phase(api, "web-1") == "Running")
        await api.until(lambda: api.store.get("pods", "web-0", "default")["status"].get("message") == "meanwhile")


async def test_a_pod_that_went_while_nobody_could_see_it_goes_from_the_provider(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        api.store.create("pods", bound())
        await api.until(lambda: phase(api) == "Running")
        with api.failing(500, method="GET", path="^/api/v1/pods$"):
            api.cut_watches()
            api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": 0})
            api.store.compact()
        await stub.until(lambda: not stub.pods)


async def test_a_delete_goes_on_until_the_provider_has_let_go(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound(terminationGracePeriodSeconds=1))
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        with stub.failing("/deletePod", 500):
            api.store.delete("pods", "web-0", "default")
            await stub.until(lambda: len(stub.made("/deletePod")) > 3)
            await api.until(lambda: events(api, "ProviderDeleteFailed"))
            assert not api.made("DELETE", "/pods/")
        await api.until(lambda: phase(api) is None)
    assert not stub.pods


async def test_a_delete_that_another_broker_began_is_finished(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
    api.store.delete("pods", "web-0", "default")
    async with controlling(stub):
        await api.until(lambda: phase(api) is None)
    assert not stub.pods


async def test_a_stop_finishes_what_is_under_way(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    with stub.hanging("/createPod") as fault:
        async with controlling(stub) as controller:
            for number in range(5):
                api.store.create("pods", bound(f"web-{number}"))
            await stub.until(lambda: len(stub.made("/createPod")) == 5)
            controller.stop()
            fault.lifted.set()
    assert len(stub.pods) == 5
    assert all(phase(api, f"web-{number}") == "Running" for number in range(5))
