"""Pods that checks put on a provider and read back."""

from collections.abc import Iterable
from typing import Any

from conformance.check import Failed, at, document, expect, success
from conformance.provider import PodJSON, Provider, named, patiently


def created(provider: Provider, pod: PodJSON) -> PodJSON:
    """Create a pod, which must be accepted."""
    success(provider.create(pod))
    return pod


def entries(provider: Provider, pod: PodJSON) -> list[PodJSON]:
    """Give what `/getPods` lists under the namespace and name of a pod."""
    listed = document(provider.get("/getPods"), list)
    return [entry for entry in listed if isinstance(entry, dict) and _is(entry, pod)]


def entry(provider: Provider, pod: PodJSON) -> PodJSON:
    """Give what `/getPods` has of a pod, which must be there once."""
    found = entries(provider, pod)
    expect(len(found) == 1, f"/getPods lists the pod {len(found)} times")
    return found[0]


def status(provider: Provider, pod: PodJSON) -> dict[str, Any]:
    """Give what `/getPodStatus` says of a pod."""
    return document(provider.get("/getPodStatus", **named(pod)), dict)


def started(provider: Provider, pod: PodJSON) -> dict[str, Any]:
    """Wait until every container of a pod has started, and give the status."""

    def has_started() -> dict[str, Any] | None:
        found = status(provider, pod)
        states = [container.get("state") or {} for container in _containers(found)]
        is_enough = len(states) >= len(pod["spec"]["containers"])
        return found if is_enough and all("running" in s or "terminated" in s for s in states) else None

    found = patiently(has_started)
    if found is None:
        raise Failed("containerStatuses does not say of every container that it runs, or that it has ended")
    return found


def is_gone(provider: Provider, pod: PodJSON) -> bool:
    """Wait until a pod that was deleted is no longer listed; say whether that came."""
    return bool(patiently(lambda: not entries(provider, pod)))


def conditions(status: dict[str, Any]) -> dict[str, str]:
    """Give the conditions of a status, type → status."""
    found: Iterable[Any] = at(status, "conditions", list)
    return {at(condition, "type", str): at(condition, "status", str) for condition in found}


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    found = status.get("containerStatuses")
    return [container for container in found if isinstance(container, dict)] if isinstance(found, list) else []


def _is(entry: PodJSON, pod: PodJSON) -> bool:
    metadata = entry.get("metadata")
    return isinstance(metadata, dict) and all(metadata.get(key) == value for key, value in named(pod).items())
