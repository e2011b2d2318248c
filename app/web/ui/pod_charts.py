"""The charts of a pod: the CPU and memory that it uses, with what it requests and its limit."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from app.kubernetes.pod import Pod
from app.kubernetes.resources import pod_limits, pod_requests
from app.pods.history import PodRecord
from app.runtimes import UsageLevel
from app.services import get_services
from app.web.ui.chart import ChartTable, Line, format_rounded
from app.web.ui.shown_time import DEFAULT_WINDOW, ShownTime

_POINTS = 60
_MOST_HEADROOM = 4
"""A line is drawn unless it is more than so many times the peak; the line of the usage would be flat."""


def usage_times(start: datetime, end: datetime) -> list[datetime]:
    """Return the times of the points between two times, in whole seconds: 61, and fewer in less than a minute."""
    last = int(end.timestamp())
    span = max(last - math.ceil(start.timestamp()), 0)
    seconds = sorted({last - span * number // _POINTS for number in range(_POINTS + 1)})
    return [datetime.fromtimestamp(second, end.tzinfo) for second in seconds]


def usage_charts(
    times: Sequence[datetime],
    levels: Sequence[UsageLevel | None],
    *,
    requests: Mapping[str, float],
    limits: Mapping[str, float],
) -> list[ChartTable]:
    """Return the charts of the usage at times; None where no container was running.

    Args:
        requests: in cores and bytes, as `limits`; without what is not set.
    """
    cores = [level and level.nano_cores / 1e9 for level in levels]
    memory = [level and level.memory_bytes for level in levels]
    return [
        _chart("cpu", "CPU (cores)", times, cores, requests=requests, limits=limits),
        _chart("memory", "Memory", times, memory, requests=requests, limits=limits),
    ]


def charts_of(record: PodRecord, shown: ShownTime) -> list[ChartTable]:
    """Return the charts of a pod's usage in the range of the page, else in an hour, as far as the pod existed."""
    usage = get_services().usage
    end = min(shown.end, record.deleted_at or shown.end)
    start = max(shown.start or end - DEFAULT_WINDOW, record.created_at)
    if not usage.has_past or end < start:
        return []
    times = usage_times(start, end)
    spec = msgspec.json.decode(msgspec.json.encode(record.pod), type=Pod, strict=False).spec
    requested = pod_requests(spec)
    return usage_charts(
        times,
        usage.levels(times, uid=record.uid),
        requests={"cpu": requested.cpu_millicores / 1000, "memory": requested.memory_bytes},
        limits={name: float(amount) for name, amount in pod_limits(spec).items()},
    )


def _chart(
    resource: Literal["cpu", "memory"],
    title: str,
    times: Sequence[datetime],
    used: Sequence[float | None],
    *,
    requests: Mapping[str, float],
    limits: Mapping[str, float],
) -> ChartTable:
    known = [value for value in used if value is not None]
    lines, words = [Line("Used", "--healthy", used)], ["no container was running"]
    if known:
        words = [f"last {format_rounded(known[-1], resource)}", f"most {format_rounded(max(known), resource)}"]
    requested, limit = requests.get(resource), limits.get(resource)
    if requested == limit:
        requested = None  # of a pod that sets limits alone, which are then its requests
    for name, color, amount in (("Requested", "--completed", requested), ("Limit", "--failing", limit)):
        if amount:
            words.append(f"{name.lower()} {format_rounded(amount, resource)}")
            if amount <= _MOST_HEADROOM * max(known, default=amount):
                lines.append(Line(name, color, [amount] * len(times)))
    return ChartTable(
        f"chart-{resource}",
        title,
        ", ".join(words),
        "lines",
        resource,
        times,
        lines,
        True,
    )
