"""Volumes whose objects are missing."""

from typing import Any

import pytest

from broker.kubernetes.client import Client
from broker.pods.volumes import VolumeChecker
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, Object, bound, container_status, events, phase
from tests.pods import a_container, a_pod
from tests.stub_provider import StubProvider

SETUP = 'MountVolume.SetUp failed for volume "v" : '
ATTACH = (
    "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], "
    "failed to process volumes=[v]: "
)
CLAIM = f"{ATTACH}error processing PVC default/disk: "
ITEMS = [{"key": "k", "path": "k"}]


def mounting(**source: Any) -> Object:
    """A pod that mounts a volume."""
    container = a_container(volumeMounts=[{"name": "v", "mountPath": "/v"}])
    return a_pod("web-0", uid="uid-1", containers=[container], volumes=[{"name": "v", **source}])


def projected(*sources: Object) -> Object:
    return mounting(projected={"sources": list(sources)})


@pytest.fixture
def checker(client: Client) -> VolumeChecker:
    return VolumeChecker(client)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(mounting(configMap={"name": "none"}), f'{SETUP}configmap "none" not found', id="ConfigMap"),
        pytest.param(mounting(secret={"secretName": "none"}), f'{SETUP}secret "none" not found', id="Secret"),
        pytest.param(
            mounting(configMap={"name": "config", "items": ITEMS}),
            f"{SETUP}configmap references non-existent config key: k",
            id="key of a ConfigMap",
        ),
        pytest.param(
            mounting(secret={"secretName": "password", "items": ITEMS}),
            f"{SETUP}references non-existent secret key: k",
            id="key of a Secret",
        ),
        pytest.param(
            projected({"secret": {"name": "none"}}), f'{SETUP}secret "none" not found', id="projected Secret"
        ),
        pytest.param(
            projected({"configMap": {"name": "none"}}, {"secret": {"name": "password", "items": ITEMS}}),
            f'{SETUP}[configmap "none" not found, references non-existent secret key: k]',
            id="several projected sources",
        ),
        pytest.param(
            mounting(persistentVolumeClaim={"claimName": "disk"}),
            f'{CLAIM}failed to fetch PVC from API server: persistentvolumeclaims "disk" not found',
            id="claim",
        ),
        pytest.param(
            mounting(ephemeral={"volumeClaimTemplate": {}}),
            f"{ATTACH}error processing PVC default/web-0-v: "
            'failed to fetch PVC from API server: persistentvolumeclaims "web-0-v" not found',
            id="ephemeral claim",
        ),
    ],
)
async def test_a_missing_object_prevents_the_mount(
    api: ApiServer, checker: VolumeChecker, pod: Object, expected: str
) -> None:
    api.store.create("configmaps", {"metadata": {"name": "config"}, "data": {"a": "1"}})
    api.store.create("secrets", {"metadata": {"name": "password"}, "data": {"a": "MQ=="}})
    assert await checker.problems(pod) == [expected]


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(mounting(configMap={"name": "none", "optional": True}), id="optional ConfigMap"),
        pytest.param(
            mounting(secret={"secretName": "none", "optional": True, "items": ITEMS}), id="optional Secret"
        ),
        pytest.param(
            mounting(configMap={"name": "config", "optional": True, "items": ITEMS}), id="key of an optional one"
        ),
        pytest.param(projected({"secret": {"name": "none", "optional": True}}), id="optional source"),
        pytest.param(
            mounting(configMap={"name": "config", "items": [{"key": "b", "path": "b"}]}), id="binary key"
        ),
        pytest.param(mounting(emptyDir={}), id="emptyDir"),
        pytest.param(projected({"serviceAccountToken": {"path": "token"}}, {"downwardAPI": {}}), id="token"),
        pytest.param(
            a_pod(volumes=[{"name": "v", "secret": {"secretName": "none"}}]), id="a volume that is not mounted"
        ),
    ],
)
async def test_other_volumes_can_be_mounted(api: ApiServer, checker: VolumeChecker, pod: Object) -> None:
    api.store.create("configmaps", {"metadata": {"name": "config"}, "binaryData": {"b": "MQ=="}})
    assert await checker.problems(pod) == []


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        pytest.param({"status": {"phase": "Pending"}}, "PVC is not bound", id="not bound"),
        pytest.param({"status": {"phase": "Bound"}}, "PVC has empty pvc.Spec.VolumeName", id="no volume"),
        pytest.param({"status": {"phase": "Bound"}, "spec": {"volumeName": "pv"}}, "", id="bound"),
    ],
)
async def test_a_claim_must_be_bound(api: ApiServer, checker: VolumeChecker, claim: Object, expected: str) -> None:
    api.store.create("persistentvolumeclaims", {"metadata": {"name": "disk"}, **claim})
    problems = await checker.problems(mounting(persistentVolumeClaim={"claimName": "disk"}))
    assert problems == ([f"{CLAIM}{expected}"] if expected else [])


@pytest.mark.parametrize("owner", ["uid-1", "uid-2"])
async def test_an_ephemeral_claim_belongs_to_the_pod(api: ApiServer, checker: VolumeChecker, owner: str) -> None:
    references = [{"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": owner, "controller": True}]
    api.store.create(
        "persistentvolumeclaims",
        {
            "metadata": {"name": "web-0-v", "ownerReferences": references},
            "spec": {"volumeName": "pv"},
            "status": {"phase": "Bound"},
        },
    )
    problem = f"{ATTACH}PVC default/web-0-v was not created for pod default/web-0 (pod is not owner)"
    found = await checker.problems(mounting(ephemeral={"volumeClaimTemplate": {}}))
    assert found == ([] if owner == "uid-1" else [problem])


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(mounting(persistentVolumeClaim={"claimName": "disk"}), id="claim"),
        pytest.param(mounting(secret={"secretName": "none"}), id="Secret"),
    ],
)
async def test_an_object_that_may_not_be_read_counts_as_present(
    api: ApiServer, checker: VolumeChecker, pod: Object, capsys: pytest.CaptureFixture[str]
) -> None:
    with api.failing(403, reason="Forbidden", method="GET"):
        assert await checker.problems(pod) == []
        assert await checker.problems(pod) == []
    assert capsys.readouterr().out.count("volumes are not checked") == 1


async def test_an_unanswered_read_prevents_the_mount(api: ApiServer, checker: VolumeChecker) -> None:
    with api.failing(500, method="GET"):
        problems = await checker.problems(mounting(configMap={"name": "config", "optional": True}))
    assert problems == [f'{SETUP}configmap "config" cannot be read: InternalError']


async def test_the_root_certificate_is_read_once_a_minute(api: ApiServer, checker: VolumeChecker) -> None:
    pod = projected({"configMap": {"name": "kube-root-ca.crt"}})
    assert await checker.problems(pod)
    api.store.create("configmaps", {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "x"}})
    assert await checker.problems(pod) == []
    reads = len(api.requests_to("GET", "/configmaps/"))
    assert await checker.problems(pod) == []
    assert len(api.requests_to("GET", "/configmaps/")) == reads


async def test_a_pod_waits_for_its_volumes(api: ApiServer, stub: StubProvider, controlling: Controlling) -> None:
    pod = mounting(secret={"secretName": "password"})["spec"]
    api.store.create("pods", bound(containers=pod["containers"], volumes=pod["volumes"]))
    async with controlling(stub):
        await api.until(
            lambda: container_status(api, "web").get("state") == {"waiting": {"reason": "ContainerCreating"}}
        )
        (event,) = await api.until(lambda: events(api, "FailedMount"))
        assert (event["type"], event["message"]) == ("Warning", f'{SETUP}secret "password" not found')
        assert api.store.get("pods", "web-0", "default")["status"]["startTime"]
        assert not stub.requests_to("/createPod")
        api.store.create("secrets", {"metadata": {"name": "password"}})
        await api.until(lambda: phase(api) == "Running")
        api.store.delete("secrets", "password", "default")  # a mounted volume stays
        updated = api.store.get("pods", "web-0", "default")
        updated["metadata"]["labels"] = {"new": "1"}
        api.store.update("pods", updated)
        await stub.until(lambda: stub.requests_to("/updatePod"))


async def test_a_pod_without_volumes_exceeds_its_deadline(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    pod = mounting(persistentVolumeClaim={"claimName": "disk"})["spec"]
    api.store.create("pods", bound(containers=pod["containers"], volumes=pod["volumes"], activeDeadlineSeconds=1))
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Failed")
    assert api.store.get("pods", "web-0", "default")["status"]["reason"] == "DeadlineExceeded"
    assert not stub.requests_to("/createPod")
