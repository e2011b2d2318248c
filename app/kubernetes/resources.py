"""A pod's cpu and memory: its quality-of-service class, and its requests as a scheduler counts them.

Class: `ComputePodQOS` in `k8s.io/kubernetes/pkg/apis/core/v1/helper/qos`. Only amounts of more than zero count,
and init containers count as containers do.

Requests: `PodRequests` in `k8s.io/component-helpers/resource`. Init containers run one after another, so the
largest counts, together with the sidecars that started before it; containers and sidecars run at the same time, so
their sum counts. Overhead is added. A limit stands in for a missing request, as in the API server's defaulting.

In both, resources of the pod as a whole, where given, replace those of its containers.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Literal, NamedTuple

from app.core.errors import InvalidRequest
from app.core.quantity import parse_quantity
from app.kubernetes.pod import PodSpec, ResourceRequirements, Resources

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]

_COMPUTE = ("cpu", "memory")


def qos_class(spec: PodSpec) -> QosClass:
    """Compute the class.

    * Guaranteed: every container has cpu and memory limits, and its requests equal them. A missing request
      counts as the limit, as the API server's defaulting makes it; one of zero does not.
    * BestEffort: no container has a request or a limit.
    * Burstable: everything else.

    Raises:
        InvalidRequest: a request or limit is no quantity.
    """
    requirements = list(_requirements(spec))
    if not any(amount > 0 for pair in requirements for amounts in pair for amount in amounts.values()):
        return "BestEffort"
    if all(
        all(limits.get(name, 0) > 0 for name in _COMPUTE) and {**limits, **requests} == limits
        for requests, limits in requirements
    ):
        return "Guaranteed"
    return "Burstable"


def _requirements(spec: PodSpec) -> Iterable[tuple[Mapping[str, Decimal], Mapping[str, Decimal]]]:
    if spec.resources and (spec.resources.requests or spec.resources.limits):
        yield _requirements_of(spec.resources, field="spec.resources")
        return
    for kind, containers in (("containers", spec.containers), ("initContainers", spec.init_containers or ())):
        for index, container in enumerate(containers):
            yield _requirements_of(container.resources, field=f"spec.{kind}[{index}].resources")


def _requirements_of(
    resources: ResourceRequirements | None, *, field: str
) -> tuple[Mapping[str, Decimal], Mapping[str, Decimal]]:
    if resources is None:
        return {}, {}
    return (
        amounts(resources.requests, field=f"{field}.requests"),
        amounts(resources.limits, field=f"{field}.limits"),
    )


def amounts(resources: Resources | None, *, field: str) -> Mapping[str, Decimal]:
    """Read the cpu and memory of a map, resource → quantity; what is not in it is not in the answer.

    Raises:
        InvalidRequest: one is no quantity; the message names it within `field`.
    """
    found = {}
    for name in _COMPUTE:
        if resources and name in resources:
            try:
                found[name] = parse_quantity(str(resources[name]))
            except ValueError as exc:
                raise InvalidRequest(str(exc), field=f"{field}.{name}") from exc
    return found


_Amounts = Mapping[str, Decimal]

_MOST = 2**50
"""More than any node has; so many of them still fit into the sum of a database."""


class ResourceRequests(NamedTuple):
    """What a pod requests, rounded up to whole numbers as a scheduler does."""

    cpu_millicores: int
    memory_bytes: int


def pod_requests(spec: PodSpec) -> ResourceRequests:
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

    return ResourceRequests(cpu_millicores=_rounded(total("cpu") * 1000), memory_bytes=_rounded(total("memory")))


class _Part(NamedTuple):
    amounts: _Amounts
    is_before_others: bool = False


def _containers(spec: PodSpec) -> Iterator[_Part]:
    for index, container in enumerate(spec.init_containers or ()):
        found = _effective_requests(container.resources, field=f"spec.initContainers[{index}].resources")
        yield _Part(found, is_before_others=container.restart_policy != "Always")
    for index, container in enumerate(spec.containers):
        yield _Part(_effective_requests(container.resources, field=f"spec.containers[{index}].resources"))


def _needed(name: str, parts: list[_Part]) -> Decimal:
    largest = together = Decimal(0)
    for part in parts:
        amount = part.amounts.get(name, Decimal(0))
        if part.is_before_others:
            largest = max(largest, together + amount)
        else:
            together += amount
    return max(largest, together)


def _effective_requests(resources: ResourceRequirements | None, *, field: str) -> _Amounts:
    if resources is None:
        return {}
    return {
        **amounts(resources.limits, field=f"{field}.limits"),
        **amounts(resources.requests, field=f"{field}.requests"),
    }


def _rounded(amount: Decimal) -> int:
    return int(min(max(amount, Decimal(0)), Decimal(_MOST)).to_integral_value(ROUND_CEILING))
