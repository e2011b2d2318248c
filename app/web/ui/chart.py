"""The charts of CPU and memory as the dashboard draws them: an hour, or less for a younger pod.

A chart is drawn in a square of 100 by 100 units that is stretched to its place; its labels are text beside it.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from app.core.quantity import BINARY_SUFFIXES
from app.runtimes import UsageLevel

WINDOW = timedelta(hours=1)
_POINTS = 60
_FEWEST_POINTS = 12
_PODS_AT_ALL_POINTS = 250
_MOST_HEADROOM = 4
"""A limit is drawn unless it is more than so many times the peak; the line of the usage would be flat."""


class UsagePoint(NamedTuple):
    """The usage at a time, for the table; None while no container was running."""

    time: datetime
    cores: float | None
    bytes: float | None


class Chart(NamedTuple):
    """The usage of one resource.

    Attributes:
        resource: `cpu` or `memory`.
        line: the path of the usage.
        area: the path of the area below it.
        top: the amount at the upper edge.
        limit: in the unit of the resource; None without one.
        limit_y: the height of its line; None where it is not drawn.
        latest: the last known usage; None if no container ran.
        peak: the largest usage.
    """

    resource: str
    line: str
    area: str
    top: float
    limit: float | None
    limit_y: float | None
    latest: float | None
    peak: float

    @property
    def name(self) -> str:
        """The name of the resource, with its unit."""
        return "CPU (cores)" if self.resource == "cpu" else "Memory (bytes)"


class Usage(NamedTuple):
    """The charts of a page, and their values."""

    charts: list[Chart]
    points: list[UsagePoint]

    @property
    def start(self) -> datetime:
        """The time at the left edge."""
        return self.points[0].time

    @property
    def middle(self) -> datetime:
        """The time in the middle."""
        return self.start + (self.end - self.start) / 2

    @property
    def end(self) -> datetime:
        """The time at the right edge."""
        return self.points[-1].time

    @property
    def step(self) -> timedelta:
        """The time from one point to the next."""
        return self.points[1].time - self.start if len(self.points) > 1 else timedelta(0)


def chart_times(start: datetime, end: datetime, *, pods: int = 1) -> list[datetime]:
    """Return the times of the points of a chart, in whole seconds: 61, and fewer for many pods.

    Args:
        pods: the number of pods; 500 make 31 points, 5,000 make 13.
    """
    count = max(min(_POINTS, _POINTS * _PODS_AT_ALL_POINTS // max(pods, 1)), _FEWEST_POINTS)
    last = int(end.timestamp())
    span = max(last - math.ceil(start.timestamp()), 0)
    seconds = sorted({last - span * number // count for number in range(count + 1)})
    return [datetime.fromtimestamp(second, end.tzinfo) for second in seconds]


def usage_charts(
    times: Sequence[datetime], levels: Sequence[UsageLevel | None], *, limits: dict[str, float]
) -> Usage:
    """Return the charts of the usage at times; `limits` are in cores and bytes."""
    points = [
        UsagePoint(time, level.nano_cores / 1e9, level.memory_bytes) if level else UsagePoint(time, None, None)
        for time, level in zip(times, levels, strict=True)
    ]
    return Usage(
        [
            _chart("cpu", times, [point.cores for point in points], limits.get("cpu")),
            _chart("memory", times, [point.bytes for point in points], limits.get("memory")),
        ],
        points,
    )


def format_usage(value: float, resource: str) -> str:
    """Format an amount as `kubectl top` does, but larger ones in cores, to three digits.

    >>> format_usage(0.0005, "cpu"), format_usage(0.41566, "cpu"), format_usage(12.5, "cpu")
    ('0.5m', '416m', '12.5')
    >>> format_usage(1.5 * 2**30, "memory"), format_usage(226.74 * 2**20, "memory")
    ('1.5Gi', '227Mi')
    """
    suffix = "m" if resource == "cpu" and 0 < value < 1 else ""
    value = value * 1000 if suffix else value
    while resource == "memory" and abs(value) >= 1024 and suffix != BINARY_SUFFIXES[-1]:
        value, suffix = value / 1024, BINARY_SUFFIXES[BINARY_SUFFIXES.index(suffix) + 1]
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if decimals else text) + suffix


def _chart(resource: str, times: Sequence[datetime], values: Sequence[float | None], limit: float | None) -> Chart:
    known = [value for value in values if value is not None]
    peak = max(known, default=0.0)
    is_drawn = limit is not None and (not peak or limit <= _MOST_HEADROOM * peak)
    top = _round_up(max(peak, limit or 0.0) if is_drawn else peak, resource)
    span = (times[-1] - times[0]).total_seconds() or 1.0
    runs = list(_runs([
        (round(100 * (time - times[0]).total_seconds() / span, 2), value if value is None else _height(value, top))
        for time, value in zip(times, values, strict=True)
    ]))  # fmt: skip
    lines = ["M" + "L".join(f"{x:g} {y:g}" for x, y in (run if len(run) > 1 else run * 2)) for run in runs]
    return Chart(
        resource,
        line="".join(lines),
        area="".join(
            f"{line}L{run[-1][0]:g} 100L{run[0][0]:g} 100Z" for line, run in zip(lines, runs, strict=True)
        ),
        top=top,
        limit=limit,
        limit_y=_height(limit, top) if limit is not None and is_drawn else None,
        latest=known[-1] if known else None,
        peak=peak,
    )


def _runs(points: Sequence[tuple[float, float | None]]) -> Iterator[list[tuple[float, float]]]:
    """Yield the points between two gaps."""
    run: list[tuple[float, float]] = []
    for x, y in points:
        if y is not None:
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _height(value: float, top: float) -> float:
    """Return the distance of a value from the upper edge."""
    return round(100 * (1 - value / top), 2)


def _round_up(value: float, resource: str) -> float:
    """Return the least round number that is not below a value; its half is round, too.

    >>> _round_up(0.23, "cpu"), _round_up(3, "cpu"), _round_up(65 * 2**20, "memory") / 2**20
    (0.5, 4.0, 96.0)
    """
    if value <= 0:
        return 1.0 if resource == "cpu" else 2.0**20
    if resource == "cpu":
        unit = 10.0 ** math.floor(math.log10(value) + 1e-9)
        factors: tuple[float, ...] = (1, 2, 4, 5, 10)
    else:
        unit = 2.0 ** math.floor(math.log2(value))
        factors = (1, 1.5, 2)
    return next((unit * factor for factor in factors if unit * factor >= value * (1 - 1e-9)), unit * factors[-1])
