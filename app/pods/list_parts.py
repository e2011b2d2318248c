"""The pods at a time in parts, each with the table that has the columns of their statuses.

The problem: to find the status of each of 50,000 pods at a past time takes as many searches in an index.

The rule: `pods` has a copy of the columns of the status that was published last, and `status_at`, from which it
holds; see `app.pods.list_columns`. The pods at a past time T are therefore those of three parts:

1. Live pods with `status_at <= T`. Their status has not changed since, so the copy is that of T.
2. Live pods with a later `status_at`, each joined with its status at T. Left out are those that were created
   later, unless they were created again with the same UID, which `left_at` of a status tells.
3. Pods that were deleted after T, joined as well.

An example: at 10:00, a list of 09:30 reads the copy of each pod that has been running for an hour, and searches
for the statuses of those that were restarted or created since. At present, there is part 1 alone, without a time.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, func, or_, select

from app.db.models import Pod, PodStatus
from app.pods.queries import existed_at, status_at

Source = type[Pod] | type[PodStatus]
"""The table with the columns of a status."""


class Part(NamedTuple):
    """Some of the pods at a time.

    Attributes:
        source: the table with the columns of their statuses.
        query: a query for them.
    """

    source: Source
    query: Select[Any]

    def select(self, *columns: Any) -> Select[Any]:
        """Return the query with other columns, which are those of `Pod` and of the source."""
        return self.query.with_only_columns(*columns, maintain_column_froms=True)

    @property
    def status_groups(self) -> tuple[Any, ...]:
        """The columns on which STATUS depends, after the namespace.

        Counts group by these, or by :attr:`health_groups`, and add up the few groups: `ix_pods_list` has them in
        this order, so that SQLite counts without sorting.
        """
        return (Pod.namespace, self.source.phase, self.source.reason, Pod.deletion_requested_at)

    @property
    def health_groups(self) -> tuple[Any, ...]:
        """The columns on which health depends, after the namespace."""
        return (*self.status_groups, self.source.ready_containers, self.source.containers)


def pods_in_parts(fleet: str, at: datetime | None, *, now: datetime) -> Sequence[Part]:
    """Return the parts of the pods of a fleet at a time; None for the present."""
    of_fleet = Pod.fleet == fleet
    live = Pod.deleted_at.is_(None)
    pods = select(Pod.id).select_from(Pod)
    if at is None:
        return [Part(Pod, pods.where(of_fleet, live))]
    joined = pods.join(PodStatus).where(status_at(at), existed_at(at))
    gone = Part(PodStatus, joined.where(of_fleet, Pod.deleted_at > at))
    if at > now:  # statuses up to then have not been published
        return [Part(PodStatus, joined.where(of_fleet, live)), gone]
    created_again = select(PodStatus.pod_id).where(PodStatus.left_at > at)
    existed = or_(Pod.created_at <= at, Pod.id.in_(created_again))
    changed = select(Pod.id).where(of_fleet, live, Pod.status_at > at, existed).correlate(None)
    # SQLite would follow an index of the plain column, and read the row of each pod.
    unchanged = func.coalesce(Pod.status_at, at) <= at
    return [
        Part(Pod, pods.where(of_fleet, live, unchanged)),
        Part(PodStatus, joined.where(Pod.id.in_(changed))),
        gone,
    ]
