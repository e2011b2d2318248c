"""Compute overdue statuses of a fleet's pods, and publish statuses that became due as changes.

No thread or timer advances a timeline. A runtime returns the statuses of a pod up to a time, `continues_at`, from
which it must be asked for more. A read of a pod first advances its timeline where `continues_at` has passed. A
status that became due changes what readers see without a write, so a reader of changes first publishes the due
statuses: their pods get a new revision. Example: a pod is created at 10:00 with the statuses Pending from 10:00
and Running from 10:02; a watch at 10:03 finds that Running became due, and returns the pod at a new revision.
"""

from datetime import datetime
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Select, bindparam, select

from app.core.errors import DiskFull, Unavailable
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import Fleet, Pod, PodStatus
from app.db.statement import Row, Statement
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import Transition
from app.pods.accepted import accepted_pod, sync_pods
from app.pods.fleet_clock import FleetClock
from app.pods.removal import end, is_ending
from app.pods.rows import FOREVER, SELECT_POD_ROW, last_transition, last_transitions
from app.pods.takeover import Takeover
from app.pods.transaction import DUE, OF_LIVE_POD, FleetTransaction
from app.runtimes import AcceptedPod, Runtime
from app.runtimes.base import Timeline

log = structlog.get_logger("app")

_PODS_PER_BATCH = 200
_MAX_FAILURES = 1000
_PodAndLast = tuple[Row, Transition]
_Advanced = tuple[Row, Manifest, Transition, Timeline]

_OF_FLEET = Pod.fleet == bindparam("fleet")
_OVERDUE = (_OF_FLEET, Pod.continues_at <= bindparam("now"))

_SELECT_FLEET = Statement(select(Fleet.revision, Fleet.settled_at).where(Fleet.name == bindparam("fleet")))
_SELECT_POD = Statement(SELECT_POD_ROW.where(Pod.id == bindparam("pod_id")))
_SELECT_ENDING = Statement(
    SELECT_POD_ROW.where(
        Pod.namespace == bindparam("namespace"),
        Pod.name == bindparam("name"),
        Pod.deleted_at.is_(None),
        Pod.deletion_requested_at.is_not(None),
    )
)
_SELECT_OVERDUE = Statement(
    SELECT_POD_ROW.where(*_OVERDUE, Pod.id > bindparam("after")).order_by(Pod.id).limit(_PODS_PER_BATCH)
)
_IS_ANY_OVERDUE = Statement(select(Pod.id).where(*_OVERDUE).limit(1))
_IS_ANY_DUE = Statement(DUE.limit(1))


def _next(query: Select[Any]) -> Statement:
    column = query.selected_columns[0]
    return Statement(query.where(column > bindparam("now")).order_by(column).limit(1))


_NEXT_DUE = _next(select(PodStatus.effective_at).where(OF_LIVE_POD))
_NEXT_OVERDUE = _next(select(Pod.continues_at).where(_OF_FLEET))


class FleetProgress(NamedTuple):
    """The state of a fleet after its due statuses were published.

    Attributes:
        revision: the fleet's revision; 0 before the first write.
        next_at: when the next status becomes due or the next timeline is to be advanced; None where neither is
            known.
        is_overdue: a timeline is to be advanced now, and its runtime returned nothing new.
    """

    revision: int
    next_at: datetime | None
    is_overdue: bool


class TimelineAdvancer:
    """Advances the timelines of the pods of one fleet.

    Every method may raise `DatabaseUnavailable`; a method that raises has changed nothing.
    """

    def __init__(self, database: Database, runtime: Runtime, settings: Settings, *, clock: FleetClock) -> None:
        self._database = database
        self._runtime = runtime
        self._settings = settings
        self._fleet_name = settings.node_name
        self._clock = clock
        self._takeover = Takeover(database, runtime, settings, clock=clock)
        self._failures: dict[int, str] = {}
        """The failures of the runtime that were logged last, by the ID of the pod."""

    def take_over(self) -> None:
        """Take over the pods of another runtime, once in each process."""
        self._takeover.ensure()

    def advance_all(self) -> None:
        """Compute all overdue statuses."""
        self.take_over()
        now, after = self._clock(), 0
        while self._is_any_overdue(now) and (pods := self._overdue(now, after=after)):
            self._advance(pods, now)
            after = pods[-1][0].id
        if self._clock.is_ahead and self._is_any_due():
            # A restart continues from the last published time, so what is shown now must be published.
            self._store_if_possible([])

    def advance(self, pod_id: int) -> None:
        """Compute the overdue statuses of one pod; if it waits for another pod of its name, those of the other."""
        now = self._clock()
        with self._database.read() as connection:
            row = _SELECT_POD.one(connection, fleet=self._fleet_name, pod_id=pod_id)
            if row.starts_at is None:
                key = {"fleet": self._fleet_name, "namespace": row.namespace, "name": row.name}
                row = _SELECT_ENDING.first(connection, **key)
            if row is None or row.continues_at is None or row.continues_at > now:
                return
            last = last_transition(connection, row.id, until=FOREVER)
        self._advance([(row, last)], now)

    def publish_due(self) -> FleetProgress:
        """Compute all overdue statuses, publish the statuses that became due, and return the fleet's state."""
        self.advance_all()
        key = {"fleet": self._fleet_name, "now": self._clock()}
        with self._database.read() as connection:
            fleet = _SELECT_FLEET.first(connection, fleet=self._fleet_name)
            is_due = fleet and _IS_ANY_DUE.first(connection, settled_at=fleet.settled_at, **key)
            upcoming = [row[0] for query in (_NEXT_DUE, _NEXT_OVERDUE) if (row := query.first(connection, **key))]
            is_overdue = _IS_ANY_OVERDUE.first(connection, **key) is not None
        revision = fleet.revision if fleet else 0
        if is_due:
            revision = self._store_if_possible([]) or revision
        return FleetProgress(revision, min(upcoming, default=None), is_overdue)

    def revision(self) -> int:
        """Return the fleet's revision; 0 before the first write."""
        with self._database.read() as connection:
            fleet = _SELECT_FLEET.first(connection, fleet=self._fleet_name)
        return fleet.revision if fleet else 0

    def _is_any_overdue(self, now: datetime) -> bool:
        with self._database.read() as connection:
            return _IS_ANY_OVERDUE.first(connection, fleet=self._fleet_name, now=now) is not None

    def _is_any_due(self) -> bool:
        now = self._clock()
        with self._database.read() as connection:
            fleet = _SELECT_FLEET.one(connection, fleet=self._fleet_name)
            key = {"fleet": self._fleet_name, "settled_at": fleet.settled_at, "now": now}
            return _IS_ANY_DUE.first(connection, **key) is not None

    def _overdue(self, now: datetime, *, after: int) -> list[_PodAndLast]:
        with self._database.read() as connection:
            rows = _SELECT_OVERDUE.all(connection, fleet=self._fleet_name, now=now, after=after)
            lasts = last_transitions(connection, [row.id for row in rows], until=FOREVER)
        return [(row, lasts[row.id]) for row in rows if row.id in lasts]

    def _advance(self, pods: list[_PodAndLast], now: datetime) -> None:
        """Ask the runtime for further statuses, outside of any transaction, and store those that are new."""
        advanced = []
        for row, last in pods:
            if row.starts_at is None:
                continue  # it is started when the other pod of its name is removed
            pod = accepted_pod(self._runtime, row)
            has_ended = is_ending(row) and last.status.is_terminal
            timeline = Timeline([]) if has_ended else self._continuation(row.id, pod, current=last, now=now)
            if timeline:
                advanced.append((row, pod.manifest, last, timeline))
        if advanced:
            self._store_if_possible(advanced)

    def _continuation(
        self, pod_id: int, pod: AcceptedPod, *, current: Transition, now: datetime
    ) -> Timeline | None:
        """Return the continuation of a timeline; None if nothing has changed, or the runtime fails for this pod.

        Raises:
            Unavailable: the runtime can advance no pod at present.
        """
        try:
            timeline = self._runtime.advance(pod, current=current, now=now)
            if timeline:
                timeline.check_order(after=current.effective_at)
        except Unavailable:
            raise
        except Exception as exc:
            if self._failures.get(pod_id) != (failure := repr(exc)):
                self._failures = {**self._failures, pod_id: failure} if len(self._failures) < _MAX_FAILURES else {}
                log.exception("the runtime failed to advance a pod", uid=pod.manifest.pod.metadata.uid)
            return None
        if pod_id in self._failures:
            self._failures = {key: failure for key, failure in self._failures.items() if key != pod_id}
        return timeline

    def _store_if_possible(self, advanced: list[_Advanced]) -> int | None:
        """Store as :meth:`_store`; return None where the disk is full: readers then get the stored statuses."""
        try:
            return self._store(advanced)
        except DiskFull as exc:
            log.warning("statuses not stored", problem=str(exc))
            return None

    def _store(self, advanced: list[_Advanced]) -> int:
        """Insert statuses, remove pods that have ended, publish due statuses, and return the fleet's revision."""
        started: list[AcceptedPod] = []
        begin = FleetTransaction.begin(self._database, self._settings, clock=self._clock)
        with begin as transaction, transaction.step():
            revision = transaction.revision
            rows = [row for row, *_ in advanced]
            transaction.rows.load([(row.namespace, row.name) for row in rows], [row.uid for row in rows])
            transaction.rows.load_statuses(until=FOREVER)
            for row, manifest, last, timeline in advanced:
                # Skip a pod that another process advanced, or a request changed, since its row was read.
                fresh = transaction.rows.with_uid(row.uid)
                if fresh is None:  # it was pruned
                    continue
                current = transaction.rows.transition_at(fresh.id, until=FOREVER)
                if (_version(fresh), current.effective_at) != (_version(row), last.effective_at):
                    continue
                transaction.rows.insert_statuses(row.uid, manifest, timeline.transitions)
                if not is_ending(fresh):
                    transaction.update_pod(fresh, continues_at=timeline.continues_at)
                    continue
                current = (timeline.transitions or [current])[-1]
                ended = end(
                    transaction,
                    self._runtime,
                    fresh,
                    last=current,
                    continues_at=timeline.continues_at,
                    now=transaction.now,
                )
                started += ended.started
        sync_pods(self._runtime, started)
        return revision


def _version(row: Row) -> tuple[datetime, datetime | None]:
    """Return the times that every change of a pod by a request or a removal changes."""
    return row.updated_at, row.deleted_at
