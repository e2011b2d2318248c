"""The extension `gracefulDelete`: a pod is reported until its containers have ended."""

from typing import Any

from conformance.check import at, code, document, expect, extension, success
from conformance.checks.extensions import require
from conformance.client import PodJSON, ProviderClient, named, wait_until
from conformance.pods import created, entries, is_deleted, started

_LINGERS_SECONDS = 3
_FOREVER_SECONDS = 600


@extension
def deleted_pod_is_reported_until_its_end(provider: ProviderClient) -> None:
    """After `/deletePod`, a pod whose container still runs is reported as running; it is gone when that has ended.

    Kubernetes shows the pod as Terminating for that long. If the provider reports it as gone, the broker removes
    it, although its process still writes to its volumes and holds its ports.
    """
    pod = _ending(provider)
    found = code(provider.get("/getPodStatus", **named(pod)), 200)
    expect(_runs(document(found, dict)), "no container of the deleted pod is running")
    expect(entries(provider, pod), "/getPods does not list the deleted pod")
    expect(is_deleted(provider, pod), "/getPods still lists the pod after its container has ended")
    code(provider.get("/getPodStatus", **named(pod)), 404)


@extension
def deleted_entry_has_the_last_status(provider: ProviderClient) -> None:
    """An entry of `deleted` in `/podStatuses` has the last `status`, with the exit code of every container.

    The broker writes it to Kubernetes before it removes the pod; Jobs decide by the exit code.
    """
    require(provider, "gracefulDelete", "podStatuses")
    pod = created(provider, provider.pod())
    started(provider, pod)
    seen = at(document(provider.get("/podStatuses", since=0), dict), "revision", int)
    success(provider.delete(pod))
    expect(is_deleted(provider, pod), "/getPods still lists the pod")
    answer = provider.get("/podStatuses", since=seen)
    uids = {entry["uid"]: entry for entry in at(document(answer, dict), "deleted", list)}
    last = at(uids.get(pod["metadata"]["uid"]), "status", dict, answer)
    for container in at(last, "containerStatuses", list, answer):
        at(container, "state.terminated.exitCode", int, answer)


@extension
def repeated_delete_succeeds(provider: ProviderClient) -> None:
    """`/deletePod` of a pod that is being deleted returns 2xx.

    The broker repeats a request whose response it did not receive.
    """
    pod = _ending(provider)
    success(provider.delete(pod))


@extension
def later_delete_shortens_the_grace_period(provider: ProviderClient) -> None:
    """`/deletePod` with a smaller `metadata.deletionGracePeriodSeconds` ends a pod sooner.

    `kubectl delete --grace-period=0 --force` has no effect otherwise.
    """
    pod = _ending(provider, seconds=_FOREVER_SECONDS)
    pod["metadata"]["deletionGracePeriodSeconds"] = 0
    success(provider.delete(pod))
    expect(is_deleted(provider, pod), "/getPods still lists the pod")


@extension
def another_uid_starts_after_the_end(provider: ProviderClient) -> None:
    """A pod with the name of a pod that is being deleted is accepted, and starts when that has ended.

    A StatefulSet relies on at most one running pod of a name. `/getPod` returns the new pod, `/getPods` both.
    """
    old = _ending(provider)
    new = created(provider, provider.pod())
    read = document(provider.get("/getPod", **named(new)), dict)
    expect(at(read, "metadata.uid", str) == new["metadata"]["uid"], "/getPod returns the old pod")
    found = {at(entry, "metadata.uid", str): entry for entry in entries(provider, new)}
    if old["metadata"]["uid"] in found:
        expect(new["metadata"]["uid"] in found, "/getPods does not list the new pod")
        waiting = at(found[new["metadata"]["uid"]], "status", dict)
        expect(not _runs(waiting), "the new pod runs before the old one has ended")

    def has_replaced() -> bool:
        return [at(entry, "metadata.uid", str) for entry in entries(provider, new)] == [new["metadata"]["uid"]]

    expect(wait_until(has_replaced), "/getPods still lists the old pod")
    started(provider, new)


@extension
def create_does_not_cancel_a_deletion(provider: ProviderClient) -> None:
    """`/createPod` with the UID of a pod that is being deleted returns 2xx, and the pod is gone as before.

    Kubernetes cancels no deletion. A delayed request must not make the pod run again.
    """
    pod = _ending(provider)
    success(provider.create(pod))
    expect(is_deleted(provider, pod), "/getPods still lists the pod")


def _ending(provider: ProviderClient, *, seconds: int = _LINGERS_SECONDS) -> PodJSON:
    """Create a pod whose container ends some seconds after SIGTERM, and delete it."""
    require(provider, "gracefulDelete")
    command = f"trap 'sleep {seconds}; exit 3' TERM; while :; do sleep 0.1; done"
    pod = provider.pod(
        metadata={"annotations": {"synthetic.virtual-kubelet.io/stop-after": f"{seconds}s"}},
        container={"command": ["sh", "-c", command]},
        terminationGracePeriodSeconds=_FOREVER_SECONDS,
    )
    started(provider, created(provider, pod))
    success(provider.delete(pod))
    return pod


def _runs(status: dict[str, Any]) -> bool:
    return any("running" in (container.get("state") or {}) for container in at(status, "containerStatuses", list))
