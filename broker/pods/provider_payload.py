"""The payload of create and update requests to a provider, and its digest."""

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import msgspec

from broker.kubernetes.pods import CONTAINER_STATUSES, containers
from broker.pods.env import ContainerEnvironment, Environments, Variables, is_resolved
from broker.types import Object

_BOOKKEEPING = ("managedFields", "resourceVersion")
Environment = Mapping[str, Variables]
"""Container name → its variables."""


def payload(
    pod: Object, environments: Environments, annotations: Mapping[str, str] = MappingProxyType({})
) -> Object:
    """Return the payload of a pod: the pod with its environment, as far as it is resolved.

    As in the original broker, the payload has no `kind` and no `apiVersion`, and always a `status`, which existing
    providers fill in.
    """
    metadata = {name: value for name, value in pod["metadata"].items() if name != "managedFields"}
    if annotations:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    spec = dict(pod["spec"])
    for kind in CONTAINER_STATUSES:
        if of_kind := spec.get(kind):
            spec[kind] = [_with_environment(container, environments[container["name"]]) for container in of_kind]
    return {"metadata": metadata, "spec": spec, "status": pod.get("status") or {}}


def digest(pod: Object) -> bytes:
    """Return the digest of the fields that a provider acts on: `spec` and `metadata`, without `status`.

    The `resourceVersion` is left out, since each status patch changes it. Absent fields, null, and empty strings,
    lists and objects are equal, as are keys in any order: providers replace one by another.
    """
    metadata = {name: value for name, value in pod["metadata"].items() if name not in _BOOKKEEPING}
    fields = _without_empty({"metadata": metadata, "spec": pod.get("spec")})
    return blake2b(msgspec.json.encode(fields, order="sorted"), digest_size=16).digest()


def environment_in(copy: Object) -> Environment:
    """Return the environment in a provider's copy of a pod, for the containers that have a complete one.

    A container keeps the environment of its start, whatever changes in ConfigMaps and services. After a restart of
    the broker, the provider's copy is the only source of that environment.
    """
    return {
        container["name"]: variables
        for container in containers(copy)
        if isinstance(variables := container.get("env"), list) and is_resolved(container)
    }


def _with_environment(container: Object, environment: ContainerEnvironment) -> Object:
    copy = {name: value for name, value in container.items() if name != "envFrom"}
    copy["env"] = environment.env
    if environment.env_from:
        copy["envFrom"] = environment.env_from
    return copy


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: kept for k, v in value.items() if (kept := _without_empty(v)) or isinstance(kept, int | float)}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value
