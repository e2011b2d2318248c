"""The charts of the overview."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from app.pods.attention import Health
from app.pods.samples import HEALTHS
from app.pods.series import Series
from app.runtimes import UsageLevel
from app.web.ui.chart import ChartTable, Line
from app.web.ui.formats import span

LABELS: Mapping[Health, str] = {
    "failing": "Failing",
    "progressing": "In progress",
    "healthy": "Healthy",
    "completed": "Completed",
    "unknown": "Unknown",
}
"""The names of healths."""


def overview_charts(
    series: Series, *, used: Mapping[datetime, UsageLevel], limits: Mapping[str, float]
) -> list[ChartTable]:
    """Return the charts of the pods over time.

    Args:
        used: the usage of all pods at some of the times.
        limits: the capacity of the node, in cores and bytes; empty where there are several nodes.
    """
    times = [point.time for point in series.points]
    samples = [point.sample for point in series.points]
    intervals = [point.interval for point in series.points]
    minutes = series.step / timedelta(minutes=1)
    per = "a minute" if minutes == 1 else f"in {span(series.step)}"
    health = [
        Line(LABELS[name], f"--{name}", [sample and sample.pods[name] for sample in samples]) for name in HEALTHS
    ]
    levels = [used.get(time) for time in times]
    return [
        ChartTable(
            "chart-pods", "Pods by health", "stacked", "stack", "pods", times,
            [line for line in health if any(line.values)] or health[2:3],
        ),
        ChartTable(
            "chart-changes", f"Created and deleted {per}", "pods", "bars", "pods", times,
            [
                Line("Created", "--healthy", [interval.created for interval in intervals]),
                Line("Deleted", "--failing", [interval.deleted for interval in intervals]),
            ],
        ),
        _resource(
            "cpu", "CPU (cores)", times, limits,
            requested=[sample and sample.cpu_millicores / 1000 for sample in samples],
            used=[level and level.nano_cores / 1e9 for level in levels],
        ),
        _resource(
            "memory", "Memory", times, limits,
            requested=[sample and sample.memory_bytes for sample in samples],
            used=[level and level.memory_bytes for level in levels],
        ),
        ChartTable(
            "chart-ready", "Time to Ready", "of pods by their creation", "lines", "seconds", times,
            [
                Line("p50", "--completed", [interval.ready_p50 for interval in intervals]),
                Line("p99", "--progressing", [interval.ready_p99 for interval in intervals]),
            ],
        ),
    ]  # fmt: skip


def _resource(
    name: Literal["cpu", "memory"],
    title: str,
    times: Sequence[datetime],
    limits: Mapping[str, float],
    *,
    requested: Sequence[float | None],
    used: Sequence[float | None],
) -> ChartTable:
    lines = [Line("Requested", "--completed", requested)]
    if any(value is not None for value in used):
        lines.append(Line("Used", "--healthy", used))
    if name in limits:
        lines.append(Line("Capacity", "--unknown", [limits[name]] * len(times)))
    summary = ", ".join(line.name.lower() for line in lines)
    return ChartTable(f"chart-{name}", title, summary, "lines", name, times, lines)
