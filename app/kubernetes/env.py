"""References in a container's environment to objects that a provider cannot read.

The broker replaces them by the objects' values. A reference that is left is one to an object or a key that does
not exist yet: the container cannot be created, and waits.

Source: `makeEnvironmentVariables` of the kubelet.
"""

from collections.abc import Iterator

import msgspec

from app.kubernetes.pod import ApiObject, Container

CONFIG_ERROR = "CreateContainerConfigError"
"""The reason with which a container waits whose environment cannot be built."""


class _Reference(ApiObject, frozen=True):
    """A reference to an object of the pod's namespace, or to a key of it."""

    name: str = ""
    optional: bool | None = None


class _EnvFromSource(ApiObject, frozen=True):
    config_map_ref: _Reference | None = None
    secret_ref: _Reference | None = None


class _EnvVarSource(ApiObject, frozen=True):
    config_map_key_ref: _Reference | None = None
    secret_key_ref: _Reference | None = None


class _EnvVar(ApiObject, frozen=True):
    value_from: _EnvVarSource | None = None


class _Environment(ApiObject, frozen=True):
    env: list[_EnvVar] | None = None
    env_from: list[_EnvFromSource] | None = None


# msgspec prepares a type on first use, and a process in which two threads do so at once crashes.
msgspec.convert({}, _Environment)


def missing_object(container: Container) -> str | None:
    """Return a kubelet's message for the first mandatory reference that is left; None where there is none.

    An optional reference that is left adds no variable, nor does an entry that is not one of a Pod.
    """
    if not (container.env or container.env_from):
        return None
    try:
        environment = msgspec.convert({"env": container.env, "envFrom": container.env_from}, _Environment)
    except msgspec.ValidationError:
        return None
    for kind, reference in _references(environment):
        if reference and not reference.optional:
            return f'{kind} "{reference.name}" not found'
    return None


def _references(environment: _Environment) -> Iterator[tuple[str, _Reference | None]]:
    for source in environment.env_from or ():
        yield "configmap", source.config_map_ref
        yield "secret", source.secret_ref
    for variable in environment.env or ():
        if variable.value_from:
            yield "configmap", variable.value_from.config_map_key_ref
            yield "secret", variable.value_from.secret_key_ref
