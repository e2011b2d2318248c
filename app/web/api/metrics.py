"""Metrics for Prometheus. They name no pod, and are therefore served on HEALTH_PORT as well, without a token."""

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
    """Return the counters of all workers, and the capacity and pods of the node as of now."""
    text = generate_latest(metrics.counted()) + generate_latest(_NodeCollector(get_services()))
    return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _NodeCollector(Collector):
    """Read the gauges of the node on each scrape: no worker alone sees every change."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield capacity and pods; no pods where the database cannot be reached."""
        capacity = GaugeMetricFamily("provider_node_capacity", "Capacity of the node.", labels=["resource"])
        for resource, quantity in self._services.node.capacity().items():
            capacity.add_metric([resource], float(parse_quantity(quantity)))
        yield capacity
        pods = GaugeMetricFamily(
            "provider_pods", "Live pods; absent while the database cannot be reached.", labels=["phase"]
        )
        try:
            by_phase = self._services.queries.phases()
        except DatabaseUnavailable:
            return
        for phase in get_args(Phase):
            pods.add_metric([phase], by_phase.get(phase, 0))
        yield pods
