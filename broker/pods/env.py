"""Environment variables of a pod's containers, with references to the cluster's objects resolved.

A provider cannot read ConfigMaps and Secrets, so the broker sends their values. Sources that are unknown here,
such as the IP address of the pod, are passed on unchanged, and so are references to such a variable in the values
of later ones: see :mod:`broker.pods.env_text`.

Source: `makeEnvironmentVariables` in `pkg/kubelet/kubelet_pods.go`, "Dependent environment variables" in the
documentation of Kubernetes.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from broker.kubernetes.pods import containers
from broker.node_info import NodeInfo
from broker.pods.downward_api import container_resource, default_limits, metadata_field
from broker.pods.env_text import Late, Text, encode, expand
from broker.types import Object

Kind = Literal["ConfigMap", "Secret"]
Variables = list[Object]
"""`env` of a container: objects with `name` and `value`, or with `valueFrom` where passed on."""

_VALID_NAME = re.compile(r"[ -<>-~]+")
"""Printable ASCII characters except `=`: Kubernetes ≥ 1.34, `IsRelaxedEnvVarName` in `apimachinery`."""


class Reference(NamedTuple):
    """An object in the pod's namespace that its environment refers to."""

    kind: Kind
    name: str


class Unreadable(NamedTuple):
    """An object that may exist, and could not be read; `why` is the reason of the error."""

    why: str


Data = Mapping[str, str]
Sources = Mapping[Reference, Data | Unreadable | None]
"""Data of each object; None where the object does not exist."""


class EnvironmentProblem(NamedTuple):
    """`reason`, `message` and `type` of an event on the pod; the message has no values of variables."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Warning"


class ContainerEnvironment(NamedTuple):
    """The environment of a container, as far as it is resolved.

    Attributes:
        env: the variables; those whose mandatory source is missing have their `valueFrom`.
        env_from: entries of `envFrom` whose mandatory source is missing.
        missing: message for the first missing source, as a kubelet writes it; empty: the environment is complete.
    """

    env: Variables
    env_from: Sequence[Object] = ()
    missing: str = ""


Environments = Mapping[str, ContainerEnvironment]
"""Container name → its environment."""


class ResolvedEnvironments(NamedTuple):
    """Result of :func:`resolve`.

    Attributes:
        environments: container name → its environment.
        problems: missing objects and keys, mandatory and optional, and invalid names.
    """

    environments: Environments
    problems: tuple[EnvironmentProblem, ...]


def is_resolved(container: Object) -> bool:
    """Return whether no variable of a container refers to a ConfigMap or Secret."""
    sources = [variable.get("valueFrom") or {} for variable in container.get("env") or ()]
    return not container.get("envFrom") and not any(f"{kind.field}KeyRef" in s for s in sources for kind in _KINDS)


def references(containers: Iterable[Object]) -> list[Reference]:
    """Return the objects to read for the environments of containers, without duplicates."""
    found: dict[Reference, None] = {}
    for container in containers:
        for source in container.get("envFrom") or ():
            for kind in _KINDS:
                if reference := source.get(f"{kind.field}Ref"):
                    found[Reference(kind.name, reference.get("name", ""))] = None
        for variable in container.get("env") or ():
            for kind in _KINDS:
                if reference := (variable.get("valueFrom") or {}).get(f"{kind.field}KeyRef"):
                    found[Reference(kind.name, reference.get("name", ""))] = None
    return list(found)


def data_of(kind: Kind, found: Object | Unreadable | None) -> Data | Unreadable | None:
    """Return the variables that an object of a kind contains; None where it does not exist."""
    if found is None or isinstance(found, Unreadable):
        return found
    data: Data = found.get("data") or {}
    if kind == "ConfigMap":
        return data
    # An environment variable is text: bytes that are not UTF-8 become replacement characters.
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def resolve(
    pod: Object,
    containers: Iterable[Object],
    *,
    sources: Sources,
    services: Mapping[str, str],
    node: NodeInfo,
) -> ResolvedEnvironments:
    """Resolve the environments of containers of a pod.

    Args:
        pod: the pod.
        containers: the containers.
        sources: every object of :func:`references`.
        services: service variables by name.
        node: the pod's node.
    """
    resolver = _Resolver(pod, sources, services, node)
    environments = {container["name"]: resolver.environment(container) for container in containers}
    return ResolvedEnvironments(environments, tuple(dict.fromkeys(resolver.problems)))


class _KindNames(NamedTuple):
    name: Kind
    field: str


_KINDS = (_KindNames("ConfigMap", "configMap"), _KindNames("Secret", "secret"))


class _Resolver:
    def __init__(self, pod: Object, sources: Sources, services: Mapping[str, str], node: NodeInfo) -> None:
        self._pod = pod
        self._sources = sources
        self._services = services
        self._node = node
        self.problems: list[EnvironmentProblem] = []
        self._missing: list[str] = []

    def environment(self, container: Object) -> ContainerEnvironment:
        """Resolve a container's variables: from `envFrom`, from `env` in its order, then from services."""
        self._missing = []
        found: dict[str, Text | Object] = {}
        late: list[str] = []
        env: dict[str, str | Object] = {}
        env_from = []
        for source in container.get("envFrom") or ():
            variables = self._from_object(source)
            if variables is None:
                env_from.append(source)
            found |= variables or {}
            env |= variables or {}

        def value_of(name: str) -> Text | None:
            value = found.get(name)
            if isinstance(value, dict):
                return (Late(name),)
            return self._services.get(name) if value is None else value

        for variable in container.get("env") or ():
            name, value = variable["name"], variable.get("value") or ""
            resolved: Text | Object | None
            if not value and variable.get("valueFrom"):
                resolved = self._from_source(variable, container)
            else:
                resolved = expand(value, value_of)
            if resolved is None:
                continue
            found[name] = resolved
            if late:  # a reference is to a variable before it
                env.pop(name, None)
            env[name] = resolved if isinstance(resolved, dict) else encode(resolved, late)
            late = [*(other for other in late if other != name), *([name] if isinstance(resolved, dict) else ())]
        env |= {name: encode(value, late) for name, value in self._services.items() if name not in found}
        variables_sent = [
            value if isinstance(value, dict) else {"name": name, "value": value} for name, value in env.items()
        ]
        return ContainerEnvironment(variables_sent, env_from, self._missing[0] if self._missing else "")

    def _from_object(self, source: Object) -> dict[str, str] | None:
        """Resolve an entry of `envFrom`; None where its mandatory object is missing."""
        prefix = source.get("prefix") or ""
        for kind in _KINDS:
            if reference := source.get(f"{kind.field}Ref"):
                data = self._read(kind, reference)
                if data is None:
                    return {} if reference.get("optional") else None
                variables = {prefix + key: data[key] for key in sorted(data)}
                if invalid := [name for name in variables if not _VALID_NAME.fullmatch(name)]:
                    of = f"{kind.field} {self._pod['metadata']['namespace']}/{reference.get('name')}"
                    message = (
                        f"Keys [{', '.join(invalid)}] from the EnvFrom {of} were skipped since they are "
                        "considered invalid environment variable names."
                    )
                    self.problems.append(EnvironmentProblem("InvalidEnvironmentVariableNames", message))
                return {name: value for name, value in variables.items() if name not in invalid}
        return {}

    def _from_source(self, variable: Object, container: Object) -> str | Object | None:
        """Resolve a variable with a `valueFrom`; None: omit the variable; the variable itself: pass it on."""
        source: Object = variable["valueFrom"]
        if field := source.get("fieldRef"):
            value = self._field(field["fieldPath"])
            return variable if value is None else value
        if resource := source.get("resourceFieldRef"):
            return self._resource(resource, container)
        for kind in _KINDS:
            if reference := source.get(f"{kind.field}KeyRef"):
                value = self._key(kind, reference)
                return variable if value is None and not reference.get("optional") else value
        return variable

    def _key(self, kind: _KindNames, reference: Object) -> str | None:
        data = self._read(kind, reference)
        if data is None:
            return None
        key = reference["key"]
        if key not in data:
            of = f"{self._pod['metadata']['namespace']}/{reference.get('name', '')}"
            self._miss(reference, f"{kind.name}KeyNotFound", f"couldn't find key {key} in {kind.name} {of}")
        return data.get(key)

    def _read(self, kind: _KindNames, reference: Object) -> Data | None:
        name = reference.get("name", "")
        data = self._sources.get(Reference(kind.name, name))
        subject = f'{kind.name.lower()} "{name}"'
        if isinstance(data, Unreadable):
            self._miss(reference, kind.name, f"{subject} cannot be read: {data.why}", before="FailedToRead")
            return None
        if data is None:
            self._miss(reference, f"{kind.name}NotFound", f"{subject} not found")
        return data

    def _miss(self, reference: Object, what: str, message: str, *, before: str = "") -> None:
        if reference.get("optional"):
            self.problems.append(EnvironmentProblem(f"{before}Optional{what}", message, "Normal"))
        else:
            self.problems.append(EnvironmentProblem(f"{before}Mandatory{what}", message))
            self._missing.append(message)

    def _field(self, path: str) -> str | None:
        spec, addresses = self._pod["spec"], self._node.host_ips
        known: dict[str, str] = {
            "spec.nodeName": spec.get("nodeName") or self._node.name,
            "spec.serviceAccountName": spec.get("serviceAccountName") or "",
            "status.hostIP": addresses[0] if addresses else "",
            "status.hostIPs": ",".join(addresses),
        }
        return known[path] if path in known else metadata_field(self._pod, path)

    def _resource(self, reference: Object, container: Object) -> str:
        name = reference.get("containerName") or container["name"]
        of = next((c for c in containers(self._pod) if c["name"] == name), container)
        return container_resource(reference, of, default_limits(self._pod, self._node))
