"""Node selectors: whether a node matches a pod's `nodeSelector` and required node affinity.

Source: `component-helpers/scheduling/corev1/nodeaffinity`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from broker.node_info import NodeInfo
from broker.types import Object


def matches_node(pod: Object, node: NodeInfo) -> bool:
    """Return whether a node matches a pod's `nodeSelector` and required node affinity."""
    spec = pod["spec"]
    selector: Mapping[str, str] = spec.get("nodeSelector") or {}
    if any(node.labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def _matches(term: Object, node: NodeInfo) -> bool:
    """Return whether a node matches every requirement of a term; an empty term matches no node."""
    expressions: list[Object] = term.get("matchExpressions") or []
    fields: list[Object] = term.get("matchFields") or []
    return bool(expressions or fields) and (
        all(matches_requirement(requirement, node.labels) for requirement in expressions)
        and all(matches_requirement(requirement, {"metadata.name": node.name}) for requirement in fields)
    )


def matches_requirement(requirement: Object, labels: Mapping[str, str]) -> bool:
    """Return whether labels match a requirement of a node selector or of a label selector."""
    check = _OPERATORS.get(requirement["operator"])
    return check is not None and check(labels.get(requirement["key"]), requirement.get("values") or [])


def _integers(value: str | None, values: Iterable[Any]) -> tuple[int, int] | None:
    try:
        (bound,) = values
        return int(value or ""), int(bound)
    except ValueError:
        return None


_OPERATORS: Mapping[str, Callable[[str | None, list[Any]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: (pair := _integers(value, values)) is not None and pair[0] > pair[1],
    "Lt": lambda value, values: (pair := _integers(value, values)) is not None and pair[0] < pair[1],
}
