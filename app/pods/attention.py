"""Problems of pods and refused requests: the pods grouped by what is wrong with them.

One expression of SQL decides what is wrong with a pod, and one how well it is. The overview, the list of pods and
`vkweb attention` all use these two, so that a count always has as many pods as the list that it links to.

The rules, of which the first that matches decides:

1. A pod that was to be deleted and still exists after five minutes is `terminating`; until then nothing is wrong.
2. The column STATUS of `kubectl get pods`, with or without `Init:`, names what is wrong: see `PROBLEMS`. A pod in
   CrashLoopBackOff whose container was killed for its memory is `oom-killed`: that is the reason why it crashes.
3. A pod that failed in any other way is `failed`.
4. A pod that is Pending five minutes after its creation is `pending`.
5. A running pod is `not-ready` if a container is not, for a minute.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import CTE, ColumnElement, and_, case, func, literal, null, or_, select, true, union_all
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.db.models import AuditEvent, Pod, PodStatus
from app.db.statement import Row
from app.pods.context import FleetContext
from app.pods.list_parts import Source, pods_in_parts

Health = Literal["healthy", "progressing", "failing", "completed", "unknown"]

_EXAMPLES = 3
_LONG = timedelta(minutes=5)
_LONG_NOT_READY = timedelta(minutes=1)


class Problem(NamedTuple):
    """Something that can be wrong with a pod.

    Attributes:
        advice: what to look at next.
        health: the health of a pod with the problem.
        statuses: the values of the column STATUS that tell it.
    """

    title: str
    advice: str
    health: Health = "failing"
    statuses: Sequence[str] = ()


PROBLEMS = {
    "crash-loop": Problem(
        "CrashLoopBackOff", "Read the log of the previous run, and its exit code.", statuses=["CrashLoopBackOff"]
    ),
    "oom-killed": Problem("OOMKilled", "Compare the memory limit with the usage.", statuses=["OOMKilled"]),
    "image-pull": Problem(
        "ImagePullBackOff",
        "Check the name of the image and the pull secret.",
        statuses=[
            "ImagePullBackOff",
            "ErrImagePull",
            "ErrImageNeverPull",
            "InvalidImageName",
            "ImageInspectError",
        ],
    ),
    "config-error": Problem(
        "Container not created",
        "Check the ConfigMaps, Secrets and volumes that the pod refers to.",
        statuses=[
            *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
            *("PreCreateHookError", "PreStartHookError", "PostStartHookError"),
        ],
    ),
    # kubectl shows ContainerStatusUnknown also for a pod that was evicted.
    "lost": Problem(
        "Lost or evicted",
        "Read the message of the pod; its controller creates another.",
        statuses=["NodeLost", "ContainerStatusUnknown"],
    ),
    "evicted": Problem("Evicted", "The node was short of what the pod used.", statuses=["Evicted", "Preempting"]),
    "failed": Problem("Failed", "Read the log and the exit code.", statuses=["Error", "ContainerCannotRun"]),
    "pending": Problem("Pending for long", "Read the events and the conditions of the pod.", "progressing"),
    "not-ready": Problem("Not ready", "Check the readiness probe and the containers.", "progressing"),
    "terminating": Problem("Terminating for long", "Look for a container that does not stop.", "progressing"),
}
"""Every problem by the key that links use, the worst first."""


def problem(source: Source, at: datetime) -> ColumnElement[str | None]:
    """Return the key of what is wrong with a pod at a time, or NULL: an expression of SQL."""
    is_deleted = _is_deleted(at)
    is_crashing = source.reason.in_(_with_init(["CrashLoopBackOff"]))
    return case(
        (and_(is_deleted, Pod.deletion_requested_at <= at - _LONG), literal("terminating")),
        (is_deleted, null()),
        (source.phase == "Succeeded", null()),
        (and_(is_crashing, source.termination_reason == "OOMKilled"), literal("oom-killed")),
        *(
            (source.reason.in_(_with_init(problem.statuses)), literal(key))
            for key, problem in PROBLEMS.items()
            if problem.statuses
        ),
        (source.phase == "Failed", literal("failed")),
        (and_(source.phase == "Pending", Pod.created_at <= at - _LONG), literal("pending")),
        (and_(_is_unready(source), _since(source) <= at - _LONG_NOT_READY), literal("not-ready")),
        else_=null(),
    )


def health(source: Source, at: datetime) -> ColumnElement[Health]:
    """Return the health of a pod at a time: an expression of SQL over the columns of `Part.health_groups`."""
    failing = [status for problem in PROBLEMS.values() for status in problem.statuses]
    return case(
        (source.phase == "Succeeded", literal("completed")),
        (_is_deleted(at), literal("progressing")),
        (or_(source.phase == "Failed", source.reason.in_(_with_init(failing))), literal("failing")),
        (or_(source.phase == "Pending", _is_unready(source)), literal("progressing")),
        (source.phase == "Running", literal("healthy")),
        else_=literal("unknown"),
    )


class ProblemPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod with a problem, and since when it has its status."""

    namespace: str
    name: str
    uid: str
    node_name: str
    restarts: int
    since: datetime


class ProblemGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The pods with one problem.

    Attributes:
        pods: how many.
        since: the start of the oldest status among them.
        examples: up to three of them, the latest first.
    """

    key: str
    title: str
    advice: str
    health: Health
    pods: int
    since: datetime
    examples: list[ProblemPod]


class RefusedRequests(NamedTuple):
    """The number of write requests that were refused in a time, and the last of them; None without any."""

    total: int
    last: Row | None


class Attention:
    """Finds what needs attention, on one node or on all. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet

    def groups(self, at: datetime | None = None, *, node: str | None = None) -> list[ProblemGroup]:
        """Return the problems of the pods that existed at a time, the worst first; None for the present."""
        self._fleet.timelines.publish_due()
        pods = self._pods(at, node)
        of, pod = pods.c.problem, aliased(Pod)
        totals = (
            select(of, func.count().label("pods"), func.min(pods.c.since).label("oldest"))
            .where(of.is_not(None))
            .group_by(of)
            .subquery()
        )
        # A search for each problem takes a third of the time that a window function takes.
        latest = (
            select(*pods.c).where(of == key).order_by(pods.c.since.desc(), pods.c.id.desc()).limit(_EXAMPLES)
            for key in PROBLEMS
        )
        examples = union_all(*(select(query.subquery()) for query in latest)).cte("examples")
        examples = examples.prefix_with("MATERIALIZED")  # SQLite would search again for each row of the totals
        query = (
            select(totals, examples.c.since, examples.c.restarts, pod.namespace, pod.name, pod.uid, pod.node_name)
            .join(examples, examples.c.problem == totals.c.problem)
            .join(pod, pod.id == examples.c.id)
            .order_by(examples.c.since.desc(), examples.c.id.desc())
        )
        found: dict[str, list[Row]] = {}
        with self._fleet.database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(row.problem, []).append(row)
        return [_group(key, found[key]) for key in PROBLEMS if key in found]

    def refused(self, start: datetime, end: datetime, *, node: str | None = None) -> RefusedRequests:
        """Return the write requests that were refused between two times."""
        is_refused = (
            AuditEvent.fleet == self._fleet.name,
            AuditEvent.at > start,
            AuditEvent.at <= end,
            AuditEvent.is_refused(),
            AuditEvent.node() == node if node else true(),
        )
        last = select(AuditEvent.__table__).where(*is_refused).order_by(AuditEvent.at.desc(), AuditEvent.id.desc())
        with self._fleet.database.read() as connection:
            count = connection.scalar(select(func.count()).where(*is_refused)) or 0
            return RefusedRequests(count, connection.execute(last.limit(1)).first() if count else None)

    def _pods(self, at: datetime | None, node: str | None) -> CTE:
        """Return the pods at a time, of one node or of all, that are not simply running, each with its problem."""
        now = self._fleet.clock()
        parts = [
            part.select(
                Pod.id,
                func.coalesce(part.source.restarts, 0).label("restarts"),
                _since(part.source).label("since"),
                problem(part.source, at or now).label("problem"),
            ).where(
                Pod.node_name == node if node else true(),
                or_(
                    part.source.phase != "Running",
                    part.source.reason.is_not(None),
                    part.source.ready_containers < part.source.containers,
                    Pod.deletion_requested_at.is_not(None),
                ),
            )
            for part in pods_in_parts(self._fleet.name, at, now=now)
        ]
        return union_all(*parts).cte("listed").prefix_with("MATERIALIZED")


def _group(key: str, rows: Sequence[Row]) -> ProblemGroup:
    return ProblemGroup(
        key=key,
        title=PROBLEMS[key].title,
        advice=PROBLEMS[key].advice,
        health=PROBLEMS[key].health,
        pods=rows[0].pods,
        since=rows[0].oldest,
        examples=[
            ProblemPod(
                namespace=row.namespace,
                name=row.name,
                uid=row.uid,
                node_name=row.node_name,
                restarts=row.restarts,
                since=row.since,
            )
            for row in rows
        ],
    )


def _with_init(statuses: Sequence[str]) -> list[str]:
    """Return values of the column STATUS, and those of an init container."""
    return [f"{prefix}{status}" for prefix in ("", "Init:") for status in statuses]


def _since(source: Source) -> InstrumentedAttribute[Any]:
    """Return the column with the start of the status."""
    return PodStatus.effective_at if source is PodStatus else Pod.status_at


def _is_unready(source: Source) -> ColumnElement[bool]:
    return and_(source.phase == "Running", source.ready_containers < source.containers)


def _is_deleted(at: datetime) -> ColumnElement[bool]:
    return and_(Pod.deletion_requested_at.is_not(None), Pod.deletion_requested_at <= at)
