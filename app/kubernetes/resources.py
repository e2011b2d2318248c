"""Compute a pod's quality-of-service class, and its cpu and memory requests as the scheduler counts them.

The class: only amounts greater than zero count, and init containers count like containers. Source:
`ComputePodQOS` in `k8s.io/kubernetes/pkg/apis/core/v1/helper/qos`.

The requests: init containers run one after another, so the largest of them counts, together with the sidecars that
were started before it. Containers and sidecars run at the same time, so their sum counts. The larger of the two is
the request; the overhead is added. A limit is the default of a missing request, as in the API server. Source:
`PodRequests` in `k8s.io/component-helpers/resource`.

In both, pod-level resources replace those of the containers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Literal, NamedTuple

from app.core.errors import InvalidRequest
from app.core.quantity import parse_quantity
from app.kubernetes.pod import PodSpec, ResourceRequirements, Resources
from app.kubernetes.status import ResourceStatus

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]

_COMPUTE = ("cpu", "memory")
_MAX_AMOUNT = Decimal(2**50)
"""More than any node has, and small enough that the sum of many pods fits into a database's integer."""


def qos_class(spec: PodSpec) -> QosClass:
    """Return the quality-of-service class of a pod.

    * Guaranteed: every container has cpu and memory limits, and its requests equal them. A missing request
      equals the limit, as in the API server's defaulting; a request of zero does not.
    * BestEffort: no container has a request or a limit.
    * Burstable: everything else.

    Raises:
        InvalidRequest: a request or limit is not a quantity.
    """
    requirements = _requirements(spec)
    if not any(amount > 0 for pair in requirements for amounts in pair for amount in amounts.values()):
        return "BestEffort"
    if all(
        all(limits.get(name, 0) > 0 for name in _COMPUTE) and {**limits, **requests} == limits
        for requests, limits in requirements
    ):
        return "Guaranteed"
    return "Burstable"


def _requirements(spec: PodSpec) -> Sequence[tuple[Mapping[str, Decimal], Mapping[str, Decimal]]]:
    of_containers = [
        _requirements_of(container.resources, field=f"spec.{kind}[{index}].resources")
        for kind, containers in (("containers", spec.containers), ("initContainers", spec.init_containers or ()))
        for index, container in enumerate(containers)
    ]
    if spec.resources and (spec.resources.requests or spec.resources.limits):
        return [_requirements_of(spec.resources, field="spec.resources")]
    return of_containers


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
    """Parse the cpu and memory of a map, resource → quantity; a resource that is missing is omitted.

    A negative amount, which the API server refuses, is 0, and an immense one is that of `_MAX_AMOUNT`.

    Raises:
        InvalidRequest: an amount is not a quantity; the message names it within `field`.
    """
    return _amounts(resources.get("cpu"), resources.get("memory"), field) if resources else {}


_Quantity = str | int | float | None


@lru_cache(maxsize=1024)  # most containers have the same few
def _amounts(cpu: _Quantity, memory: _Quantity, field: str) -> Mapping[str, Decimal]:
    found = {}
    for name, quantity in (("cpu", cpu), ("memory", memory)):
        if quantity is not None:
            try:
                found[name] = min(max(parse_quantity(str(quantity)), Decimal(0)), _MAX_AMOUNT)
            except ValueError as exc:
                raise InvalidRequest(str(exc), field=f"{field}.{name}") from exc
    return found


_Amounts = Mapping[str, Decimal]


def resource_status(resources: ResourceRequirements | None) -> ResourceStatus | None:
    """Return the requests and limits of a container or a pod for its status; None if it has none."""
    if resources is None or not (resources.requests or resources.limits):
        return None
    return ResourceStatus(limits=_as_text(resources.limits), requests=_as_text(resources.requests))


def _as_text(amounts: Resources | None) -> dict[str, str] | None:
    return {name: str(quantity) for name, quantity in amounts.items()} if amounts else None


class ResourceRequests(NamedTuple):
    """The requests of a pod, rounded up to whole numbers as the scheduler does."""

    cpu_millicores: int
    memory_bytes: int


def pod_requests(spec: PodSpec) -> ResourceRequests:
    """Return the total requests of a pod.

    Ephemeral containers request nothing; their amounts are only checked, because runtimes read them.

    Raises:
        InvalidRequest: an amount is not a quantity; the message names its field.
    """
    containers = list(container_requests(spec, effective_requests))
    overhead = amounts(spec.overhead, field="spec.overhead")
    whole = spec.resources or ResourceRequirements()
    requested = amounts(whole.requests, field="spec.resources.requests")
    limits = amounts(whole.limits, field="spec.resources.limits")

    def total(name: str) -> Decimal:
        of_containers = peak_request(name, containers) or limits.get(name, Decimal(0))
        return requested.get(name, of_containers) + overhead.get(name, Decimal(0))

    return ResourceRequests(cpu_millicores=_rounded(total("cpu") * 1000), memory_bytes=_rounded(total("memory")))


def pod_limits(spec: PodSpec) -> Mapping[str, Decimal]:
    """Return the limits of a pod, without resources that a container may use without a limit.

    Raises:
        InvalidRequest: an amount is not a quantity; the message names its field.
    """
    whole = amounts(spec.resources.limits if spec.resources else None, field="spec.resources.limits")
    sidecars = [container for container in spec.init_containers or () if container.restart_policy == "Always"]
    found = [
        amounts(container.resources.limits if container.resources else None, field="resources.limits")
        for container in (*spec.containers, *sidecars)
    ]
    return {
        name: whole.get(name) or sum((limits[name] for limits in found), Decimal(0))
        for name in _COMPUTE
        if name in whole or all(limits.get(name) for limits in found)
    }


class ContainerRequests(NamedTuple):
    """The requests of a container, and whether it is an init container that ends before the next one starts."""

    amounts: _Amounts
    runs_alone: bool = False


def container_requests(spec: PodSpec, read: Callable[..., _Amounts]) -> Iterator[ContainerRequests]:
    """Yield the requests of the containers in the order of their start, as `read` reads them.

    It is called for ephemeral containers too, which request nothing.
    """
    for index, container in enumerate(spec.init_containers or ()):
        found = read(container.resources, field=f"spec.initContainers[{index}].resources")
        yield ContainerRequests(found, runs_alone=container.restart_policy != "Always")
    for index, container in enumerate(spec.containers):
        yield ContainerRequests(read(container.resources, field=f"spec.containers[{index}].resources"))
    for index, container in enumerate(spec.ephemeral_containers or ()):
        read(container.resources, field=f"spec.ephemeralContainers[{index}].resources")


def peak_request(name: str, containers: Sequence[ContainerRequests]) -> Decimal:
    """Return the most of a resource that containers request at a time; they are in the order of their start."""
    largest = together = Decimal(0)
    for container in containers:
        amount = container.amounts.get(name, Decimal(0))
        if container.runs_alone:
            largest = max(largest, together + amount)
        else:
            together += amount
    return max(largest, together)


def effective_requests(resources: ResourceRequirements | None, *, field: str) -> _Amounts:
    """Return the cpu and memory requests of a container; a limit is the default of a missing request.

    Raises:
        InvalidRequest: an amount is not a quantity; the message names it within `field`.
    """
    if resources is None:
        return {}
    limits, requests = resources.limits or {}, resources.requests or {}
    return _effective_requests(
        (limits.get("cpu"), limits.get("memory")), (requests.get("cpu"), requests.get("memory")), field
    )


@lru_cache(maxsize=1024)
def _effective_requests(
    limits: tuple[_Quantity, _Quantity], requests: tuple[_Quantity, _Quantity], field: str
) -> _Amounts:
    return {**_amounts(*limits, f"{field}.limits"), **_amounts(*requests, f"{field}.requests")}


def _rounded(amount: Decimal) -> int:
    return int(min(amount, _MAX_AMOUNT).to_integral_value(ROUND_CEILING))
