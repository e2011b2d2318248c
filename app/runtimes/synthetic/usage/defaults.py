"""The usage of containers without an annotation: a quantity, or a percentage of what the container requests."""

from decimal import Decimal
from typing import NamedTuple

from app.core.quantity import parse_amount_or_percentage
from app.kubernetes.pod import Container
from app.kubernetes.resources import effective_requests
from app.runtimes.synthetic.curves.parse import MAX_BYTES, MAX_CORES

_MOST = {"cpu": MAX_CORES, "memory": MAX_BYTES}
_LEAST = {"cpu": Decimal("0.001"), "memory": Decimal(2**20)}
"""The least usage by a percentage: clients take a container without usage for one that cannot be measured."""


class UsageDefaults(NamedTuple):
    """The settings `USAGE_CPU` and `USAGE_MEMORY`: each a quantity, or a percentage such as `10%`."""

    cpu: str = "10%"
    memory: str = "10%"

    def amount(self, resource: str, container: Container) -> float:
        """Return the usage of a container, in cores or bytes.

        A percentage is of the request, or of the limit where no request is set. It is at most what an annotation
        may ask for.
        """
        amount, is_percentage = parse_amount_or_percentage(self.cpu if resource == "cpu" else self.memory)
        if is_percentage:
            requested = effective_requests(container.resources, field="resources").get(resource, Decimal(0))
            amount = max(_LEAST[resource], amount / 100 * requested)
        return min(float(amount), _MOST[resource])
