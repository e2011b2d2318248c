"""Reading pods: `/getPod`, `/getPodStatus`, `/getPods`."""

import json
from typing import Any

from conformance.check import NotOffered, at, code, document, expect, recommended, required
from conformance.pods import created, entries, entry, status
from conformance.provider import Provider, named, patiently

_PODS, _FILLING = 18, 60_000  # together more than the 1,000,000 bytes that the original broker reads


@required
def an_unknown_pod_is_404_not_found(provider: Provider) -> None:
    """`GET /getPod` of an unknown pod has the status line `HTTP/1.1 404 Not Found`, to the letter.

    The original broker compares the text of the status. With any other, `404 NOT FOUND` included, an empty body or
    a 204, it takes the pod for one that exists: it sends `PUT /updatePod` and will never create the pod.
    """
    answer = provider.get("/getPod", namespace=provider.namespace, name="nobody")
    expect(answer.status == "404 Not Found", f"the status is {answer.status!r}")


@required
def the_status_of_an_unknown_pod_is_404_not_found(provider: Provider) -> None:
    """`GET /getPodStatus` of an unknown pod has the status line `HTTP/1.1 404 Not Found`, to the letter.

    The original broker compares the text. Any other is an error to it that it repeats, and a pod that the provider
    has lost is never marked as lost.
    """
    answer = provider.get("/getPodStatus", namespace=provider.namespace, name="nobody")
    expect(answer.status == "404 Not Found", f"the status is {answer.status!r}")


@required
def get_pod_gives_the_pod(provider: Provider) -> None:
    """`GET /getPod` answers the pod as it was sent, with the provider's status.

    The original broker asks it before every create and delete. The body of the DELETE is what it answers, and
    without it the pod is created again at each sync.
    """
    pod = created(provider, provider.pod())
    read = document(provider.get("/getPod", **named(pod)), dict)
    expect(_is_in(pod["metadata"], read.get("metadata")), "its metadata is not what was sent")
    expect(_is_in(pod["spec"], read.get("spec")), "its spec is not what was sent")
    at(read, "status.phase", str)


@required
def get_pod_status_gives_the_status(provider: Provider) -> None:
    """`GET /getPodStatus` answers the pod's status, a JSON object with a phase of Kubernetes.

    It is what the original broker writes to Kubernetes, every few seconds, for every pod.
    """
    pod = created(provider, provider.pod())
    phase = at(status(provider, pod), "phase", str)
    phases = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
    expect(phase in phases, f"the phase {phase!r} is none of {', '.join(phases)}")


@required
def get_pods_lists_the_pod(provider: Provider) -> None:
    """`GET /getPods` answers a JSON array with every pod and its status.

    At its start the original broker deletes what is listed and Kubernetes does not know; pages of people poll it.
    """
    pod = created(provider, provider.pod())
    read = entry(provider, pod)
    expect(at(read, "metadata.uid", str) == pod["metadata"]["uid"], "its metadata.uid is not what was sent")
    at(read, "status.phase", str)


@recommended
def the_status_is_the_same_wherever_it_is_read(provider: Provider) -> None:
    """`/getPod`, `/getPodStatus` and `/getPods` tell one status of a pod.

    Who polls the list and who asks for the pod act on different states otherwise.
    """
    pod = created(provider, provider.pod())

    def are_one() -> bool:
        one = document(provider.get("/getPod", **named(pod)), dict).get("status")
        return one == status(provider, pod) == entry(provider, pod).get("status")

    expect(patiently(are_one), "they differ, however often they are read")


@required
def the_same_name_in_two_namespaces_is_two_pods(provider: Provider) -> None:
    """A pod is found by namespace and name, both.

    A provider that goes by the name alone gives one team's pod to another, and deletes it with theirs.
    """
    one, other = (created(provider, provider.pod(namespace=f"{provider.namespace}-{name}")) for name in ("a", "b"))
    _expect_both(provider, one, other)


@required
def names_that_read_alike_when_joined_are_two_pods(provider: Provider) -> None:
    """Pod `b-c` of namespace `a` is not pod `c` of namespace `a-b`.

    Both are usual names. A provider that joins them with a hyphen loses one of the two.
    """
    one = created(provider, provider.pod("b-c"))
    other = created(provider, provider.pod("c", namespace=f"{provider.namespace}-b"))
    _expect_both(provider, one, other)


@required
def a_long_list_is_whole(provider: Provider) -> None:
    """`/getPods` is never cut, however long it is.

    The original broker reads 1,000,000 bytes and fails on what is longer; every other client needs all of it.
    """
    filling = {"annotations": {"filling": "x" * _FILLING}}
    pods = [created(provider, provider.pod(f"web-{n}", metadata=filling)) for n in range(_PODS)]
    listed = json.dumps(document(provider.get("/getPods"), list))
    missing = [pod for pod in pods if pod["metadata"]["uid"] not in listed]
    expect(not missing, f"{len(missing)} of {_PODS} pods that were created are not listed")


@recommended
def managed_fields_are_left_out(provider: Provider) -> None:
    """`metadata.managedFields`, which no reader needs, is not given back.

    It is often the longest part of a pod: with it, `/getPods` comes sooner to the 1,000,000 bytes that the
    original broker reads.
    """
    managed = [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": {}}}}]
    pod = created(provider, provider.pod(metadata={"managedFields": managed}))
    expect("managedFields" not in entry(provider, pod)["metadata"], "it is there")


@recommended
def fields_of_tomorrow_pass_through(provider: Provider) -> None:
    """Fields that the provider does not know are given back.

    A newer Kubernetes sends new ones. Dropped, they are missing from the pod that is deleted or compared.
    """
    pod = created(provider, provider.pod(aFieldOfTomorrow={"nested": [1, None, "text"]}))
    expect("aFieldOfTomorrow" in json.dumps(entry(provider, pod)), "one that was sent is not in /getPods")


@recommended
def a_query_is_form_encoded(provider: Provider) -> None:
    """In a query, `+` is a space and `%2B` a plus.

    The original broker writes queries like that; a provider that takes them literally does not find the pod.
    """
    pod = provider.pod("a pod +&")
    answer = provider.create(pod)
    if not answer.is_success:
        raise NotOffered(f"such a name, which Kubernetes does not have, is refused with {answer.status}")
    for spelling in ("a+pod+%2B%26", "a%20pod%20%2B%26"):
        code(provider.request("GET", f"/getPodStatus?namespace={provider.namespace}&name={spelling}"), 200)


def _expect_both(provider: Provider, one: dict[str, Any], other: dict[str, Any]) -> None:
    for pod in (one, other):
        uids = [at(found, "metadata.uid", str) for found in entries(provider, pod)]
        where = f"{pod['metadata']['name']} of namespace {pod['metadata']['namespace']}"
        expect(uids == [pod["metadata"]["uid"]], f"/getPods has {len(uids)} of {where}, or another's UID")
    provider.delete(one)
    expect(entries(provider, other), "deleting one has deleted the other")


def _is_in(sent: Any, read: Any) -> bool:
    """Say whether everything that was sent is there, whatever else is; null and nothing are the same."""
    if isinstance(sent, dict):
        return isinstance(read, dict | None) and all(_is_in(v, (read or {}).get(k)) for k, v in sent.items())
    if isinstance(sent, list):
        return len(sent) == len(read or ()) and all(map(_is_in, sent, read or ()))
    return bool(sent == read or (not sent and not read))
