"""When the pods of a controller were ready, from the statuses on record."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby, pairwise

from sqlalchemy import Connection, bindparam, func, or_, select
from sqlalchemy.orm import aliased

from app.db.models import Pod, PodStatus, UtcDateTime
from app.db.statement import Row
from app.runtimes.usage import Interval, ReadyHistory

_IS_READY = '"type":"Ready","status":"True"'
"""Within the JSON of a status whose condition Ready is True."""
_AT = bindparam("at", type_=UtcDateTime())
_SINCE = bindparam("since", type_=UtcDateTime())
_sibling = aliased(Pod)
_OLDEST_START = (
    select(_sibling.controller_uid, func.min(_sibling.created_at).label("at"))
    .where(
        _sibling.fleet == bindparam("fleet"),
        _sibling.controller_uid.in_(bindparam("controllers", expanding=True)),
        or_(_sibling.deleted_at.is_(None), _sibling.deleted_at > _AT),
    )
    .group_by(_sibling.controller_uid)
    .subquery()
)
_GROUP = func.coalesce(Pod.controller_uid, Pod.uid)
_SELECT_STATUSES = (
    select(
        _GROUP.label("controller"), Pod.uid, Pod.deletion_requested_at, Pod.deleted_at, PodStatus.effective_at,
        PodStatus.left_at, PodStatus.status.contains(_IS_READY).label("is_ready"),
    )
    .join(PodStatus)
    .outerjoin(_OLDEST_START, Pod.controller_uid == _OLDEST_START.c.controller_uid)
    .where(
        Pod.fleet == bindparam("fleet"),
        or_(
            Pod.controller_uid.in_(bindparam("controllers", expanding=True)),
            Pod.uid.in_(bindparam("controllers", expanding=True)),
        ),
        or_(Pod.deleted_at.is_(None), Pod.deleted_at > _OLDEST_START.c.at, Pod.deleted_at > _SINCE),
        PodStatus.effective_at <= _AT,
    )
    .order_by(_GROUP, Pod.id, PodStatus.effective_at)
)  # fmt: skip


def read_histories(
    connection: Connection,
    controllers: Iterable[str],
    *,
    fleet: str,
    at: datetime,
    since: datetime | None = None,
) -> dict[str, ReadyHistory]:
    """Return the history of each controller, up to a time: its UID → history.

    A pod without a controller has a history of its own, under its UID. Statuses that were pruned are missing.

    Args:
        at: the end of the histories.
        since: the earliest time that is asked for; None if only pods that exist at the end are.
    """
    key = {"fleet": fleet, "controllers": list(controllers), "at": at, "since": since or at}
    rows = connection.execute(_SELECT_STATUSES, key).all()
    return {
        controller: ReadyHistory({
            uid: list(_ready(list(of_pod), at=at)) for uid, of_pod in groupby(pods, lambda row: row.uid)
        })
        for controller, pods in groupby(rows, lambda row: row.controller)
    }  # fmt: skip


def _ready(rows: Sequence[Row], *, at: datetime) -> Iterable[Interval]:
    """Yield when a pod was ready, from its statuses in order."""
    for row, following in pairwise((*rows, None)):
        if not row.is_ready:
            continue
        ends = [at, following and following.effective_at, row.left_at, row.deletion_requested_at, row.deleted_at]
        end = min(time for time in ends if time)
        if row.effective_at < end:
            yield Interval(row.effective_at, end)
