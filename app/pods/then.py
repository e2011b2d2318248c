"""The pods as they were at a time: conditions of a query over pods, joined with their statuses."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import aliased

from app.db.models import Pod, PodStatus


def status_at(at: datetime, *, or_written: bool = False) -> ColumnElement[bool]:
    """Pick the last status of a pod that holds from a time not later than the given one.

    Args:
        or_written: also from when the pod was written: a writer whose clock is ahead of the reader's must not hide
            what it has just written.
    """
    earlier = aliased(PodStatus)
    has_come = earlier.effective_at <= at
    if or_written:
        has_come = or_(has_come, earlier.effective_at <= Pod.updated_at)
    last = select(func.max(earlier.effective_at)).where(earlier.pod_id == Pod.id, has_come)
    return PodStatus.effective_at == last.correlate(Pod).scalar_subquery()


def existed_at(at: datetime) -> ColumnElement[bool]:
    """Leave out who had gone by then, for good or to come back later."""
    return and_(
        or_(Pod.deleted_at.is_(None), Pod.deleted_at > at),
        or_(PodStatus.left_at.is_(None), PodStatus.left_at > at),
    )
