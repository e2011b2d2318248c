"""What a provider is sent of a pod, and what of it counts as a change."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from broker.kubernetes.objects import Object
from broker.pods.env import CONTAINER_KINDS, Variables

_BOOKKEEPING = ("managedFields", "resourceVersion")
Environment = Mapping[str, Variables]
"""Container name → its variables."""


def payload(pod: Object, environment: Environment) -> Object:
    """Make what is sent: the pod with its environment in it.

    It has no `kind` and no `apiVersion`, as the original broker's had none, and always a `status`: providers have
    been written that put theirs into it.
    """
    metadata = {name: value for name, value in pod["metadata"].items() if name != "managedFields"}
    spec = dict(pod["spec"])
    for kind in CONTAINER_KINDS:
        if containers := spec.get(kind):
            spec[kind] = [_with_environment(container, environment) for container in containers]
    return {"metadata": metadata, "spec": spec, "status": pod.get("status") or {}}


def digest(pod: Object) -> bytes:
    """Digest what a provider is to act on: the specification and the metadata, but not the status.

    A status patch moves the resourceVersion, so it does not count. Nothing at all, null, an empty text, list or
    object are one, as are keys in any order: a provider may write any of them for another.
    """
    metadata = {name: value for name, value in pod["metadata"].items() if name not in _BOOKKEEPING}
    told = _without_empty({"metadata": metadata, "spec": pod.get("spec")})
    return blake2b(msgspec.json.encode(told, order="sorted"), digest_size=16).digest()


def environment_in(copy: Object) -> Environment:
    """Find the environment that a pod was given in a provider's copy of it, for the containers that have it there.

    A container's environment is that of its start, whatever has become of ConfigMaps and services since; after a
    restart of this broker the provider is the one who remembers it.
    """
    return {
        container["name"]: variables
        for container in _containers(copy)
        if isinstance(variables := container.get("env"), list)
    }


def has_every_container(environment: Environment, pod: Object) -> bool:
    """Tell whether an environment is that of all of a pod's containers."""
    return all(container["name"] in environment for container in _containers(pod))


def _containers(pod: Object) -> list[Object]:
    spec = pod.get("spec") or {}
    return [container for kind in CONTAINER_KINDS for container in spec.get(kind) or ()]


def _with_environment(container: Object, environment: Environment) -> Object:
    copy = {name: value for name, value in container.items() if name != "envFrom"}
    copy["env"] = environment[container["name"]]
    return copy


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: kept for k, v in value.items() if (kept := _without_empty(v)) not in (None, "", {}, [])}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value
