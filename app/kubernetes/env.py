"""References in a container's environment to objects that a provider cannot read.

The broker replaces them by the objects' values. A reference that is left is one to an object or a key that does
not exist yet: the container cannot be created, and waits.

It also passes on the address of the pod, which the provider knows, and leaves references to that variable in the
values of later ones: :func:`put_in`.

Source: `makeEnvironmentVariables` of the kubelet.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

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


_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
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


def known_variables(container: Container) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield name, value and `fieldPath` of each variable; None where it has none. Other entries are left out."""
    variables = msgspec.json.decode(container.env)
    for variable in variables if isinstance(variables, list) else ():
        if not isinstance(variable, dict) or not isinstance(variable.get("name"), str):
            continue
        source = variable.get("valueFrom")
        field = source.get("fieldRef") if isinstance(source, dict) else None
        path = field.get("fieldPath") if isinstance(field, dict) else None
        yield variable["name"], None if source else str(variable.get("value") or ""), path


def with_addresses(
    variables: Iterable[tuple[str, str | None, str | None]], addresses: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that have a value; those that are an address are put into the values of later ones.

    Args:
        variables: name, value and `fieldPath` of each; one without a value and a known `fieldPath` is left out.
        addresses: `fieldPath` → value.
    """
    env: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, value, path in variables:
        if value is not None:
            env[name] = put_in(value, own)
            own.pop(name, None)
        elif path is not None and path in addresses:
            env[name] = own[name] = addresses[path]
    return env


def put_in(text: str, values: Mapping[str, str]) -> str:
    """Put the values of variables that the broker has passed on into the value of a later variable.

    Dollars before such a reference are doubled where they stand for themselves; all others are as they are.

    >>> put_in("http://$(IP):80/$(PATH) $$(IP) $$$(IP) $$", {"IP": "10.0.0.1"})
    'http://10.0.0.1:80/$(PATH) $(IP) $10.0.0.1 $$'
    """

    def replaced(match: re.Match[str]) -> str:
        dollars, is_reference = divmod(len(match[1]), 2)
        return "$" * dollars + (values[match[2]] if is_reference else f"({match[2]})")

    if not values or "$" not in text:
        return text
    return re.sub(rf"(\$+)\(({'|'.join(map(re.escape, values))})\)", replaced, text)


def expand(text: str, env: Mapping[str, str]) -> str:
    """Expand `$(VAR)` in one argument of a command, as Kubernetes does.

    A variable that is not there is left as it stands. Source: `command` and `args` in the API reference.

    >>> expand("$(GREETING), $(NOBODY), $$(GREETING)", {"GREETING": "hello"})
    'hello, $(NOBODY), $(GREETING)'
    """
    return _REFERENCE.sub(lambda match: "$" if match[1] == "$" else env.get(match[2], match[0]), text)


def references(text: str) -> list[str]:
    """Return the names of the variables that :func:`expand` looks up."""
    return [match[2] for match in _REFERENCE.finditer(text) if match[1] != "$"]
