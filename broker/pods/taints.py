"""Taints of the node that a pod does not tolerate.

Source: `ToleratesTaint` in `k8s.io/api/core/v1/toleration.go`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from broker.types import Object

_NO_EXECUTE = "NoExecute"


def tolerates_no_execute(pod: Object, taints: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a pod tolerates every taint with the effect NoExecute.

    The scheduler alone considers the other effects: a pod that is bound without it may ignore them.
    """
    return all(tolerates(pod, taint) for taint in taints if taint.get("effect") == _NO_EXECUTE)


def tolerates(pod: Object, taint: Mapping[str, Any]) -> bool:
    """Return whether a pod tolerates a taint."""
    return any(_tolerates(toleration, taint) for toleration in pod["spec"].get("tolerations") or ())


def _tolerates(toleration: Object, taint: Mapping[str, Any]) -> bool:
    """Return whether a toleration matches a taint; an empty effect or key matches each."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return (toleration.get("value") or "") == (taint.get("value") or "")
        case _:  # Lt and Gt are an alpha feature of Kubernetes, off by default
            return False
