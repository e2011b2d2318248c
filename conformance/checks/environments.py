"""The extension `containerEnvironments`: each container waits for its own environment."""

from typing import Any

from conformance.check import at, expect, extension, success
from conformance.checks.extensions import require
from conformance.client import PodJSON, ProviderClient, wait_until
from conformance.pods import created, started, status

_REFERENCE = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "key"}}}
_VALUE = {"name": "KEY", "value": "value"}


@extension
def unresolved_environment_holds_one_container(provider: ProviderClient) -> None:
    """A container whose `env` has a `secretKeyRef` waits with `CreateContainerConfigError`; the others run.

    Otherwise, a missing Secret of one container holds the whole pod, or the container runs without a variable.
    """
    pod = _pod(provider)
    created(provider, pod)
    expect(wait_until(lambda: "running" in _state(provider, pod, "web")), "the other container does not run")
    waiting = _state(provider, pod, "main").get("waiting")
    reason = waiting.get("reason") if isinstance(waiting, dict) else None
    expect(reason == "CreateContainerConfigError", f"the container does not wait; the reason is {reason}")


@extension
def update_with_the_environment_starts_the_container(provider: ProviderClient) -> None:
    """The waiting container starts when an update contains the value of the variable.

    The broker sends it as soon as the Secret exists. Otherwise, the pod never becomes ready.
    """
    pod = _pod(provider)
    created(provider, pod)
    pod["spec"]["containers"][1]["env"] = [_VALUE]
    success(provider.update(pod))
    started(provider, pod)


def _pod(provider: ProviderClient) -> PodJSON:
    require(provider, "containerEnvironments")
    pod = provider.pod()
    web = pod["spec"]["containers"][0]
    pod["spec"]["containers"].append({**web, "name": "main", "env": [_REFERENCE]})
    return pod


def _state(provider: ProviderClient, pod: PodJSON, name: str) -> dict[str, Any]:
    """Return the state of a container; empty if it has no status."""
    found = at(status(provider, pod), "containerStatuses", list)
    states = [entry.get("state") for entry in found if isinstance(entry, dict) and entry.get("name") == name]
    return states[0] if states and isinstance(states[0], dict) else {}
