"""The extension `batch`: `/createPods` and `/deletePods`."""

from typing import Any

from conformance.check import Failed, at, code, document, expect, extension
from conformance.checks.extensions import require
from conformance.client import PodJSON, ProviderClient
from conformance.pods import entries, entry, is_deleted, started


@extension
def batch_creates_and_deletes_its_pods(provider: ProviderClient) -> None:
    """`POST /createPods` and `DELETE /deletePods` do for each pod what the single request does.

    The broker sends the pods of a rollout in a few requests, and reads no other response.
    """
    pods = _pods(provider, "first", "second")
    _expect_success(_sent(provider, "POST", "/createPods", pods))
    for pod in pods:
        started(provider, pod)
    _expect_success(_sent(provider, "DELETE", "/deletePods", pods))
    for pod in pods:
        expect(is_deleted(provider, pod), "/getPods still lists a pod of the batch")


@extension
def outcomes_are_in_the_order_of_the_items(provider: ProviderClient) -> None:
    """An item that is refused has the code and the message of the single request; the others succeed.

    Otherwise one pod of a user prevents the pods of all others, or the wrong pod has the error.
    """
    invalid, valid = _pods(provider, "invalid", "valid")
    invalid["spec"]["containers"] = []
    refused, done = _sent(provider, "POST", "/createPods", [invalid, valid])
    expect(refused["code"] == 400, f"the code of an invalid pod is {refused['code']}, not 400")
    expect(refused["message"], "the message of an invalid pod is empty")
    _expect_success([done])
    entry(provider, valid)
    unknown = provider.pod("unknown")
    missing, done = _sent(provider, "DELETE", "/deletePods", [unknown, valid])
    expect(missing["code"] == 404, f"the code of an unknown pod is {missing['code']}, not 404")
    _expect_success([done])
    expect(is_deleted(provider, valid), "/getPods still lists the pod after an item that was refused")


@extension
def repeated_batch_is_idempotent(provider: ProviderClient) -> None:
    """The same `POST /createPods` again succeeds and changes nothing; so does a pod that it has twice.

    The broker repeats a request whose response it did not receive.
    """
    pods = _pods(provider, "first", "second")
    for _ in range(2):
        _expect_success(_sent(provider, "POST", "/createPods", [*pods, pods[0]]))
    for pod in pods:
        expect(len(entries(provider, pod)) == 1, "/getPods does not list each pod once")


@extension
def batch_that_is_not_an_array_returns_400(provider: ProviderClient) -> None:
    """A body that is not a JSON array returns 400, as a whole; an empty array returns an empty array.

    There is no item that could have the error.
    """
    expect(_sent(provider, "POST", "/createPods", []) == [], "an empty batch has outcomes")
    for body in (provider.pod(), b"[{]"):
        code(provider.request("POST", "/createPods", body), 400)


def _pods(provider: ProviderClient, *names: str) -> list[PodJSON]:
    return [provider.pod(name) for name in names]


def _sent(provider: ProviderClient, method: str, path: str, pods: list[PodJSON]) -> list[dict[str, Any]]:
    """Send a batch; require one outcome for each pod; return them."""
    require(provider, "batch")
    answer = code(provider.request(method, path, pods), 200)
    outcomes = document(answer, list)
    expect(len(outcomes) == len(pods), f"{len(outcomes)} outcomes for {len(pods)} pods", answer)
    for outcome in outcomes:
        at(outcome, "code", int, answer)
        at(outcome, "message", str, answer)
    return outcomes


def _expect_success(outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        if not 200 <= outcome["code"] < 300:
            raise Failed(f"the code of a valid pod is {outcome['code']}")
