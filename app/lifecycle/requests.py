"""What a pod requests of its node: the numbers that a scheduler counts against the node's capacity.

Source: `PodRequests` in `k8s.io/component-helpers/resource`. Init containers run one after another, so the largest
counts, beside the sidecars that were started before it; containers and sidecars run together, so their sum does.
What the pod requests as a whole takes the place of that; its overhead comes on top. A limit stands in for a
request that is missing, as the API server's defaulting makes it.
"""

from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from app.lifecycle.manifest import PodSpec, ResourceRequirements
from app.lifecycle.qos import amounts

_Amounts = Mapping[str, Decimal]

_MOST = 2**50
"""More than any node has; so many of them still fit into the sum of a database."""


class Requests(NamedTuple):
    """What a pod requests, rounded up to whole numbers as a scheduler does."""

    cpu_millicores: int
    memory_bytes: int


def requests(spec: PodSpec) -> Requests:
    """Add up what a pod requests.

    Raises:
        InvalidRequest: a quantity is none; the message names its field.
    """
    parts = list(_containers(spec))
    overhead = amounts(spec.overhead, field="spec.overhead")
    whole = spec.resources or ResourceRequirements()
    requested = amounts(whole.requests, field="spec.resources.requests")
    limits = amounts(whole.limits, field="spec.resources.limits")

    def total(name: str) -> Decimal:
        of_containers = _needed(name, parts) or limits.get(name, Decimal(0))
        return requested.get(name, of_containers) + overhead.get(name, Decimal(0))

    return Requests(cpu_millicores=_rounded(total("cpu") * 1000), memory_bytes=_rounded(total("memory")))


class _Part(NamedTuple):
    amounts: _Amounts
    is_before_others: bool = False


def _containers(spec: PodSpec) -> Iterator[_Part]:
    for index, container in enumerate(spec.init_containers or ()):
        found = _of(container.resources, field=f"spec.initContainers[{index}].resources")
        yield _Part(found, is_before_others=container.restart_policy != "Always")
    for index, container in enumerate(spec.containers):
        yield _Part(_of(container.resources, field=f"spec.containers[{index}].resources"))


def _needed(name: str, parts: list[_Part]) -> Decimal:
    largest = together = Decimal(0)
    for part in parts:
        amount = part.amounts.get(name, Decimal(0))
        if part.is_before_others:
            largest = max(largest, together + amount)
        else:
            together += amount
    return max(largest, together)


def _of(resources: ResourceRequirements | None, *, field: str) -> _Amounts:
    if resources is None:
        return {}
    return {
        **amounts(resources.limits, field=f"{field}.limits"),
        **amounts(resources.requests, field=f"{field}.requests"),
    }


def _rounded(amount: Decimal) -> int:
    return int(min(max(amount, Decimal(0)), Decimal(_MOST)).to_integral_value(ROUND_CEILING))
