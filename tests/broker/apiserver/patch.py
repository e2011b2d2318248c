"""The strategic merge patch of Kubernetes, as far as nodes and pods need it.

Lists are merged by the key of their `patchMergeKey` in k8s.io/api/core/v1/types.go; a list without one
is replaced.
"""

from copy import deepcopy
from typing import Any

_MERGE_KEYS = {
    "conditions": "type",
    "addresses": "type",
    "podIPs": "ip",
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "ownerReferences": "uid",
    "resourceClaimStatuses": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "secrets": "name",
}
_DIRECTIVE = "$patch"


def strategic_merge(target: Any, patch: Any) -> Any:
    """Apply a strategic merge patch."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    patch = dict(patch)
    directive = patch.pop(_DIRECTIVE, "merge")
    if directive == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) and directive != "replace" else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, list) and name in _MERGE_KEYS:
            result[name] = _merge_lists(result.get(name) or [], value, _MERGE_KEYS[name])
        else:
            result[name] = strategic_merge(result.get(name), value)
    return result


def _merge_lists(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    if any(item == {_DIRECTIVE: "replace"} for item in patch):
        return [deepcopy(item) for item in patch if _DIRECTIVE not in item]
    result = deepcopy(target)
    for item in patch:
        place = next((i for i, there in enumerate(result) if there.get(key) == item.get(key)), None)
        if item.get(_DIRECTIVE) == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(strategic_merge({}, item))
        else:
            result[place] = strategic_merge(result[place], item)
    return result
