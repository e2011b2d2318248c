"""Claims that are missing, or not ready for use."""

from typing import Any

import pytest

from broker.kubernetes.client import Client
from broker.pods.volumes.claims import ClaimChecker
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, Object, bound, phase, status
from tests.pods import a_container, a_pod
from tests.stub_provider import StubProvider

ATTACH = (
    "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], "
    "failed to process volumes=[v]: "
)
CLAIM = f"{ATTACH}error processing PVC default/disk: "


def mounting(**source: Any) -> Object:
    """A pod that mounts a volume."""
    container = a_container(volumeMounts=[{"name": "v", "mountPath": "/v"}])
    return a_pod("web-0", uid="uid-1", containers=[container], volumes=[{"name": "v", **source}])


@pytest.fixture
def checker(client: Client) -> ClaimChecker:
    return ClaimChecker(client)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            {"persistentVolumeClaim": {"claimName": "disk"}},
            f'{CLAIM}failed to fetch PVC from API server: persistentvolumeclaims "disk" not found',
            id="claim",
        ),
        pytest.param(
            {"ephemeral": {"volumeClaimTemplate": {}}},
            f"{ATTACH}error processing PVC default/web-0-v: "
            'failed to fetch PVC from API server: persistentvolumeclaims "web-0-v" not found',
            id="ephemeral claim",
        ),
    ],
)
async def test_a_missing_claim_prevents_the_mount(checker: ClaimChecker, source: Object, expected: str) -> None:
    assert await checker.problems(mounting(**source)) == [expected]


async def test_a_claim_that_is_not_mounted_is_ignored(checker: ClaimChecker) -> None:
    pod = a_pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}])
    assert await checker.problems(pod) == []


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        pytest.param({"status": {"phase": "Pending"}}, "PVC is not bound", id="not bound"),
        pytest.param({"status": {"phase": "Bound"}}, "PVC has empty pvc.Spec.VolumeName", id="no volume"),
        pytest.param({"status": {"phase": "Bound"}, "spec": {"volumeName": "pv"}}, "", id="bound"),
    ],
)
async def test_a_claim_must_be_bound(api: ApiServer, checker: ClaimChecker, claim: Object, expected: str) -> None:
    api.store.create("persistentvolumeclaims", {"metadata": {"name": "disk"}, **claim})
    problems = await checker.problems(mounting(persistentVolumeClaim={"claimName": "disk"}))
    assert problems == ([f"{CLAIM}{expected}"] if expected else [])


@pytest.mark.parametrize("owner", ["uid-1", "uid-2"])
async def test_an_ephemeral_claim_belongs_to_the_pod(api: ApiServer, checker: ClaimChecker, owner: str) -> None:
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


async def test_a_forbidden_claim_counts_as_usable(
    api: ApiServer, checker: ClaimChecker, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = mounting(persistentVolumeClaim={"claimName": "disk"})
    with api.failing(403, reason="Forbidden", method="GET"):
        assert await checker.problems(pod) == []
        assert await checker.problems(pod) == []
    assert capsys.readouterr().out.count("volumes are not checked") == 1


async def test_an_unanswered_read_prevents_the_mount(api: ApiServer, checker: ClaimChecker) -> None:
    with api.failing(500, method="GET"):
        problems = await checker.problems(mounting(persistentVolumeClaim={"claimName": "disk"}))
    assert problems == [
        f'{CLAIM}failed to fetch PVC from API server: persistentvolumeclaims "disk" cannot be read: InternalError'
    ]


async def test_a_pod_without_claim_exceeds_its_deadline(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    pod = mounting(persistentVolumeClaim={"claimName": "disk"})["spec"]
    api.store.create("pods", bound(containers=pod["containers"], volumes=pod["volumes"], activeDeadlineSeconds=1))
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Failed")
    assert status(api)["reason"] == "DeadlineExceeded"
    assert not stub.requests_to("/createPod")
