"""Create pods on the provider under test and read them back."""

from collections.abc import Iterable
from typing import Any

from conformance.check import Failed, at, document, expect, success
from conformance.client import PodJSON, ProviderClient, named, wait_until


def created(provider: ProviderClient, pod: PodJSON) -> PodJSON:
    """Create a pod; require a status of 2xx; return the pod."""
    success(provider.create(pod))
    return pod


def entries(provider: ProviderClient, pod: PodJSON) -> list[PodJSON]:
    """Return the entries of `/getPods` with the namespace and name of a pod."""
    listed = document(provider.get("/getPods"), list)
    return [entry for entry in listed if isinstance(entry, dict) and _is(entry, pod)]


def entry(provider: ProviderClient, pod: PodJSON) -> PodJSON:
    """Return the one entry of `/getPods` for a pod; require that there is exactly one."""
    found = entries(provider, pod)
    expect(len(found) == 1, f"/getPods lists the pod {len(found)} times")
    return found[0]


def status(provider: ProviderClient, pod: PodJSON) -> dict[str, Any]:
    """Return the status of a pod from `/getPodStatus`."""
    return document(provider.get("/getPodStatus", **named(pod)), dict)


def started(provider: ProviderClient, pod: PodJSON) -> dict[str, Any]:
    """Wait until every container of a pod has started; return the status."""

    def has_started() -> dict[str, Any] | None:
        found = status(provider, pod)
        states = [container.get("state") or {} for container in _containers(found)]
        is_enough = len(states) >= len(pod["spec"]["containers"])
        return found if is_enough and all("running" in s or "terminated" in s for s in states) else None

    found = wait_until(has_started)
    if found is None:
        raise Failed("containerStatuses does not show every container as running or terminated")
    return found


def is_deleted(provider: ProviderClient, pod: PodJSON) -> bool:
    """Wait until a pod is no longer listed; return False if it still is after the time limit."""
    return bool(wait_until(lambda: not entries(provider, pod)))


def conditions(status: dict[str, Any]) -> dict[str, str]:
    """Return the conditions of a status: type → status."""
    found: Iterable[Any] = at(status, "conditions", list)
    return {at(condition, "type", str): at(condition, "status", str) for condition in found}


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    found = status.get("containerStatuses")
    return [container for container in found if isinstance(container, dict)] if isinstance(found, list) else []


def _is(entry: PodJSON, pod: PodJSON) -> bool:
    metadata = entry.get("metadata")
    return isinstance(metadata, dict) and all(metadata.get(key) == value for key, value in named(pod).items())
