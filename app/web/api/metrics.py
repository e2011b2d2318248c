"""Metrics, for Prometheus. They name no pod, so the port for probes has them too."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from flask import Blueprint
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.core import metrics
from app.core.errors import DatabaseUnavailable
from app.core.quantity import parse_quantity
from app.kubernetes.status import Phase
from app.services import Services, get_services
from app.web.responses import Response

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def get_metrics() -> Response:
    """Give what all workers have counted, and what the node has now."""
    text = generate_latest(metrics.counted()) + generate_latest(_Node(get_services()))
    return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Node(Collector):
    """What a node has is not counted as it changes: it is asked for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily]:
        capacity = GaugeMetricFamily("provider_node_capacity", "What the node has.", labels=["resource"])
        for resource, quantity in self._services.runtime.capacity().items():
            capacity.add_metric([resource], float(parse_quantity(quantity)))
        yield capacity
        pods = GaugeMetricFamily("provider_pods", "Live pods; none without the database.", labels=["phase"])
        try:
            rows = self._services.queries.phases()
        except DatabaseUnavailable:
            return
        found: Counter[str] = Counter()
        for row in rows:
            found[row.phase] += row.pods
        for phase in get_args(Phase):
            pods.add_metric([phase], found[phase])
        yield pods
