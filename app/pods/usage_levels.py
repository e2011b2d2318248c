"""The usage of pods at several times, from the statuses that held at these times."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, func, or_, select, type_coerce
from sqlalchemy.orm import aliased
from sqlalchemy.types import NullType

from app.db.models import Pod, PodStatus
from app.db.statement import Row
from app.runtimes import PodUsage, ReadyHistory, RunningContainer, UsageLevel

RUNNING_PHASES = ("Pending", "Running")
"""The phases of a pod that may have a running container."""
VERSION = type_coerce(Pod.updated_at, NullType()).label("version")
"""The time of a pod's last change, as the driver returns it: it is only compared, and converting is a fifth of a
request for the usage of all pods."""


def statuses_between(start: datetime, end: datetime) -> Select[*tuple[Any, ...]]:
    """Return the query for the statuses that held at some time between two, in order of pod and time.

    Its parameter is `fleet`.
    """
    earlier = aliased(PodStatus)
    at_start = (
        select(func.max(earlier.effective_at))
        .where(earlier.pod_id == Pod.id, earlier.effective_at <= start)
        .correlate(Pod)
        .scalar_subquery()
    )
    return (
        select(
            Pod.id, VERSION, Pod.uid, Pod.deleted_at,
            PodStatus.phase, PodStatus.status, PodStatus.effective_at, PodStatus.left_at,
        )
        .join(PodStatus)
        .where(
            Pod.fleet == bindparam("fleet"),
            Pod.starts_at.is_not(None),
            or_(Pod.deleted_at.is_(None), Pod.deleted_at > start),
            PodStatus.effective_at <= end,
            PodStatus.effective_at >= func.coalesce(at_start, PodStatus.effective_at),
        )
        .order_by(Pod.id, PodStatus.effective_at)
    )  # fmt: skip


def count_between(start: datetime, end: datetime) -> Select[int]:
    """Return the query for the number of pods that existed at some time between two, with the same parameter."""
    return (
        select(func.count())
        .select_from(Pod)
        .where(
            Pod.fleet == bindparam("fleet"),
            Pod.created_at <= end,
            or_(Pod.deleted_at.is_(None), Pod.deleted_at > start),
        )
    )


class LevelSums:
    """Adds up the usage of pods at each of several times.

    Attributes:
        levels: the usage at each time; None while no container is running.
    """

    def __init__(self, times: Sequence[datetime]) -> None:
        self._times = times
        self.levels: list[UsageLevel | None] = [None] * len(times)

    def during(self, row: Row, following: Row | None) -> range:
        """Return the indexes of the times at which a status held; none if it has no running container.

        Args:
            row: a row of :func:`statuses_between`.
            following: the next row, of the same pod or of another.
        """
        if row.phase not in RUNNING_PHASES:
            return range(0)
        ends = [
            row.left_at,
            row.deleted_at,
            following.effective_at if following and following.id == row.id else None,
        ]
        first = bisect_left(self._times, row.effective_at)
        known = [end for end in ends if end]
        return range(first, bisect_left(self._times, min(known)) if known else len(self._times))

    def add(
        self,
        usage: PodUsage,
        running: Sequence[RunningContainer],
        during: range,
        history: ReadyHistory | None,
    ) -> None:
        """Add the usage of a pod at the times at which these containers ran."""
        if not running:
            return
        times = self._times[during.start : during.stop]
        for index, level in zip(during, usage.levels(running, times, history=history), strict=True):
            before = self.levels[index]
            self.levels[index] = (
                level
                if before is None
                else UsageLevel(before.nano_cores + level.nano_cores, before.memory_bytes + level.memory_bytes)
            )
