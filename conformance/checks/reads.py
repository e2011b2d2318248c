"""Reading pods: `/getPod`, `/getPodStatus`, `/getPods`."""

import json
from typing import Any

from conformance.check import NotOffered, at, code, document, expect, recommended, required
from conformance.client import ProviderClient, named, wait_until
from conformance.pods import created, entries, entry, status

_PODS, _PADDING = 18, 60_000  # in total more than the 1,000,000 bytes that the original broker reads


@required
def unknown_pod_returns_404_not_found(provider: ProviderClient) -> None:
    """`GET /getPod` of an unknown pod returns exactly the status line `HTTP/1.1 404 Not Found`.

    The original broker compares the status text. On any other response, including `404 NOT FOUND`, an empty body
    or a 204, it assumes that the pod exists: it sends `PUT /updatePod` and never creates the pod.
    """
    answer = provider.get("/getPod", namespace=provider.namespace, name="unknown")
    expect(answer.status == "404 Not Found", f"the status is {answer.status!r}")


@required
def status_of_unknown_pod_returns_404_not_found(provider: ProviderClient) -> None:
    """`GET /getPodStatus` of an unknown pod returns exactly the status line `HTTP/1.1 404 Not Found`.

    The original broker compares the status text. It retries after any other error, and never marks a pod as lost
    that the provider no longer has.
    """
    answer = provider.get("/getPodStatus", namespace=provider.namespace, name="unknown")
    expect(answer.status == "404 Not Found", f"the status is {answer.status!r}")


@required
def get_pod_returns_the_pod(provider: ProviderClient) -> None:
    """`GET /getPod` returns the pod as it was sent, with the provider's status.

    The original broker calls it before every create and delete. It sends the response as the body of the DELETE;
    without the endpoint it creates the pod again at each sync.
    """
    pod = created(provider, provider.pod())
    read = document(provider.get("/getPod", **named(pod)), dict)
    expect(_is_in(pod["metadata"], read.get("metadata")), "the metadata differs from the pod that was sent")
    expect(_is_in(pod["spec"], read.get("spec")), "the spec differs from the pod that was sent")
    at(read, "status.phase", str)


@required
def get_pod_status_returns_the_status(provider: ProviderClient) -> None:
    """`GET /getPodStatus` returns the PodStatus, a JSON object with a phase that Kubernetes defines.

    The original broker writes this status to Kubernetes for every pod, every few seconds.
    """
    pod = created(provider, provider.pod())
    phase = at(status(provider, pod), "phase", str)
    phases = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
    expect(phase in phases, f"the phase {phase!r} is not one of {', '.join(phases)}")


@required
def get_pods_lists_the_pod(provider: ProviderClient) -> None:
    """`GET /getPods` returns a JSON array of all pods with their statuses.

    At startup the original broker deletes every listed pod that Kubernetes does not have; dashboards poll the
    list.
    """
    pod = created(provider, provider.pod())
    read = entry(provider, pod)
    expect(at(read, "metadata.uid", str) == pod["metadata"]["uid"], "metadata.uid differs from the sent pod")
    at(read, "status.phase", str)


@recommended
def all_endpoints_report_the_same_status(provider: ProviderClient) -> None:
    """`/getPod`, `/getPodStatus` and `/getPods` report the same status of a pod.

    Otherwise, clients that poll the list and clients that poll one pod act on different states.
    """
    pod = created(provider, provider.pod())

    def are_equal() -> bool:
        one = document(provider.get("/getPod", **named(pod)), dict).get("status")
        return one == status(provider, pod) == entry(provider, pod).get("status")

    expect(wait_until(are_equal), "the statuses differ on every attempt")


@required
def namespaces_separate_pods_of_one_name(provider: ProviderClient) -> None:
    """A pod is identified by namespace and name together.

    A provider that uses the name alone returns, and deletes, the pod of another namespace.
    """
    one, other = (created(provider, provider.pod(namespace=f"{provider.namespace}-{name}")) for name in ("a", "b"))
    _expect_both(provider, one, other)


@required
def hyphenated_names_do_not_collide(provider: ProviderClient) -> None:
    """Pod `b-c` in namespace `a` and pod `c` in namespace `a-b` are different pods.

    Both are valid names. A provider that joins namespace and name with a hyphen loses one of the pods.
    """
    one = created(provider, provider.pod("b-c"))
    other = created(provider, provider.pod("c", namespace=f"{provider.namespace}-b"))
    _expect_both(provider, one, other)


@required
def long_list_is_complete(provider: ProviderClient) -> None:
    """`/getPods` is never truncated, regardless of its size.

    The original broker reads up to 1,000,000 bytes and fails on a longer list; other clients need the complete
    list.
    """
    padding = {"annotations": {"padding": "x" * _PADDING}}
    pods = [created(provider, provider.pod(f"web-{n}", metadata=padding)) for n in range(_PODS)]
    listed = json.dumps(document(provider.get("/getPods"), list))
    missing = [pod for pod in pods if pod["metadata"]["uid"] not in listed]
    expect(not missing, f"{len(missing)} of {_PODS} created pods are not listed")


@recommended
def managed_fields_are_omitted(provider: ProviderClient) -> None:
    """`metadata.managedFields` is not returned; no client reads it.

    It is often the largest part of a pod: with it, `/getPods` sooner reaches the 1,000,000 bytes that the original
    broker reads.
    """
    managed = [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": {}}}}]
    pod = created(provider, provider.pod(metadata={"managedFields": managed}))
    expect("managedFields" not in entry(provider, pod)["metadata"], "/getPods returns managedFields")


@recommended
def unknown_fields_are_preserved(provider: ProviderClient) -> None:
    """Fields that the provider does not know are returned as they were sent.

    Newer versions of Kubernetes send new fields. A dropped field is missing when the pod is compared or deleted.
    """
    pod = created(provider, provider.pod(aFutureField={"nested": [1, None, "text"]}))
    expect("aFutureField" in json.dumps(entry(provider, pod)), "/getPods does not return a field that was sent")


@recommended
def query_is_form_decoded(provider: ProviderClient) -> None:
    """In a query string, `+` means a space and `%2B` means a plus sign.

    The original broker encodes queries like this; a provider that reads `+` literally does not find the pod.
    """
    pod = provider.pod("a pod +&")
    answer = provider.create(pod)
    if not answer.is_success:
        raise NotOffered(f"a name with a space, which Kubernetes does not allow, is rejected with {answer.status}")
    for spelling in ("a+pod+%2B%26", "a%20pod%20%2B%26"):
        code(provider.request("GET", f"/getPodStatus?namespace={provider.namespace}&name={spelling}"), 200)


def _expect_both(provider: ProviderClient, one: dict[str, Any], other: dict[str, Any]) -> None:
    for pod in (one, other):
        uids = [at(found, "metadata.uid", str) for found in entries(provider, pod)]
        where = f"{pod['metadata']['name']} of namespace {pod['metadata']['namespace']}"
        expect(uids == [pod["metadata"]["uid"]], f"/getPods lists {len(uids)} of {where}, or another UID")
    provider.delete(one)
    expect(entries(provider, other), "deleting one pod deleted the other")


def _is_in(sent: Any, read: Any) -> bool:
    """Return whether `read` contains everything in `sent`; null, empty and missing values are equal."""
    if isinstance(sent, dict):
        return isinstance(read, dict | None) and all(_is_in(v, (read or {}).get(k)) for k, v in sent.items())
    if isinstance(sent, list):
        return len(sent) == len(read or ()) and all(map(_is_in, sent, read or ()))
    return bool(sent == read or (not sent and not read))
