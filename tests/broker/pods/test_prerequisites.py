"""Pods whose ConfigMaps and Secrets are missing, at a provider with the extension and at one without."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, Object, bound, container_status, events, phase, run, status
from tests.pods import a_container
from tests.stub_provider import StubProvider, Ways, providing

SECRET = {"metadata": {"name": "password"}, "data": {"p": "aHVudGVyMg=="}}
CONFIG = {"metadata": {"name": "config"}, "data": {"A": "1"}}
EXTENDED = Ways(reports_changes=True, extensions=("podStatuses", "containerEnvironments"))


def with_secret(name: str = "web", **container: Any) -> Object:
    source = {"secretKeyRef": {"name": "password", "key": "p"}}
    return a_container(name, env=[{"name": "P", "valueFrom": source}], **container)


def with_config(name: str = "web") -> Object:
    return a_container(name, envFrom=[{"configMapRef": {"name": "config"}}])


def waiting(api: ApiServer, container: str = "web") -> Object:
    """The waiting state of a container; empty where it does not wait."""
    state: Object = container_status(api, container).get("state", {})
    return state.get("waiting") or {}


def variables(sent: Object, container: int = 0) -> list[Object]:
    env: list[Object] = sent["spec"]["containers"][container]["env"]
    return env


async def test_other_containers_start_without_a_missing_secret(api: ApiServer, controlling: Controlling) -> None:
    api.store.create("configmaps", CONFIG)
    api.store.create("pods", bound(containers=[with_config("good"), with_secret("bad")]))
    async with providing(EXTENDED) as stub, controlling(stub):
        await api.until(lambda: "running" in container_status(api, "good").get("state", {}))
        await api.until(lambda: waiting(api, "bad").get("message") == 'secret "password" not found')
        assert waiting(api, "bad")["reason"] == "CreateContainerConfigError"
        (created,) = [request.body for request in stub.requests_to("/createPod")]
        assert variables(created, 0) == [{"name": "A", "value": "1"}]
        assert variables(created, 1)[0]["valueFrom"]
        api.store.create("secrets", SECRET)
        await api.until(lambda: phase(api) == "Running")
    (updated,) = [request.body for request in stub.requests_to("/updatePod")]
    assert variables(updated, 1) == [{"name": "P", "value": "hunter2"}]


async def test_a_started_container_keeps_its_environment(api: ApiServer, controlling: Controlling) -> None:
    api.store.create("configmaps", CONFIG)
    api.store.create("pods", bound(containers=[with_config("good"), with_secret("bad")]))
    async with providing(EXTENDED) as stub:
        async with controlling(stub):
            await api.until(lambda: waiting(api, "bad"))
        api.store.update(
            "configmaps", {**CONFIG, "metadata": {**CONFIG["metadata"], "namespace": "default"}, "data": {}}
        )
        api.store.create("secrets", SECRET)
        async with controlling(stub):  # another broker, which reads the environments from the provider
            await api.until(lambda: phase(api) == "Running")
        (updated,) = [request.body for request in stub.requests_to("/updatePod")]
    assert variables(updated, 0) == [{"name": "A", "value": "1"}]
    assert variables(updated, 1) == [{"name": "P", "value": "hunter2"}]


async def test_a_restarted_broker_does_not_report_running_containers_as_waiting(
    api: ApiServer, controlling: Controlling
) -> None:
    api.store.create("configmaps", CONFIG)
    api.store.create("pods", bound(containers=[with_config("good"), with_secret("bad")]))
    async with providing(EXTENDED) as stub:
        async with controlling(stub):
            await api.until(lambda: "running" in container_status(api, "good").get("state", {}))
            await api.until(lambda: waiting(api, "bad").get("message") == 'secret "password" not found')
        patches = len(api.requests_to("PATCH", "/pods"))
        reads = len(stub.requests_to("/podStatuses"))
        with stub.failing("/podStatuses", 503):
            async with controlling(stub):
                await stub.until(lambda: len(stub.requests_to("/podStatuses")) > reads + 2)
        assert len(api.requests_to("PATCH", "/pods")) == patches


async def test_a_deadline_counts_while_a_container_waits(api: ApiServer, controlling: Controlling) -> None:
    api.store.create("pods", bound(activeDeadlineSeconds=1, containers=[with_secret()]))
    async with providing(EXTENDED) as stub, controlling(stub):
        await api.until(lambda: phase(api) == "Failed")
        assert not stub.pods
    assert status(api)["reason"] == "DeadlineExceeded"


async def test_a_waiting_pod_has_a_complete_status(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    pod = bound(
        initContainers=[a_container("setup")],
        containers=[with_secret("bad"), a_container("good")],
        activeDeadlineSeconds=3600,
    )
    api.store.create("pods", pod)
    async with controlling(stub):
        await api.until(lambda: waiting(api, "bad"))
        found = status(api)
        assert not stub.requests_to("/createPod")
        api.store.create("secrets", SECRET)
        await api.until(lambda: phase(api) == "Running")
    assert found["phase"] == "Pending"
    assert found["startTime"]
    assert found["observedGeneration"] == 1
    assert [c["state"]["waiting"] for c in [*found["initContainerStatuses"], *found["containerStatuses"]]] == [
        {"reason": "PodInitializing"},
        {"reason": "CreateContainerConfigError", "message": 'secret "password" not found'},
        {"reason": "PodInitializing"},
    ]
    conditions = {c["type"]: (c["status"], c.get("message")) for c in found["conditions"]}
    unready = ("False", "containers with unready status: [bad good]")
    assert conditions == {
        "PodReadyToStartContainers": ("False", None),
        "Initialized": ("False", "containers with incomplete status: [setup]"),
        "ContainersReady": unready,
        "Ready": unready,
        "PodScheduled": ("True", None),
    }


async def test_a_waiting_pod_exceeds_its_deadline(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    started = datetime.now(UTC)
    api.store.create("pods", bound(activeDeadlineSeconds=1, containers=[with_secret()]))
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Failed")
    assert status(api)["reason"] == "DeadlineExceeded"
    assert datetime.now(UTC) - started < timedelta(seconds=5)
    assert not stub.requests_to("/createPod")


async def test_a_too_large_pod_exceeds_its_deadline(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound(activeDeadlineSeconds=1))
    with stub.failing("/createPod", 413):
        async with controlling(stub):
            await api.until(lambda: waiting(api) == {"reason": "ContainerCreating"})
            await api.until(lambda: phase(api) == "Failed")
    assert status(api)["reason"] == "DeadlineExceeded"


async def test_a_mandatory_config_map_causes_a_warning(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound(containers=[with_config()]))
    async with controlling(stub):
        (event,) = await api.until(lambda: events(api, "MandatoryConfigMapNotFound"))
        assert (event["type"], event["message"]) == ("Warning", 'configmap "config" not found')
        api.store.create("configmaps", CONFIG)
        await api.until(lambda: phase(api) == "Running")


@pytest.mark.parametrize("object_exists", [True, False])
async def test_a_missing_optional_source_causes_no_warning(
    api: ApiServer, stub: StubProvider, controlling: Controlling, object_exists: bool
) -> None:
    if object_exists:
        api.store.create("configmaps", CONFIG)
    source = {"configMapKeyRef": {"name": "config", "key": "none", "optional": True}}
    async with controlling(stub):
        await run(api, bound(containers=[a_container(env=[{"name": "V", "valueFrom": source}])]))
        reason = "OptionalConfigMapKeyNotFound" if object_exists else "OptionalConfigMapNotFound"
        await api.until(lambda: events(api, reason))
    assert {event["type"] for event in api.store.list("events")} == {"Normal"}


async def test_values_of_secrets_are_in_no_event(api: ApiServer, controlling: Controlling, capsys: Any) -> None:
    api.store.create("secrets", SECRET)
    api.store.create("pods", bound(containers=[with_secret("good"), with_config("bad")]))
    async with providing(EXTENDED) as stub, controlling(stub):
        await api.until(lambda: events(api, "MandatoryConfigMapNotFound") and waiting(api, "bad"))
        assert stub.pods
    assert "hunter2" not in str(api.store.list("events")) + str(api.store.list("pods")) + capsys.readouterr().out
