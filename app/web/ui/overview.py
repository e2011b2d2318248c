"""The overview: what needs attention, charts of the pods over time, capacity, namespaces, the latest requests."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from app.audit.service import AuditFilter
from app.core.quantity import parse_quantity
from app.pods.samples import HEALTHS, Sample
from app.pods.series import Series
from app.runtimes import UsageLevel
from app.services import get_services
from app.web.responses import Response
from app.web.ui.conditions import node_condition_health
from app.web.ui.overview_charts import LABELS, overview_charts
from app.web.ui.page import blueprint, events_page, render
from app.web.ui.shown_time import PageQuery

_LATEST_EVENTS = 8
_MAX_PODS_OF_USAGE = 1000
"""The usage over time is computed pod by pod."""
_PODS_AT_ALL_POINTS = 250
"""With more pods, the usage is computed for fewer points of a chart."""
_MAX_NAMESPACES = 12
_MAX_NODES = 12


class Namespace(NamedTuple):
    """The pods of a namespace by health."""

    name: str
    pods: Counter[str]

    def parts(self) -> Iterator[tuple[str, float, float]]:
        """Yield the health, the left edge and the width of each part of its bar, in percent."""
        x = 0.0
        for health in HEALTHS:
            width = 100 * self.pods[health] / self.pods.total()
            if width:
                yield health, round(x, 3), round(width, 3)
            x += width


@blueprint.get("/")
def overview() -> Response:
    """Show the node: what needs attention, its pods over time, capacity, namespaces, the latest requests."""
    query = PageQuery.from_request()
    services, at = get_services(), query.shown.at
    start, end = query.shown.window
    is_fleet = services.queries.has_several_nodes()
    counts = services.series.counts(at, nodes=_MAX_NODES + 1 if is_fleet else 0)
    sample = counts.sample
    series = services.series.between(start, end, last=sample)
    capacity = services.node.capacity()
    limits = {name: float(parse_quantity(text)) for name, text in capacity.items()}
    namespaces: dict[str, Counter[str]] = {}
    for row in counts.namespaces:
        namespaces.setdefault(row.namespace, Counter())[row.health] += row.pods
    largest = sorted(namespaces.items(), key=lambda item: (-item[1].total(), item[0]))
    return render(
        "overview.html",
        groups=services.attention.groups(at),
        refused=services.attention.refused(start, end),
        healths=HEALTHS,
        labels=LABELS,
        sample=sample,
        is_complete=series.is_complete,
        # The broker knows how many nodes there are and what each of them has.
        charts=overview_charts(series, used=_used(series, sample, start, end), limits={} if is_fleet else limits),
        is_fleet=is_fleet,
        nodes=counts.nodes[:_MAX_NODES],
        has_more_nodes=len(counts.nodes) > _MAX_NODES,
        has_past_usage=services.usage.has_past,
        capacity=capacity,
        limits=limits,
        requested={
            "cpu": sample.cpu_millicores / 1000,
            "memory": sample.memory_bytes,
            "pods": sample.active,
        },
        namespaces=[Namespace(*item) for item in largest[:_MAX_NAMESPACES]],
        more_namespaces=max(len(namespaces) - _MAX_NAMESPACES, 0),
        addresses=services.node.addresses(),
        conditions=services.node.conditions(),
        condition_health=node_condition_health,
        events=events_page(AuditFilter(), at, limit=_LATEST_EVENTS)[0],
    )


def _used(series: Series, sample: Sample, start: datetime, end: datetime) -> dict[datetime, UsageLevel]:
    """Return the usage of all pods at the times of a chart; empty where it is unknown or the pods are too many."""
    usage = get_services().usage
    if not usage.has_past or sum(sample.pods.values()) > _MAX_PODS_OF_USAGE:
        return {}
    pods = usage.count(start, end)
    if pods > _MAX_PODS_OF_USAGE:
        return {}
    stride = 1 + pods // _PODS_AT_ALL_POINTS
    times = [point.time for point in series.points[::-stride]][::-1]
    levels = usage.levels([time.replace(microsecond=0) for time in times])
    return {time: level for time, level in zip(times, levels, strict=True) if level}
