"""Volumes on their way from the API server to the provider."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.kubernetes.client import Client
from broker.node_info import NodeInfo
from broker.pods.object_cache import ObjectCache
from broker.pods.volumes.pod_volumes import PodVolumes
from broker.pods.volumes.tokens import TokenSpec, request_token
from broker.provider import ProviderClient
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of
from tests.broker.pods.conftest import (
    Controlling,
    Object,
    bound,
    container_status,
    events,
    phase,
    run,
    status,
    stored,
)
from tests.pods import a_container
from tests.stub_provider import StubProvider, Ways, ended, providing

SETUP = 'MountVolume.SetUp failed for volume "v" : '
EXTENDED = Ways(reports_changes=True, extensions=("podStatuses", "podVolumes"))
CONFIG: Object = {"metadata": {"name": "config", "namespace": "default"}, "data": {"a": "1"}}
SECRET: Object = {"metadata": {"name": "password", "namespace": "default"}, "data": {"p": "aHVudGVyMg=="}}
TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}


@pytest.fixture
async def wanting() -> AsyncIterator[StubProvider]:
    """A provider with the extension `podVolumes`."""
    async with providing(EXTENDED) as provider:
        yield provider


@pytest.fixture
async def mounted(api: ApiServer, wanting: StubProvider, controlling: Controlling) -> AsyncIterator[StubProvider]:
    """The same, with a running pod whose volume has the data of a ConfigMap."""
    api.store.create("configmaps", CONFIG)
    async with controlling(wanting):
        await run(api, mounting(configMap={"name": "config"}))
        yield wanting


def mounting(name: str = "web-0", *, metadata: Object | None = None, **source: Any) -> Object:
    """A pod on the node that mounts a volume."""
    container = a_container(volumeMounts=[{"name": "v", "mountPath": "/v"}])
    return bound(name, metadata=metadata, containers=[container], volumes=[{"name": "v", **source}])


def projected(*sources: Object, name: str = "web-0") -> Object:
    return mounting(name, projected={"sources": list(sources)})


def files(api: ApiServer, stub: StubProvider, name: str = "web-0") -> dict[str, bytes]:
    """The files that the provider has got for a pod."""
    pod = api.store.find("pods", name, "default")
    volume = stub.volumes.get(pod["metadata"]["uid"], {}).get("v", {"files": []}) if pod else {"files": []}
    return {file["path"]: base64.b64decode(file["data"]) for file in volume["files"]}


async def test_volumes_are_sent_before_the_pod(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    stored = api.store.create("configmaps", CONFIG)
    pod = api.store.create("pods", mounting(configMap={"name": "config", "defaultMode": 0o444}))
    async with controlling(wanting):
        await api.until(lambda: phase(api) == "Running")
    paths = [request.path for request in wanting.requests]
    assert paths.index("/podVolumes") < paths.index("/createPod")
    version = stored["metadata"]["resourceVersion"]
    (sent,) = [request.body for request in wanting.requests_to("/podVolumes")]
    assert sent == {
        "metadata": {"namespace": "default", "name": "web-0", "uid": pod["metadata"]["uid"]},
        "spec": {"nodeName": pod["spec"]["nodeName"]},  # the audit log has the event before the pod
        "volumes": [
            {
                "name": "v",
                "resourceVersion": version,
                "sources": [{"kind": "ConfigMap", "name": "config", "resourceVersion": version}],
                "files": [{"path": "a", "mode": 0o444, "data": "MQ=="}],
            }
        ],
    }


async def test_a_change_reaches_a_running_pod(api: ApiServer, mounted: StubProvider) -> None:
    api.store.update("configmaps", {**CONFIG, "data": {"b": "2"}})
    await mounted.until(lambda: files(api, mounted) == {"b": b"2"})
    api.store.delete("configmaps", "config", "default")
    (event,) = await api.until(lambda: events(api, "FailedMount"))
    assert event["message"] == f'{SETUP}configmap "config" not found'
    assert files(api, mounted) == {"b": b"2"}  # it stays as it was
    api.store.create("configmaps", CONFIG)
    await mounted.until(lambda: files(api, mounted) == {"a": b"1"})
    assert len(mounted.requests_to("/createPod")) == 1


async def test_a_label_of_the_pod_reaches_its_volume(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    pod = api.store.create("pods", mounting(metadata={"labels": {"a": "1"}}, downwardAPI={"items": items}))
    async with controlling(wanting):
        await wanting.until(lambda: files(api, wanting) == {"labels": b'a="1"'})
        await api.until(lambda: phase(api) == "Running")
        pod = stored(api)
        pod["metadata"]["labels"] = {"a": "2"}
        api.store.update("pods", pod)
        await wanting.until(lambda: files(api, wanting) == {"labels": b'a="2"'})


async def test_a_new_broker_sends_volumes_again(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    api.store.create("configmaps", CONFIG)
    api.store.create("pods", mounting(configMap={"name": "config"}))
    async with controlling(wanting):
        await api.until(lambda: phase(api) == "Running")
    api.store.update("configmaps", {**CONFIG, "data": {"b": "2"}})
    async with controlling(wanting):
        await wanting.until(lambda: files(api, wanting) == {"b": b"2"})


async def test_a_lost_pod_gets_its_volumes_again(api: ApiServer, mounted: StubProvider) -> None:
    mounted.volumes.clear()
    mounted.forget()
    await mounted.until(lambda: len(mounted.requests_to("/createPod")) == 2)
    assert files(api, mounted) == {"a": b"1"}


@pytest.mark.parametrize("extensions", [(), ("podStatuses", "podVolumes")])
async def test_a_pod_waits_for_a_missing_secret(
    api: ApiServer, controlling: Controlling, extensions: tuple[str, ...]
) -> None:
    api.store.create("pods", mounting(secret={"secretName": "password"}))
    async with providing(Ways(reports_changes=True, extensions=extensions)) as stub, controlling(stub):
        await api.until(
            lambda: container_status(api, "web").get("state") == {"waiting": {"reason": "ContainerCreating"}}
        )
        (event,) = await api.until(lambda: events(api, "FailedMount"))
        assert (event["type"], event["message"]) == ("Warning", f'{SETUP}secret "password" not found')
        assert status(api)["startTime"]
        assert not stub.requests_to("/createPod")
        api.store.create("secrets", SECRET)
        await api.until(lambda: phase(api) == "Running")
        assert files(api, stub) == ({"p": b"hunter2"} if extensions else {})


async def test_several_missing_sources_are_one_event(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    account = {"path": "token", "audience": "vault"}
    pod = projected({"configMap": {"name": "none"}}, {"serviceAccountToken": account})
    api.store.create("pods", {**pod, "spec": {**pod["spec"], "serviceAccountName": "robot"}})
    async with controlling(wanting):
        (event,) = await api.until(lambda: events(api, "FailedMount"))
        assert event["message"] == (
            f'{SETUP}[configmap "none" not found, failed to fetch token: serviceaccounts "robot" not found]'
        )


@pytest.mark.parametrize(
    ("ways", "pod_volumes"),
    [pytest.param(Ways(), True, id="none"), pytest.param(EXTENDED, False, id="turned off")],
)
async def test_a_provider_without_the_extension_gets_none(
    api: ApiServer, controlling: Controlling, ways: Ways, pod_volumes: bool
) -> None:
    api.store.create("configmaps", CONFIG)
    api.store.create("pods", projected({"configMap": {"name": "config"}}, TOKEN))
    async with providing(ways) as stub, controlling(stub, pod_volumes=pod_volumes):
        await api.until(lambda: phase(api) == "Running")
    assert not stub.requests_to("/podVolumes")
    assert not api.requests_to("POST", "/token")


async def test_forbidden_objects_hold_up_no_pod_without_volumes(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", mounting(secret={"secretName": "password"}))
    with api.failing(403, reason="Forbidden", path="/secrets"):
        async with controlling(stub):
            await api.until(lambda: phase(api) == "Running")


async def test_refused_volumes_hold_up_the_pod(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    api.store.create("secrets", SECRET)
    api.store.create("pods", mounting(secret={"secretName": "password"}))
    with wanting.failing("/podVolumes", 400, body=b'{"error": {"message": "bad: hunter2"}}'):
        async with controlling(wanting):
            (event,) = await api.until(lambda: events(api, "FailedMount"))
            assert event["message"] == "the provider does not accept the pod's volumes: the provider answers 400"
            assert not wanting.requests_to("/createPod")


async def test_volumes_too_large_together_are_sent_apart(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    api.store.create("configmaps", CONFIG)
    pod = mounting(configMap={"name": "config"})
    spec, mounts = pod["spec"], pod["spec"]["containers"][0]["volumeMounts"]
    spec["volumes"] = [*spec["volumes"], {**spec["volumes"][0], "name": "w"}]
    spec["containers"][0]["volumeMounts"] = [*mounts, {"name": "w", "mountPath": "/w"}]
    api.store.create("pods", pod)
    with wanting.failing("/podVolumes", 413, times=1):
        async with controlling(wanting):
            await api.until(lambda: phase(api) == "Running")
    sent = [[volume["name"] for volume in each.body["volumes"]] for each in wanting.requests_to("/podVolumes")]
    assert sent == [["v", "w"], ["v"], ["w"]]


async def test_refused_changes_leave_the_pod_running(api: ApiServer, mounted: StubProvider) -> None:
    with mounted.failing("/podVolumes", 422):
        api.store.update("configmaps", {**CONFIG, "data": {"b": "2"}})
        await api.until(lambda: events(api, "FailedMount"))
    await mounted.until(lambda: files(api, mounted) == {"b": b"2"})
    assert phase(api) == "Running"


async def test_an_unavailable_provider_gets_the_change_later(api: ApiServer, mounted: StubProvider) -> None:
    with mounted.failing("/podVolumes", 503, times=2):
        api.store.update("configmaps", {**CONFIG, "data": {"b": "2"}})
        await mounted.until(lambda: files(api, mounted) == {"b": b"2"})


async def test_a_path_that_is_gone_is_no_extension(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    api.store.create("configmaps", CONFIG)
    api.store.create("pods", mounting(configMap={"name": "config"}))
    with wanting.failing("/podVolumes", 404):
        async with controlling(wanting):
            await api.until(lambda: phase(api) == "Running")
    assert len(wanting.requests_to("/podVolumes")) == 1


async def test_a_pod_that_has_ended_is_not_refreshed(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    api.store.create("configmaps", CONFIG)
    api.store.create("pods", projected({"configMap": {"name": "config"}}, TOKEN))
    async with controlling(wanting):
        await api.until(lambda: phase(api) == "Running")
        wanting.report("default/web-0", ended(wanting.statuses["default/web-0"], 0))
        await api.until(lambda: phase(api) in ("Succeeded", "Failed"))
    assert len(wanting.requests_to("/podVolumes")) == 1


async def test_a_secret_is_in_no_log_and_no_event(
    api: ApiServer, wanting: StubProvider, controlling: Controlling, capsys: pytest.CaptureFixture[str]
) -> None:
    api.store.create("secrets", SECRET)
    api.store.create("pods", projected({"secret": {"name": "password"}}, TOKEN))
    async with controlling(wanting):
        await api.until(lambda: phase(api) == "Running")
    token = files(api, wanting)["token"].decode()
    out = capsys.readouterr().out
    assert "volumes sent" in out
    for secret in ("hunter2", "aHVudGVyMg", token):
        assert secret not in out + str(api.store.list("events")) + str(api.store.list("pods"))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 27, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def test_a_token_is_renewed_in_time(
    api: ApiServer, client: Client, info: NodeInfo, wanting: StubProvider
) -> None:
    pod = api.store.create("pods", projected(TOKEN))
    clock, provider = Clock(), ProviderClient(wanting.url)
    dependencies = dependencies_of(client, info, provider=provider, clock=clock)
    async with ObjectCache(dependencies, on_change=lambda _: None) as objects:
        volumes = PodVolumes(dependencies, objects)
        assert await volumes.refresh(pod) == []
        first = files(api, wanting)
        (request,) = api.requests_to("POST", "/serviceaccounts/default/token")
        assert request.body["spec"] == {
            "audiences": [],
            "expirationSeconds": 600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": pod["metadata"]["uid"]},
        }
        seconds = volumes.seconds_to_renewal("default/web-0")
        assert seconds is not None
        assert 470 < seconds <= 480
        clock.now += timedelta(seconds=470)
        assert volumes.is_current("default/web-0")
        clock.now += timedelta(seconds=10)
        assert not volumes.is_current("default/web-0")
        with api.failing(500, method="POST", path="/token"):
            assert await volumes.refresh(pod) == []
        assert files(api, wanting) == first  # the old token is still valid
        assert volumes.is_current("default/web-0")
        clock.now += timedelta(seconds=10)
        await volumes.refresh(pod)
        assert files(api, wanting) != first
        volumes.keep("default/web-0", None)
        assert volumes.seconds_to_renewal("default/web-0") is None
    await provider.close()


async def test_a_long_token_is_renewed_after_a_day(api: ApiServer, client: Client, info: NodeInfo) -> None:
    pod = api.store.create("pods", projected(TOKEN))
    clock = Clock()
    dependencies = dependencies_of(client, info, clock=clock)
    token = await request_token(pod, TokenSpec("vault", 30 * 86400), dependencies)
    assert timedelta(hours=24, seconds=-10) < token.renew_at - clock.now <= timedelta(hours=24)


async def test_pods_share_the_read_of_an_object(
    api: ApiServer, wanting: StubProvider, controlling: Controlling
) -> None:
    api.store.create("configmaps", CONFIG)
    for number in range(20):
        pod = mounting(f"web-{number}", configMap={"name": "config"})
        pod["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "config"}}]
        api.store.create("pods", pod)
    async with controlling(wanting):
        await api.until(lambda: all(phase(api, f"web-{number}") == "Running" for number in range(20)))
        assert len(api.requests_to("GET", "/configmaps")) == 2  # a list and a watch
        api.store.update("configmaps", {**CONFIG, "data": {"b": "2"}})
        await wanting.until(lambda: all(files(api, wanting, f"web-{n}") == {"b": b"2"} for n in range(20)))
        assert len(api.requests_to("GET", "/configmaps")) == 2


async def test_trust_bundles_are_watched_as_a_whole(
    api: ApiServer, wanting: StubProvider, controlling: Controlling, authority: Any
) -> None:
    api.has_trust_bundles = True
    api.store.create("pods", projected({"clusterTrustBundle": {"name": "mine", "path": "ca.pem"}}))
    async with controlling(wanting):
        (event,) = await api.until(lambda: events(api, "FailedMount"))
        assert event["message"].endswith('clustertrustbundle.certificates.k8s.io "mine" not found')
        api.store.create(
            "clustertrustbundles", {"metadata": {"name": "mine"}, "spec": {"trustBundle": authority.pem}}
        )
        await api.until(lambda: phase(api) == "Running")
    assert files(api, wanting)["ca.pem"].startswith(b"-----BEGIN CERTIFICATE-----")
