"""The quality-of-service class of a pod.

Source: `ComputePodQOS` in `k8s.io/kubernetes/pkg/apis/core/v1/helper/qos`. Only cpu and memory count, and
only where more than zero; init containers count as containers do; resources of the pod itself, where
given, take the place of its containers'.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

from app.errors import InvalidRequest
from app.lifecycle.manifest import PodSpec, ResourceRequirements, Resources
from app.lifecycle.quantity import parse_quantity

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
        yield _of(spec.resources, field="spec.resources")
        return
    for kind, containers in (("containers", spec.containers), ("initContainers", spec.init_containers or ())):
        for index, container in enumerate(containers):
            yield _of(container.resources, field=f"spec.{kind}[{index}].resources")


def _of(
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
