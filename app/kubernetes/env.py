"""References in a container's environment to objects that a provider cannot read.

The broker replaces them by the objects' values. A reference that is left is one to an object or a key that does
not exist yet: the container cannot be created, and waits.

Source: `makeEnvironmentVariables` of the kubelet.
"""

from collections.abc import Iterable, Iterator

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


_VARIABLES = msgspec.json.Decoder(list[_EnvVar] | None)
_SOURCES = msgspec.json.Decoder(list[_EnvFromSource] | None)


def missing_object(container: Container) -> str | None:
    """Return a kubelet's message for the first mandatory reference that is left; None where there is none.

    An optional reference that is left adds no variable, nor does an entry that is not one of a Pod.
    """
    try:
        sources = _SOURCES.decode(container.env_from)
        variables = _VARIABLES.decode(container.env) if _may_refer(bytes(container.env)) else None
    except msgspec.ValidationError:
        return None
    for kind, reference in _references(sources or (), variables or ()):
        if reference and not reference.optional:
            return f'{kind} "{reference.name}" not found'
    return None


def _may_refer(env: bytes) -> bool:
    """Return whether a JSON text may have the key `valueFrom`; one with escapes may."""
    return b"valueFrom" in env or b"\\u" in env


def _references(
    sources: Iterable[_EnvFromSource], variables: Iterable[_EnvVar]
) -> Iterator[tuple[str, _Reference | None]]:
    for source in sources:
        yield "configmap", source.config_map_ref
        yield "secret", source.secret_ref
    for variable in variables:
        if variable.value_from:
            yield "configmap", variable.value_from.config_map_key_ref
            yield "secret", variable.value_from.secret_key_ref
