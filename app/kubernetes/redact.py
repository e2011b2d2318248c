"""Redact a Pod for display: the names of environment variables are kept, their values are replaced."""

from collections.abc import Iterator
from typing import Any

_REDACTED = "…"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # the whole Pod once more, environment included
_SHORTEST_SECRET = 6
"""The minimum length of a value that is replaced outside of the environment. Values such as `1` and `true` are
common and no secrets."""


def redact_pod(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a Pod with every value of an environment variable replaced by `…`, wherever it occurs.

    >>> container = {"env": [{"name": "KEY", "value": "secret"}], "args": ["--key=secret"]}
    >>> redact_pod({"spec": {"containers": [container]}})
    {'spec': {'containers': [{'env': [{'name': 'KEY', 'value': '…'}], 'args': ['--key=…']}]}}
    """
    shown = dict(pod)
    if isinstance(spec := pod.get("spec"), dict):
        shown["spec"] = {k: _containers(v) if k in _CONTAINERS else v for k, v in spec.items()}
    metadata = pod.get("metadata")
    if isinstance(metadata, dict) and _APPLIED in (metadata.get("annotations") or {}):
        shown["metadata"] = {**metadata, "annotations": {**metadata["annotations"], _APPLIED: _REDACTED}}
    redacted: dict[str, Any] = Redactor(pod)(shown)
    return redacted


class Redactor:
    """Replaces the environment values of a Pod by `…` in every string of documents; it keeps the values alone.

    >>> redact = Redactor({"spec": {"containers": [{"env": [{"name": "KEY", "value": "secret"}]}]}})
    >>> redact(["no such key: secret"])
    ['no such key: …']
    """

    def __init__(self, pod: dict[str, Any]) -> None:
        values = {value for value in _values(pod) if len(value) >= _SHORTEST_SECRET} - _names(pod)
        self._longest_first = sorted(values, key=len, reverse=True)

    def __call__(self, document: Any) -> Any:
        """Return a copy of a document without the values."""
        return _without(document, self._longest_first) if self._longest_first else document


def _containers(containers: Any) -> Any:
    if not isinstance(containers, list):
        return containers
    return [
        {**container, "env": _environment(container["env"])}
        if isinstance(container, dict) and container.get("env") is not None
        else container
        for container in containers
    ]


def _environment(env: Any) -> Any:
    return [_variable(variable) for variable in env] if isinstance(env, list) else _REDACTED


def _variable(variable: Any) -> Any:
    """Keep `name` and `valueFrom`, and redact every other field."""
    if not isinstance(variable, dict):
        return _REDACTED
    return {k: v if k in ("name", "valueFrom") else _REDACTED for k, v in variable.items()}


def _values(pod: dict[str, Any]) -> Iterator[str]:
    """Yield the values of all environment variables."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    for kind in _CONTAINERS:
        for container in spec.get(kind) or ():
            env = container.get("env") if isinstance(container, dict) else None
            for variable in env if isinstance(env, list) else ():
                if isinstance(variable, dict) and isinstance(variable.get("value"), str):
                    yield variable["value"]


def _names(pod: dict[str, Any]) -> set[str]:
    """Return the names of the pod, its node, its account and its containers, which are no secrets."""
    metadata, spec = pod.get("metadata"), pod.get("spec")
    names = [metadata.get(key) for key in ("namespace", "name", "uid")] if isinstance(metadata, dict) else []
    names += [spec.get(key) for key in ("nodeName", "serviceAccountName")] if isinstance(spec, dict) else []
    containers = [spec.get(kind) for kind in _CONTAINERS] if isinstance(spec, dict) else []
    names += [one.get("name") for kind in containers for one in kind or () if isinstance(one, dict)]
    return {name for name in names if isinstance(name, str)}


def _without(document: Any, values: list[str]) -> Any:
    """Redact these values in every string of a document, except for the keys of objects."""
    if isinstance(document, dict):
        return {k: _without(v, values) for k, v in document.items()}
    if isinstance(document, list):
        return [_without(item, values) for item in document]
    if isinstance(document, str):
        for value in values:
            document = document.replace(value, _REDACTED)
    return document
