"""Writing pods: `/createPod`, `/updatePod`, `/deletePod`."""

import copy
from typing import Any

from conformance.check import at, code, expect, recommended, required, success
from conformance.pods import created, entries, entry, is_gone, started, status
from conformance.provider import Provider, let_a_second_pass
from conformance.wire import Answer


@required
def a_create_is_answered_with_an_empty_body(provider: Provider) -> None:
    """`POST /createPod` answers 2xx with an empty body, `Content-Length: 0`.

    The original broker never closes the bodies of write replies: with any body it leaks one connection a call.
    """
    pod = provider.pod()
    for _ in range(2):  # the second changes nothing
        _expect_nothing(provider.create(pod))


@required
def an_update_is_answered_with_an_empty_body(provider: Provider) -> None:
    """`PUT /updatePod` answers 2xx with an empty body, `Content-Length: 0`.

    The original broker sends updates for every pod, again and again, as PUT. A refusal is a warning on the pod at
    each of them; with any body one connection a call is leaked.
    """
    pod = _with_image(created(provider, provider.pod()))
    for _ in range(2):  # the second changes nothing
        _expect_nothing(provider.update(pod))


@required
def a_delete_is_answered_with_an_empty_body(provider: Provider) -> None:
    """`DELETE /deletePod` answers 2xx with an empty body, `Content-Length: 0`.

    The original broker never closes the bodies of write replies: with any body it leaks one connection a call.
    """
    _expect_nothing(provider.delete(created(provider, provider.pod())))


@required
def a_pod_of_the_original_broker_is_taken(provider: Provider) -> None:
    """A pod may have neither `kind` nor `apiVersion`, a null `creationTimestamp` and `status: {}`.

    Go writes pods like that: refused, a pod never starts.
    """
    pod = {**provider.pod(metadata={"creationTimestamp": None}), "status": {}}
    success(provider.create(pod))
    entry(provider, pod)


@recommended
def a_pod_without_a_status_is_taken(provider: Provider) -> None:
    """A pod may have no `status` at all.

    A pod that somebody has written by hand, or another client sends, has none.
    """
    pod = provider.pod()
    del pod["status"]
    success(provider.create(pod))


@required
def the_same_pod_created_twice_is_one_pod(provider: Provider) -> None:
    """`/createPod` with the same UID again succeeds and changes nothing.

    After a dropped connection the original broker does not know that the provider has the pod, and sends it again.
    """
    pod = created(provider, provider.pod())
    success(provider.create(pod))
    entry(provider, pod)


@required
def another_uid_under_the_same_name_replaces_the_pod(provider: Provider) -> None:
    """`/createPod` with another UID under the same name replaces the pod.

    It is a new pod to Kubernetes, such as the next one of a StatefulSet: with both there, or the old one, the
    status told is another pod's.
    """
    created(provider, provider.pod())
    new = created(provider, provider.pod())
    read = entry(provider, new)
    expect(at(read, "metadata.uid", str) == new["metadata"]["uid"], "the old one is still there")


@required
def an_update_is_read_back(provider: Provider) -> None:
    """What `PUT /updatePod` changes is what is read afterwards.

    Labels, annotations and images change while pods run.
    """
    pod = _with_image(created(provider, provider.pod()))
    pod["metadata"]["labels"] = {"app": "shop"}
    success(provider.update(pod))
    read = entry(provider, pod)
    expect(at(read, "metadata.labels", dict) == {"app": "shop"}, "the label is the old one")
    images = [at(container, "image", str) for container in at(read, "spec.containers", list)]
    expect(images == ["busybox:1.38"], "the image is the old one")


@required
def an_update_of_the_same_pod_in_another_order_changes_nothing(provider: Provider) -> None:
    """An update that differs in the order of `env` alone succeeds, and leaves the status as it is.

    The original broker resolves the environment from an unordered map: it sends the same pod in another order
    again and again, hundreds of times in a minute or two. Taken for changes, they restart what runs.
    """
    pod = created(provider, provider.pod())
    before = started(provider, pod)
    let_a_second_pass()
    again = copy.deepcopy(pod)
    again["spec"]["containers"][0]["env"].reverse()
    success(provider.update(again))
    entry(provider, pod)
    after = status(provider, pod)
    changed = sorted(field for field in before.keys() | after.keys() if before.get(field) != after.get(field))
    expect(not changed, f"{', '.join(changed)} of the status is another than before")


@required
def a_status_in_a_request_is_not_believed(provider: Provider) -> None:
    """The provider owns the status: `status` in the body of a create or update is ignored.

    What the original broker sends is what it believed before. Taken over, a pod that has ended runs for ever, or a
    running one is reported as failed.
    """
    lies: dict[str, Any] = {
        "phase": "Failed",
        "reason": "Evicted",
        "podIP": "203.0.113.7",
        "startTime": "2001-01-01T00:00:00Z",
        "conditions": [{"type": "Ready", "status": "False"}],
    }
    pod = {**provider.pod(), "status": lies}
    success(provider.create(pod))
    _expect_none_of(lies, status(provider, pod), "create")
    success(provider.update({**_with_image(pod), "status": lies}))
    _expect_none_of(lies, status(provider, pod), "update")


@required
def a_delete_takes_the_pod_in_its_body_and_no_other(provider: Provider) -> None:
    """`DELETE /deletePod` has the pod in its body; that pod is gone afterwards, and no other.

    A pod that stays keeps running and is told of; Kubernetes has forgotten it.
    """
    gone, kept = (created(provider, provider.pod(name)) for name in ("gone", "kept"))
    success(provider.delete(entry(provider, gone)))
    expect(is_gone(provider, gone), "it is still listed")
    answer = provider.get("/getPodStatus", namespace=provider.namespace, name="gone")
    code(answer, 404)
    expect(entries(provider, kept), "another pod of the namespace is gone too")


@recommended
def a_delete_of_an_unknown_pod_is_404(provider: Provider) -> None:
    """`/deletePod` of an unknown pod answers 404.

    Who deletes can tell "it is gone" from "it was never here", and a misspelt name from a success.
    """
    code(provider.delete(provider.pod("nobody")), 404)


@recommended
def a_delete_of_another_uid_leaves_the_pod_alone(provider: Provider) -> None:
    """`/deletePod` of a pod with another UID than the one that is here answers 404 and does nothing.

    A delete that comes late must not take the new pod of the same name.
    """
    late, pod = provider.pod(), created(provider, provider.pod())
    answer = provider.delete(late)
    expect(entries(provider, pod), "the pod is gone", answer)
    code(answer, 404)


@recommended
def an_update_of_an_unknown_pod_is_404(provider: Provider) -> None:
    """`/updatePod` of an unknown pod answers 404, and creates none.

    A provider that has lost a pod says so, and the pod is created again.
    """
    pod = provider.pod("nobody")
    answer = provider.update(pod)
    expect(not entries(provider, pod), "the pod is there afterwards", answer)
    code(answer, 404)


def _expect_nothing(answer: Answer) -> None:
    success(answer)
    expect(not answer.body, f"the body has {len(answer.body)} bytes", answer)
    is_empty = answer.code == 204 or answer.header("Content-Length") == "0"
    expect(is_empty, "there is no Content-Length: 0, which says that there is no body", answer)


def _expect_none_of(lies: dict[str, Any], told: dict[str, Any], write: str) -> None:
    believed = [field for field, lie in lies.items() if told.get(field) == lie]
    expect(not believed, f"{', '.join(believed)} of the {write} is in the status")


def _with_image(pod: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(pod)
    changed["spec"]["containers"][0]["image"] = "busybox:1.38"
    return changed
