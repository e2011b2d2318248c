"""The Eviction API: a deletion that a PodDisruptionBudget can refuse.

A budget has the number of pods that may be evicted in `status.disruptionsAllowed`, which the disruption controller
sets, and the API server reduces.
"""

from tests.broker.apiserver.errors import Refusal
from tests.broker.apiserver.store import Object, Store


def evict(store: Store, namespace: str, name: str, eviction: Object) -> Object:
    """Delete a pod, unless a budget refuses it.

    Raises:
        Refusal: 404; 409 if a precondition fails; 429 if a budget allows no eviction.
    """
    pod = store.get("pods", name, namespace)
    if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed", "Pending"):
        for budget in store.list("poddisruptionbudgets", namespace):
            labels = budget["spec"]["selector"]["matchLabels"].items()
            if labels <= (pod["metadata"].get("labels") or {}).items():
                _disrupt(store, budget)
    store.delete("pods", name, namespace, eviction.get("deleteOptions"))
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _disrupt(store: Store, budget: Object) -> None:
    if budget["status"]["disruptionsAllowed"] == 0:
        message = "Cannot evict pod as it would violate the pod's disruption budget."
        raise Refusal(429, "TooManyRequests", message)
    budget["status"]["disruptionsAllowed"] -= 1
    store.update("poddisruptionbudgets", budget)
