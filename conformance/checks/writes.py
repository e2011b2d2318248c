"""Writing pods: `/createPod`, `/updatePod`, `/deletePod`."""

import copy
from typing import Any

from conformance.check import at, code, expect, recommended, required, success
from conformance.client import ProviderClient, wait_a_second, wait_until
from conformance.pods import created, entries, entry, is_deleted, started, status
from conformance.wire import Answer


@required
def create_returns_an_empty_body(provider: ProviderClient) -> None:
    """`POST /createPod` returns 2xx with an empty body and `Content-Length: 0`.

    The original broker never closes the bodies of write responses: any body leaks one connection per call.
    """
    pod = provider.pod()
    for _ in range(2):  # the second request changes nothing
        _expect_empty(provider.create(pod))


@required
def update_returns_an_empty_body(provider: ProviderClient) -> None:
    """`PUT /updatePod` returns 2xx with an empty body and `Content-Length: 0`.

    The original broker repeatedly sends updates of every pod, by PUT. Each rejected update adds a warning event to
    the pod; any body leaks one connection per call.
    """
    pod = _with_image(created(provider, provider.pod()))
    for _ in range(2):  # the second request changes nothing
        _expect_empty(provider.update(pod))


@required
def delete_returns_an_empty_body(provider: ProviderClient) -> None:
    """`DELETE /deletePod` returns 2xx with an empty body and `Content-Length: 0`.

    The original broker never closes the bodies of write responses: any body leaks one connection per call.
    """
    _expect_empty(provider.delete(created(provider, provider.pod())))


@required
def pod_from_the_original_broker_is_accepted(provider: ProviderClient) -> None:
    """A pod without `kind` and `apiVersion`, with a null `creationTimestamp` and `status: {}`, is accepted.

    Go serializes pods in this form: if it is rejected, no pod starts.
    """
    pod = {**provider.pod(metadata={"creationTimestamp": None}), "status": {}}
    success(provider.create(pod))
    entry(provider, pod)


@recommended
def pod_without_a_status_is_accepted(provider: ProviderClient) -> None:
    """A pod without `status` is accepted.

    Pods that are written by hand, or sent by other clients, have none.
    """
    pod = provider.pod()
    del pod["status"]
    success(provider.create(pod))


@required
def repeated_create_is_idempotent(provider: ProviderClient) -> None:
    """`/createPod` with the same UID again succeeds and changes nothing.

    After a dropped connection the original broker does not know whether the provider has the pod, and sends it
    again.
    """
    pod = created(provider, provider.pod())
    success(provider.create(pod))
    entry(provider, pod)


@required
def create_with_another_uid_replaces_the_pod(provider: ProviderClient) -> None:
    """`/createPod` with another UID under the same name replaces the pod.

    For Kubernetes it is a new pod, such as the next replica of a StatefulSet. If the provider keeps both, or only
    the old one, it reports the status of a different pod.
    """
    created(provider, provider.pod())
    new = created(provider, provider.pod())
    wait_until(lambda: len(entries(provider, new)) == 1)  # gracefulDelete: the old pod is listed until its end
    read = entry(provider, new)
    expect(at(read, "metadata.uid", str) == new["metadata"]["uid"], "/getPods still returns the old pod")


@required
def update_is_read_back(provider: ProviderClient) -> None:
    """The changes of `PUT /updatePod` are returned by later reads.

    Labels, annotations and images change while pods run.
    """
    pod = _with_image(created(provider, provider.pod()))
    pod["metadata"]["labels"] = {"app": "shop"}
    success(provider.update(pod))
    read = entry(provider, pod)
    expect(at(read, "metadata.labels", dict) == {"app": "shop"}, "the label has not changed")
    images = [at(container, "image", str) for container in at(read, "spec.containers", list)]
    expect(images == ["busybox:1.38"], "the image has not changed")


@required
def reordered_env_leaves_the_status_unchanged(provider: ProviderClient) -> None:
    """An update that differs only in the order of `env` succeeds and leaves the status unchanged.

    The original broker resolves the environment from an unordered map and sends the same pod in a different order
    hundreds of times within minutes. A provider that treats this as a change restarts running containers.
    """
    pod = created(provider, provider.pod())
    before = started(provider, pod)
    wait_a_second()
    again = copy.deepcopy(pod)
    again["spec"]["containers"][0]["env"].reverse()
    success(provider.update(again))
    entry(provider, pod)
    after = status(provider, pod)
    changed = sorted(field for field in before.keys() | after.keys() if before.get(field) != after.get(field))
    expect(not changed, f"the update changed these fields of the status: {', '.join(changed)}")


@required
def status_in_a_request_is_ignored(provider: ProviderClient) -> None:
    """The provider owns the status: `status` in the body of a create or update is ignored.

    The original broker sends the status that it last knew. If the provider stores it, a finished pod stays Running
    forever, or a running one is reported as Failed.
    """
    sent: dict[str, Any] = {
        "phase": "Failed",
        "reason": "Evicted",
        "podIP": "203.0.113.7",
        "startTime": "2001-01-01T00:00:00Z",
        "conditions": [{"type": "Ready", "status": "False"}],
    }
    pod = {**provider.pod(), "status": sent}
    success(provider.create(pod))
    _expect_ignored(sent, status(provider, pod), "create")
    success(provider.update({**_with_image(pod), "status": sent}))
    _expect_ignored(sent, status(provider, pod), "update")


@required
def delete_removes_only_the_given_pod(provider: ProviderClient) -> None:
    """`DELETE /deletePod` deletes the pod in its body, and no other pod.

    A pod that is not deleted keeps running and is still reported, although Kubernetes has removed it.
    """
    deleted, kept = (created(provider, provider.pod(name)) for name in ("deleted", "kept"))
    success(provider.delete(entry(provider, deleted)))
    expect(is_deleted(provider, deleted), "/getPods still lists the pod")
    answer = provider.get("/getPodStatus", namespace=provider.namespace, name="deleted")
    code(answer, 404)
    expect(entries(provider, kept), "the delete removed another pod of the namespace")


@recommended
def delete_of_an_unknown_pod_returns_404(provider: ProviderClient) -> None:
    """`/deletePod` of an unknown pod returns 404.

    The client can distinguish a deleted pod from one that never existed, and a misspelt name from a success.
    """
    code(provider.delete(provider.pod("unknown")), 404)


@recommended
def delete_with_another_uid_returns_404(provider: ProviderClient) -> None:
    """`/deletePod` with a UID that differs from the stored pod's returns 404 and deletes nothing.

    A delayed delete must not remove the new pod of the same name.
    """
    late, pod = provider.pod(), created(provider, provider.pod())
    answer = provider.delete(late)
    expect(entries(provider, pod), "the delete removed the pod", answer)
    code(answer, 404)


@recommended
def update_of_an_unknown_pod_returns_404(provider: ProviderClient) -> None:
    """`/updatePod` of an unknown pod returns 404 and creates no pod.

    The broker then knows that the provider has lost the pod, and creates it again.
    """
    pod = provider.pod("unknown")
    answer = provider.update(pod)
    expect(not entries(provider, pod), "the update created the pod", answer)
    code(answer, 404)


def _expect_empty(answer: Answer) -> None:
    success(answer)
    expect(not answer.body, f"the body is not empty: {len(answer.body)} bytes", answer)
    is_empty = answer.code == 204 or answer.header("Content-Length") == "0"
    expect(is_empty, "the response has no Content-Length: 0", answer)


def _expect_ignored(sent: dict[str, Any], status: dict[str, Any], write: str) -> None:
    stored = [field for field, value in sent.items() if status.get(field) == value]
    expect(not stored, f"the status contains fields of the {write}: {', '.join(stored)}")


def _with_image(pod: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(pod)
    changed["spec"]["containers"][0]["image"] = "busybox:1.38"
    return changed
