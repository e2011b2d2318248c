"""The overview: what needs attention, the node, its pods over time, the latest requests."""

from collections import Counter
from datetime import datetime
from typing import get_args

from app.core.quantity import parse_quantity
from app.kubernetes.status import Phase
from app.pods.queries import EventFilter
from app.runtimes import UsageLevel
from app.services import get_services
from app.web.responses import Response
from app.web.ui.chart import WINDOW, Usage, chart_times, usage_charts
from app.web.ui.page import blueprint, events_page, render
from app.web.ui.shown_time import PageQuery

_LATEST_EVENTS = 8
_MAX_PODS_OF_CHART = 1000
_MAX_NAMESPACES = 20


@blueprint.get("/")
def overview() -> Response:
    """Show the node: capacity, requested resources, pods, conditions, the latest requests."""
    at = PageQuery.from_request().moment
    services = get_services()
    phases: Counter[str] = Counter()
    namespaces: dict[str, Counter[str]] = {}
    for row in services.queries.phases(at):
        phases[row.phase] += row.pods
        namespaces.setdefault(row.namespace, Counter())[row.phase] += row.pods
    requested = services.queries.usage(at)
    capacity = services.runtime.capacity()
    return render(
        "overview.html",
        capacity=capacity,
        requested={
            "cpu": requested.cpu_millicores / 1000,
            "memory": requested.memory_bytes,
            "pods": requested.pods,
        },
        phases={phase: phases[phase] for phase in get_args(Phase)},
        namespaces=sorted(namespaces.items(), key=lambda item: (-item[1].total(), item[0]))[:_MAX_NAMESPACES],
        more_namespaces=max(len(namespaces) - _MAX_NAMESPACES, 0),
        max_pods_of_chart=_MAX_PODS_OF_CHART,
        usage=_node_usage(at, {name: float(parse_quantity(text)) for name, text in capacity.items()}),
        addresses=services.runtime.addresses(),
        conditions=services.node_conditions(),
        events=events_page(EventFilter(), at, limit=_LATEST_EVENTS)[0],
    )


def _node_usage(at: datetime | None, limits: dict[str, float]) -> Usage | None:
    """Return the usage of the pods of the node in the hour up to a time.

    Returns:
        None if the runtime does not report usage at past times, or if the pods are so many that the page would be
        late.
    """
    usage, end = get_services().usage, at or get_services().clock()
    if not usage.has_past or (pods := usage.count(end - WINDOW, end)) > _MAX_PODS_OF_CHART:
        return None
    times = chart_times(end - WINDOW, end, pods=pods)
    levels = [level or UsageLevel(0, 0) for level in usage.levels(times)]
    return usage_charts(times, levels, limits=limits)
