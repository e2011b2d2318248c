"""Remove a deleted pod when its containers have ended, and start the pod that waits for its name.

A delete request begins a deletion: the runtime ends the containers within the grace period, and the pod exists
until they have ended. A status is stored with the time from which it holds. The end of a simulated pod is
therefore stored at once and may be in the future; that of a process is stored when it is observed. The rule is the
same for both: a pod whose deletion was requested is gone from its terminal status on. No timer removes it:
`continues_at` holds the time of an end that is known, and the next read or write removes the pod first.

A name belongs to one pod at a time. A pod that is created while another UID of its name is ending waits: it is
Pending, and the runtime does not start it. The transaction that removes the other pod starts it. Example: `db-0`
is deleted at 10:00:00 and ends at 10:00:15; a new `db-0` that is created at 10:00:01 is Pending until 10:00:15.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from app.core.errors import InvalidRequest
from app.db.statement import Row
from app.kubernetes.status import PodStatus, Transition
from app.pods.accepted import accepted_pod
from app.pods.rows import FOREVER, last_transition
from app.pods.transaction import FleetTransaction
from app.runtimes import AcceptedPod, Runtime
from app.runtimes.base import Timeline
from app.runtimes.observed import Observation, build_observed_status, build_problem_status

log = structlog.get_logger("app")


class Ended(NamedTuple):
    """The outcome of :func:`end`.

    Attributes:
        is_gone: whether the pod was removed.
        started: the pod that has waited for its name and was started, if any.
    """

    is_gone: bool
    started: Sequence[AcceptedPod] = ()


def is_ending(row: Row) -> bool:
    """Return whether the deletion of a pod was requested and it is not gone."""
    return row.deletion_requested_at is not None and row.deleted_at is None


def end(
    transaction: FleetTransaction,
    runtime: Runtime,
    row: Row,
    *,
    last: Transition,
    continues_at: datetime | None,
    now: datetime,
) -> Ended:
    """Store the progress of a deletion: remove the pod if its containers have ended.

    Args:
        row: the pod; its `deletion_requested_at` and `grace_ends_at` are stored as well.
        last: the last status that is stored.
        continues_at: the time from which the runtime knows more; None if its timeline is complete.
        now: the time of this change.
    """
    ends_at = max(last.effective_at, row.deletion_requested_at)
    if continues_at and not last.status.is_terminal:
        transaction.update_pod(row, continues_at=continues_at)
        return Ended(is_gone=False)
    if ends_at > now:
        transaction.update_pod(row, continues_at=ends_at)
        return Ended(is_gone=False)
    others = transaction.rows.named(row.namespace, row.name)
    waiting = next((pod for pod in others if pod.starts_at is None and pod.id != row.id), None)
    transaction.update_pod(
        row, updated_at=max(row.updated_at, ends_at), deleted_at=ends_at, continues_at=continues_at
    )
    if waiting is None:
        return Ended(is_gone=True)
    return Ended(is_gone=True, started=[_start(transaction, runtime, waiting, at=ends_at)])


def waiting_status(pod: AcceptedPod, *, at: datetime, previous: PodStatus | None = None) -> PodStatus:
    """Return the status of a pod that waits for another pod of its name to end."""
    return build_observed_status(pod, Observation(at), at=at, scheme="", previous=previous)


def _start(transaction: FleetTransaction, runtime: Runtime, row: Row, *, at: datetime) -> AcceptedPod:
    """Start a pod that has waited for its name until a time; return it."""
    last = last_transition(transaction.connection, row.id, until=FOREVER)
    at = last.next_timestamp(at)
    pod = accepted_pod(runtime, row._replace(starts_at=at))
    try:
        timeline = runtime.create(pod, now=at)
        timeline.check_order()
    except Exception as exc:  # it must not hold up the transaction, which may be that of a read of all pods
        problem = "the runtime failed to start the pod"
        if isinstance(exc, InvalidRequest):  # valid when it was created; the settings of the runtime have changed
            problem = str(exc)
        else:
            log.exception(problem, uid=row.uid)
        status = build_problem_status(pod, problem, at=at, previous=last.status)
        timeline = Timeline([Transition(at, status)])
    transaction.rows.insert_statuses(row.uid, pod.manifest, timeline.transitions)
    transaction.update_pod(
        row, updated_at=max(row.updated_at, at), starts_at=at, continues_at=timeline.continues_at
    )
    return pod
