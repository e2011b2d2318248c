"""A Pod as it may be shown: with the names of what is in its environment, and without the values."""

from typing import Any

MASK = "…"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # the whole Pod once more, environment included


def masked(pod: dict[str, Any]) -> dict[str, Any]:
    """Give a copy of a Pod in which every value of an environment variable is `…`.

    >>> masked({"spec": {"containers": [{"name": "a", "env": [{"name": "PASSWORD", "value": "secret"}]}]}})
    {'spec': {'containers': [{'name': 'a', 'env': [{'name': 'PASSWORD', 'value': '…'}]}]}}
    """
    shown = dict(pod)
    if isinstance(spec := pod.get("spec"), dict):
        shown["spec"] = {k: _containers(v) if k in _CONTAINERS else v for k, v in spec.items()}
    metadata = pod.get("metadata")
    if isinstance(metadata, dict) and _APPLIED in (metadata.get("annotations") or {}):
        shown["metadata"] = {**metadata, "annotations": {**metadata["annotations"], _APPLIED: MASK}}
    return shown


def _containers(containers: Any) -> Any:
    if not isinstance(containers, list):
        return containers
    return [
        {**container, "env": [_variable(variable) for variable in container["env"]]}
        if isinstance(container, dict) and isinstance(container.get("env"), list)
        else container
        for container in containers
    ]


def _variable(variable: Any) -> Any:
    """Keep the name and where the value comes from; everything else of it is the value."""
    if not isinstance(variable, dict):
        return MASK
    return {k: v if k in ("name", "valueFrom") else MASK for k, v in variable.items()}
