"""A pod between Kubernetes and a provider, without failures."""

from typing import Any

import pytest

from broker.node_info import NodeInfo
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, Object, bound, condition, events, phase, run, status, stored
from tests.pods import a_container
from tests.stub_provider import WAYS, StubProvider, Ways, providing, running

POD = "default/web-0"


def bodies(stub: StubProvider, path: str) -> list[Any]:
    """Return the bodies sent to a path."""
    return [request.body for request in stub.requests_to(path)]


@pytest.mark.parametrize("ways", [pytest.param(ways, id=name) for name, ways in WAYS.items()])
async def test_a_pod_runs_and_ends_with_any_provider(api: ApiServer, controlling: Controlling, ways: Ways) -> None:
    async with providing(ways) as stub, controlling(stub):
        await run(api, bound())
        ready = condition(api, "Ready")
        assert ready
        assert ready["status"] == "True"
        stub.report(POD, {**running(stub.pods[POD]), "message": "busy"})
        await api.until(lambda: status(api).get("message") == "busy")
        api.store.delete("pods", "web-0", "default")
        await api.until(lambda: phase(api) is None)
        assert stub.pods == {}
        await api.until(lambda: events(api, "ProviderCreateSuccess") and events(api, "ProviderDeleteSuccess"))
        assert len(bodies(stub, "/createPod")) == len(bodies(stub, "/deletePod")) == 1
        assert stub.requests_to("/updatePod") == []


async def test_the_payload_contains_the_resolved_environment(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create(
        "services", {"metadata": {"name": "db"}, "spec": {"clusterIP": "10.0.0.2", "ports": [{"port": 1}]}}
    )
    api.store.create("configmaps", {"metadata": {"name": "config"}, "data": {"A": "1"}})
    api.store.create("secrets", {"metadata": {"name": "password"}, "data": {"p": "aHVudGVyMg=="}})
    env = [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "password", "key": "p"}}}]
    api.store.create(
        "pods", bound(containers=[a_container(env=env, envFrom=[{"configMapRef": {"name": "config"}}])])
    )
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
    (sent,) = bodies(stub, "/createPod")
    (container,) = sent["spec"]["containers"]
    values = {variable["name"]: variable["value"] for variable in container["env"]}
    assert (values["A"], values["P"], values["DB_SERVICE_HOST"]) == ("1", "hunter2", "10.0.0.2")
    assert sent["metadata"]["uid"] == stored(api)["metadata"]["uid"]
    assert sent["status"]["phase"] == "Pending"


async def test_a_foreign_condition_causes_no_update(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        pod = stored(api)
        pod["status"]["conditions"].append({"type": "example.com/gate", "status": "True"})
        api.store.update("pods", pod, subresource="status")
        pod = stored(api)
        pod["metadata"]["labels"] = {"new": "1"}
        api.store.update("pods", pod)
        await stub.until(lambda: stub.requests_to("/updatePod"))
        await api.until(lambda: events(api, "ProviderUpdateSuccess"))
    (sent,) = bodies(stub, "/updatePod")
    assert sent["metadata"]["labels"] == {"new": "1"}
    gate = condition(api, "example.com/gate")
    assert gate
    assert gate["status"] == "True"


async def test_an_ephemeral_container_reaches_the_provider(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    """As `kubectl debug` adds it, with references of its own."""
    api.store.create("configmaps", {"metadata": {"name": "tools", "namespace": "default"}, "data": {"level": "3"}})
    api.store.create("pods", bound())
    reference = {"configMapKeyRef": {"name": "tools", "key": "level"}}
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        pod = stored(api)
        debugger = {"name": "debug", "image": "busybox", "env": [{"name": "LEVEL", "valueFrom": reference}]}
        pod["spec"]["ephemeralContainers"] = [debugger]
        api.store.update("pods", pod)
        await stub.until(lambda: stub.requests_to("/updatePod"))
    (sent,) = bodies(stub, "/updatePod")
    (container,) = sent["spec"]["ephemeralContainers"]
    assert {"name": "LEVEL", "value": "3"} in container["env"]


async def test_a_true_readiness_gate_makes_the_pod_ready(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound(readinessGates=[{"conditionType": "example.com/gate"}]))
    async with controlling(stub):
        await stub.until(lambda: "default/web-0" in stub.pods)
        unaware = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"}
        stub.report(
            "default/web-0", {**stub.statuses["default/web-0"], "podIP": "10.0.0.8", "conditions": [unaware]}
        )
        await api.until(lambda: status(api).get("podIP") == "10.0.0.8")
        assert (ready := condition(api, "Ready"))
        assert ready["status"] == "False"
        pod = stored(api)
        pod["status"]["conditions"].append({"type": "example.com/gate", "status": "True"})
        api.store.update("pods", pod, subresource="status")
        await api.until(lambda: (condition(api, "Ready") or {})["status"] == "True")


async def test_an_unchanged_status_is_written_once(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        await stub.until(lambda: len(stub.requests_to("/getPodStatus")) > 5)
    assert len(api.requests_to("PATCH", "/status")) == 1


async def test_an_ended_pod_stays_with_the_provider(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound(restartPolicy="Never"))
        stub.report(POD, {"phase": "Succeeded"})
        await api.until(lambda: phase(api) == "Succeeded")
        assert (ready := condition(api, "Ready"))
        assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
        stub.report(POD, {"phase": "Running"})
        assert POD in stub.pods
        api.store.delete("pods", "web-0", "default")  # at once: no container runs
        await stub.until(lambda: not stub.pods)
    assert phase(api) is None


async def test_a_deleted_pod_has_a_terminal_status_first(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound(metadata={"finalizers": ["example.com/watched"]}))
        api.store.delete("pods", "web-0", "default")
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        await api.until(lambda: phase(api) == "Failed")
        pod = stored(api)
        (container,) = pod["status"]["containerStatuses"]
        assert container["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
        pod["metadata"]["finalizers"] = []
        api.store.update("pods", pod)
        await api.until(lambda: phase(api) is None)
    (delete,) = api.requests_to("DELETE", "/pods/web-0")
    assert delete.body["gracePeriodSeconds"] == 0
    assert delete.body["preconditions"] == {"uid": pod["metadata"]["uid"]}


async def test_deletion_waits_until_the_pod_has_ended(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(reports_changes=True, deletes_slowly=True)) as stub, controlling(stub):
        await run(api, bound(metadata={"finalizers": ["example.com/watched"]}))
        api.store.delete("pods", "web-0", "default")
        await stub.until(lambda: len(stub.requests_to("/getPodStatus")) > 0)
        assert phase(api) == "Running"
        terminated = {"name": "web", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
        stub.report(POD, {"phase": "Succeeded", "containerStatuses": [terminated]})
        await api.until(lambda: phase(api) == "Succeeded")
        await api.until(lambda: api.requests_to("DELETE", "/pods/web-0"))
        assert len(bodies(stub, "/deletePod")) == 1


async def test_a_shortened_grace_period_is_sent_and_observed(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(deletes_slowly=True)) as stub, controlling(stub):
        await run(api, bound(terminationGracePeriodSeconds=3600))
        api.store.delete("pods", "web-0", "default")
        await stub.until(lambda: stub.requests_to("/deletePod"))
        api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": 1})
        await api.until(lambda: phase(api) is None)
        graces = [body["metadata"]["deletionGracePeriodSeconds"] for body in bodies(stub, "/deletePod")]
    assert graces == [3600, 1, 1]


async def test_force_deletion_deletes_at_the_provider(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        uid = stored(api)["metadata"]["uid"]
        with stub.failing("/deletePod", 503, times=2):
            api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": 0})
            await stub.until(lambda: not stub.pods)
    assert [body["metadata"]["uid"] for body in bodies(stub, "/deletePod")] == [uid] * 3
    assert bodies(stub, "/deletePod")[0]["spec"]["containers"]


async def test_a_recreated_pod_waits_for_the_old_one(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        old = stored(api)["metadata"]["uid"]
        with stub.hanging("/deletePod"):
            api.store.delete("pods", "web-0", "default")
            await stub.until(lambda: stub.requests_to("/deletePod"))
            api.store.delete("pods", "web-0", "default", {"gracePeriodSeconds": 0})
            new = api.store.create("pods", bound())["metadata"]["uid"]
        await api.until(lambda: phase(api) == "Running")
    writes = [request for request in stub.requests if request.path in ("/createPod", "/deletePod")]
    assert [(request.path, request.body["metadata"]["uid"]) for request in writes] in (
        [("/createPod", old), ("/deletePod", old), ("/createPod", new)],
        [("/createPod", old), ("/deletePod", old), ("/deletePod", old), ("/createPod", new)],
    )
    assert new == stub.pods[POD]["metadata"]["uid"]


async def test_pods_unknown_to_kubernetes_are_deleted_after_sync(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    known = api.store.create("pods", bound())
    stub.pods[POD], stub.statuses[POD] = known, running(known)
    stranger = {**bound("stranger"), "metadata": {"namespace": "default", "name": "stranger", "uid": "uid-9"}}
    nameless = {**bound("nameless"), "metadata": {"namespace": "default", "name": "nameless"}}
    stub.pods["default/nameless"] = nameless  # whose namespace and name the provider does not report
    stub.statuses["default/nameless"] = running(nameless)
    stub.pods["default/stranger"], stub.statuses["default/stranger"] = stranger, running(stranger)
    with api.failing(500, path="/api/v1/pods$", times=1):
        async with controlling(stub):
            await stub.until(lambda: stub.pods.keys() == {POD})
            await api.until(lambda: phase(api) == "Running")
    deleted = [body["metadata"]["name"] for body in bodies(stub, "/deletePod")]
    assert sorted(deleted) == ["nameless", "stranger"]
    assert POD in stub.pods
    listed = [request for request in stub.requests if request.path == "/getPods"]
    assert len(listed) == 1


async def test_an_environment_is_resolved_once_per_pod(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("configmaps", {"metadata": {"name": "config"}, "data": {"A": "1"}})
    async with controlling(stub):
        await run(api, bound(containers=[a_container(envFrom=[{"configMapRef": {"name": "config"}}])]))
    api.store.delete("configmaps", "config", "default")
    pod = stored(api)
    pod["metadata"]["labels"] = {"new": "1"}
    async with controlling(stub):  # another broker, which has resolved nothing yet
        api.store.update("pods", pod)
        await stub.until(lambda: stub.requests_to("/updatePod"))
    (sent,) = bodies(stub, "/updatePod")
    assert sent["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]


async def test_a_restarted_broker_writes_nothing_if_nothing_changed(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
    writes = len(bodies(stub, "/createPod"))
    patches = len(api.requests_to("PATCH", "/pods"))
    asked_before = len(stub.requests_to("/getPodStatus"))
    async with controlling(stub):
        await stub.until(lambda: len(stub.requests_to("/getPodStatus")) > asked_before + 2)
    assert len(bodies(stub, "/createPod")) == writes
    assert not stub.requests_to("/updatePod")
    assert len(api.requests_to("PATCH", "/pods")) == patches


async def test_a_pod_beyond_capacity_is_rejected(
    api: ApiServer, stub: StubProvider, controlling: Controlling, info: NodeInfo
) -> None:
    info.allocatable = {"pods": "1"}
    async with controlling(stub):
        await run(api, bound("web-0"))
        api.store.create("pods", bound("web-1"))
        await api.until(lambda: phase(api, "web-1") == "Failed")
        found = status(api, "web-1")
        assert found["reason"] == "OutOfpods"
        assert found["message"].startswith("Pod was rejected: Node didn't have enough resource: pods")
        await api.until(lambda: events(api, "OutOfpods"))
        api.store.delete("pods", "web-0", "default")
        await api.until(lambda: phase(api, "web-0") is None)
        await run(api, bound("web-2"))
    assert {body["metadata"]["name"] for body in bodies(stub, "/createPod")} == {"web-0", "web-2"}


async def test_running_pods_are_admitted_before_new_pods(
    api: ApiServer, stub: StubProvider, controlling: Controlling, info: NodeInfo
) -> None:
    info.allocatable = {"pods": "1"}
    api.store.create("pods", bound("z-runs"))
    async with controlling(stub):
        await api.until(lambda: phase(api, "z-runs") == "Running")
    api.store.create("pods", bound("a-new"))
    stub.forget()
    async with controlling(stub):
        await api.until(lambda: phase(api, "a-new") == "Failed")
        await stub.until(lambda: "default/z-runs" in stub.pods)


async def test_pods_wait_until_the_node_is_registered(
    api: ApiServer, stub: StubProvider, controlling: Controlling, info: NodeInfo
) -> None:
    info.uid, info.labels = "", {}
    api.store.create("pods", bound(nodeSelector={"type": "virtual-kubelet"}))
    async with controlling(stub):
        await stub.until(lambda: stub.requests_to("/podStatuses"))
        info.uid, info.labels = "node-uid", {"type": "virtual-kubelet"}
        await api.until(lambda: phase(api) == "Running")


def of_daemon_set(name: str) -> Object:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}
    return bound(name, metadata={"ownerReferences": [owner]})


@pytest.mark.parametrize("daemon_sets", [True, False])
async def test_pods_of_daemon_sets_run_unless_disabled(
    api: ApiServer, stub: StubProvider, controlling: Controlling, daemon_sets: bool
) -> None:
    api.store.create("pods", of_daemon_set("daemon"))
    api.store.create("pods", bound("web-0"))
    async with controlling(stub, daemon_sets=daemon_sets):
        await api.until(lambda: phase(api, "web-0") == "Running")
        if daemon_sets:
            await api.until(lambda: phase(api, "daemon") == "Running")
        api.store.delete("pods", "daemon", "default")
        await api.until(lambda: phase(api, "daemon") is None)
    created = {body["metadata"]["name"] for body in bodies(stub, "/createPod")}
    assert created == ({"web-0", "daemon"} if daemon_sets else {"web-0"})


async def test_mirror_pods_of_nobody_are_removed(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    mirror = bound("mirror", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}})
    uid = api.store.create("pods", mirror)["metadata"]["uid"]
    api.store.create("pods", bound("web-0"))
    with api.failing(500, method="DELETE", path="/pods/mirror", times=1):
        async with controlling(stub):
            await api.until(lambda: phase(api, "mirror") is None)
            await api.until(lambda: phase(api, "web-0") == "Running")
    assert [body["metadata"]["name"] for body in bodies(stub, "/createPod")] == ["web-0"]
    assert not stub.requests_to("/deletePod")
    delete = api.requests_to("DELETE", "/pods/mirror")[-1]
    assert (delete.body["gracePeriodSeconds"], delete.body["preconditions"]) == (0, {"uid": uid})
