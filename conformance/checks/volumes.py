"""The extension `podVolumes`: the files of a pod's volumes."""

from typing import Any

from conformance.check import NotOffered, code, expect, extension, success
from conformance.checks.extensions import offered
from conformance.client import PodJSON, ProviderClient
from conformance.pods import entries, started, status
from conformance.wire import Answer


@extension
def volumes_are_accepted_before_the_pod(provider: ProviderClient) -> None:
    """`PUT /podVolumes` succeeds for a UID that does not exist yet, and again; then the pod is created and starts.

    The broker sends the files first, so that no container starts without them.
    """
    pod = _pod(provider)
    for _ in range(2):
        success(_put(provider, pod, [_volume()]))
    expect(not entries(provider, pod), "/getPods lists a pod that was not created")
    success(provider.create(pod))
    started(provider, pod)


@extension
def volumes_of_a_running_pod_can_change(provider: ProviderClient) -> None:
    """`PUT /podVolumes` succeeds for a pod that runs, with another file, without one, and with no volume.

    A ConfigMap changes while its pods run; their containers are not restarted.
    """
    pod = _pod(provider)
    success(_put(provider, pod, [_volume()]))
    success(provider.create(pod))
    before = started(provider, pod)["containerStatuses"]
    for volumes in ([_volume(path="other/name")], [{"name": "config", "files": []}], []):
        success(_put(provider, pod, volumes))
    after = status(provider, pod)["containerStatuses"]
    expect(before == after, "the statuses of the containers have changed")


@extension
def invalid_volumes_return_400(provider: ProviderClient) -> None:
    """A path outside of the volume, content that is not Base64, a mode over 0777 or a missing UID returns 400.

    A provider that writes such a file would write it somewhere else on its machine.
    """
    pod = _pod(provider)
    success(_put(provider, pod, [_volume()]))
    for volume in (
        _volume(path="/etc/passwd"),
        _volume(path="../../passwd"),
        _volume(path="..data/key"),
        _volume(mode=0o4755),
        _volume(data="no Base64"),
        {**_volume(), "files": _volume()["files"] * 2},
        {**_volume(), "name": "../config"},
    ):
        code(_put(provider, pod, [volume]), 400)
    code(_put(provider, pod, [_volume(), _volume()]), 400)
    del pod["metadata"]["uid"]
    code(_put(provider, pod, [_volume()]), 400)


def _pod(provider: ProviderClient) -> PodJSON:
    """Return a pod that mounts a ConfigMap."""
    mount = {"name": "config", "mountPath": "/etc/conformance"}
    volume = {"name": "config", "configMap": {"name": "app"}}
    return provider.pod(container={"volumeMounts": [mount]}, volumes=[volume])


def _volume(path: str = "key", *, mode: int = 0o644, data: str = "dmFsdWU=") -> dict[str, Any]:
    return {
        "name": "config",
        "resourceVersion": "42",
        "sources": [{"kind": "ConfigMap", "name": "app", "resourceVersion": "42"}],
        "files": [{"path": path, "mode": mode, "data": data}],
    }


def _put(provider: ProviderClient, pod: PodJSON, volumes: list[dict[str, Any]]) -> Answer:
    if "podVolumes" not in offered(provider):
        raise NotOffered("/extensions does not name podVolumes")
    metadata = {name: pod["metadata"].get(name) for name in ("namespace", "name", "uid")}
    return provider.request("PUT", "/podVolumes", {"metadata": metadata, "volumes": volumes})
