"""The usage of all pods of a fleet, one request instead of one per pod.

What reads the usage of a pod is kept in the process until the pod changes, and its running containers until its
status does: a request decodes only what has changed since the one before.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import structlog
from sqlalchemy import ColumnElement, Connection, bindparam, select, type_coerce
from sqlalchemy.types import NullType

from app.core.errors import InvalidRequest, NotFound, Unavailable
from app.core.json_array import json_array
from app.core.quantity import format_usage
from app.db.models import Pod, PodStatus, UsageChange
from app.db.statement import Row
from app.kubernetes.label_selector import LabelSelector
from app.kubernetes.stats import PodRef, PodStats, ProcessStats, encode_pod_stats
from app.kubernetes.status import decode_status
from app.pods.accepted import accepted_pod
from app.pods.context import FleetContext
from app.pods.label_filter import has_labels
from app.pods.queries import existed_at, status_at
from app.pods.readiness import read_histories
from app.pods.rows import SELECT_POD_ROW
from app.pods.usage_levels import RUNNING_PHASES, VERSION, LevelSums, count_between, statuses_between
from app.runtimes import EarlierUsage, PodUsage, ReadyHistory, RunningContainer, UsageLevel

log = structlog.get_logger("app")

_ROWS_PER_CHUNK = 200
_STREAMING = {"yield_per": _ROWS_PER_CHUNK}
_MAX_KEPT = 50_000
"""The pods of which a process keeps what reads their usage, and their running containers."""


class _StatusRow(NamedTuple):
    """A row of `_SELECT_STATUSES`. Reading the fields of SQLAlchemy's own row takes ten times as long."""

    id: int
    version: Any
    effective_at: Any
    namespace: str
    name: str
    uid: str
    status: str


_SELECT_STATUSES = (
    select(
        Pod.id,
        VERSION,
        type_coerce(PodStatus.effective_at, NullType()),
        Pod.namespace,
        Pod.name,
        Pod.uid,
        PodStatus.status,
    )
    .join(PodStatus)
    .where(
        Pod.fleet == bindparam("fleet"),
        Pod.starts_at.is_not(None),
        PodStatus.phase.in_(RUNNING_PHASES),
    )
    .order_by(Pod.namespace, Pod.name, Pod.id)
)
_SELECT_PODS = SELECT_POD_ROW.where(Pod.id.in_(bindparam("ids", expanding=True)))

_SELECT_CHANGES = (
    select(UsageChange.pod_id, UsageChange.changed_at, UsageChange.usage)
    .where(UsageChange.pod_id.in_(bindparam("ids", expanding=True)))
    .order_by(UsageChange.pod_id, UsageChange.changed_at)
)

_Known = tuple[Any, PodUsage | None]
"""The version of a pod, and what reads its usage; None where it is unknown."""


class _RunningPod(NamedTuple):
    """A pod and its running containers, the same until its status changes.

    Attributes:
        version: of the pod, and the start time of its status.
    """

    version: tuple[Any, Any]
    pod_ref: PodRef
    start_time: str
    containers: Sequence[RunningContainer]

    @classmethod
    def of(cls, row: _StatusRow) -> "_RunningPod":
        status, pod_ref = decode_status(row.status), PodRef(row.name, row.namespace, row.uid)
        return cls((row.version, row.effective_at), pod_ref, status.start_time, RunningContainer.of(status))


class UsageService:
    """Reads the usage of the pods of one fleet. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet
        self._kept: dict[int, _Known] = {}
        self._running: dict[int, _RunningPod] = {}
        """Both by the ID of the pod."""

    @property
    def has_past(self) -> bool:
        """Whether the runtime of the fleet reports usage at any time in the past."""
        return self._fleet.runtime.reports_usage and self._fleet.runtime.reports_past_usage

    @property
    def is_available(self) -> bool:
        """Whether the runtime of the fleet reports usage."""
        return self._fleet.runtime.reports_usage

    def encoded(self, *, sums: bool = True) -> Generator[str, None, None]:
        """Yield the usage of every pod with a running container, as pieces of one JSON array of `PodStats`.

        Args:
            sums: whether each pod has the sums over its containers.

        Raises:
            NotFound: the runtime of the fleet does not report usage.
        """
        chunks = self._chunks(None)
        yield from json_array((encode_pod_stats(stats, sums=sums).decode() for stats in chunk) for chunk in chunks)

    def pods(
        self,
        at: datetime | None = None,
        *,
        namespace: str | None = None,
        uids: Sequence[str] | None = None,
        selector: LabelSelector = (),
        node: str | None = None,
    ) -> list[PodStats]:
        """Return the usage of the pods that had a running container at a time; at present where None.

        Args:
            namespace: only the pods of a namespace.
            uids: only the pods with these UIDs, in any order.
            selector: only the pods with these labels.
            node: only the pods on a node.

        Raises:
            NotFound: the runtime of the fleet does not report usage.
        """
        wanted: list[ColumnElement[bool]] = [] if namespace is None else [Pod.namespace == namespace]
        if uids is not None:
            wanted.append(Pod.uid.in_(uids))
        if selector:
            wanted.append(has_labels(selector))
        if node:
            wanted.append(Pod.node_name == node)
        return [stats for chunk in self._chunks(at, *wanted, is_sorted=uids is None) for stats in chunk]

    def sentences(self, uid: str, *, at: datetime) -> list[str]:
        """Return a sentence on the usage of a pod at a time; none if it is unknown or no container was running."""
        found = self.pods(at, uids=[uid]) if self.is_available else []
        used = [format_usage(stats.cpu.usage_nano_cores, stats.memory.working_set_bytes) for stats in found]
        return [f"Its containers use {cpu} of CPU and {memory} of memory at that time." for cpu, memory in used]

    def count(self, start: datetime, end: datetime) -> int:
        """Return the number of pods that existed at some time between two."""
        query = count_between(start, end)
        with self._fleet.database.read() as connection:
            count: int = connection.execute(query, {"fleet": self._fleet.name}).scalar_one()
        return count

    def levels(self, times: Sequence[datetime], *, uid: str | None = None) -> list[UsageLevel | None]:
        """Return the usage of the pods together at each of several times; None where no container was running.

        Args:
            times: in order, in whole seconds.
            uid: only the pod with a UID.

        Raises:
            NotFound: the runtime of the fleet does not report usage at past times.
        """
        if not self.has_past:
            raise NotFound(f"the runtime {type(self._fleet.runtime).__name__} does not report usage at past times")
        self._fleet.timelines.advance_all()
        query = statuses_between(times[0], times[-1])
        if uid is not None:
            query = query.where(Pod.uid == uid)
        sums = LevelSums(times)
        histories: dict[str, ReadyHistory] = {}
        with self._fleet.database.read(streaming=True) as connection:
            rows = connection.execute(query, {"fleet": self._fleet.name}, execution_options=_STREAMING)
            followed = pairwise(chain(rows, (None,)))
            while chunk := list(islice(followed, _ROWS_PER_CHUNK)):
                held = [
                    (row, during) for row, following in chunk if row and (during := sums.during(row, following))
                ]
                usages = self._usages(connection, [row for row, _ in held])
                self._read_histories(connection, usages.values(), histories, times[-1], since=times[0])
                for row, during in held:
                    if usage := usages.get(row.id):
                        running = RunningContainer.of(decode_status(row.status))
                        sums.add(usage, running, during, histories.get(usage.controller or ""))
        return sums.levels

    def _chunks(
        self, at: datetime | None, *wanted: ColumnElement[bool], is_sorted: bool = True
    ) -> Generator[list[PodStats], None, None]:
        """Yield the usage of the pods in chunks that are not empty."""
        if not self.is_available:
            raise NotFound(f"the runtime {type(self._fleet.runtime).__name__} does not report usage")
        self._fleet.timelines.advance_all()
        now = at or self._fleet.clock()
        query = _SELECT_STATUSES.where(status_at(now, or_written=at is None), existed_at(at), *wanted)
        if not is_sorted:  # SQLite would follow the index of the order, past all other pods
            query = query.order_by(None)
        second = now.replace(microsecond=0)
        histories: dict[str, ReadyHistory] = {}
        parameters = {"fleet": self._fleet.name}
        with self._fleet.database.read(streaming=True) as connection:
            rows = connection.execute(query, parameters, execution_options=_STREAMING)
            for chunk in rows.partitions():
                pods = [*map(_StatusRow._make, chunk)]
                if found := list(self._read(connection, pods, histories, at=second)):
                    yield found

    def _read(
        self,
        connection: Connection,
        rows: Sequence[_StatusRow],
        histories: dict[str, ReadyHistory],
        *,
        at: datetime,
    ) -> Generator[PodStats, None, None]:
        """Yield the usage of those pods that have a running container."""
        usages = self._usages(connection, rows)
        self._read_histories(connection, usages.values(), histories, at)
        for measured in usages.values():
            measured.prepare()
        for row in rows:
            usage = usages.get(row.id)
            if usage is None:
                continue
            pod = self._running_pod(row)
            history = histories.get(usage.controller or "")
            try:
                stats = _measure(usage, pod, history, at=at)
            except Unavailable:
                raise
            except Exception:  # the usage of the others is known
                log.exception("the runtime failed to read the usage of a pod", uid=row.uid)
                continue
            if stats:
                yield stats

    def _running_pod(self, row: _StatusRow) -> _RunningPod:
        known = self._running.get(row.id)
        if known is None or known.version != (row.version, row.effective_at):
            if len(self._running) > _MAX_KEPT:
                self._running = {}
            known = self._running[row.id] = _RunningPod.of(row)
        return known

    def _read_histories(
        self,
        connection: Connection,
        usages: Iterable[PodUsage],
        histories: dict[str, ReadyHistory],
        at: datetime,
        *,
        since: datetime | None = None,
    ) -> None:
        """Read the histories of the controllers of pods, unless they are there already."""
        controllers = {usage.controller for usage in usages if usage.controller} - histories.keys()
        if controllers:
            fleet = self._fleet.name
            histories.update(read_histories(connection, controllers, fleet=fleet, at=at, since=since))

    def _usages(self, connection: Connection, rows: Sequence[Row]) -> dict[int, PodUsage]:
        """Return what reads the usage of these pods, by the ID of the pod; without those of unknown usage."""
        kept = self._kept
        found = {row.id: kept[row.id] for row in rows if kept.get(row.id, (None,))[0] == row.version}
        if missing := {row.id: row.version for row in rows if row.id not in found}:
            loaded = self._load(connection, missing)
            found |= loaded
            if len(kept) > _MAX_KEPT:
                kept = self._kept = {}
            kept.update(loaded)
        return {pod_id: usage for pod_id, (_, usage) in found.items() if usage}

    def _load(self, connection: Connection, versions: Mapping[int, Any]) -> dict[int, _Known]:
        pod_ids = list(versions)
        earlier: dict[int, list[EarlierUsage]] = {}
        for pod_id, until, record in connection.execute(_SELECT_CHANGES, {"ids": pod_ids}):
            earlier.setdefault(pod_id, []).append(EarlierUsage(until, record))
        loaded: dict[int, _Known] = {}
        for row in connection.execute(_SELECT_PODS, {"fleet": self._fleet.name, "ids": pod_ids}).all():
            pod = accepted_pod(self._fleet.runtime, row)
            usage: PodUsage | None = None
            try:
                usage = self._fleet.runtime.usage(pod, earlier=earlier.get(row.id, ()))
            except InvalidRequest:  # another runtime has accepted the pod
                pass
            except Exception:  # the usage of this pod is unknown, until the next request
                log.exception("the runtime failed to read the usage of a pod", uid=row.uid)
                continue
            loaded[row.id] = versions[row.id], usage
        return loaded


def _measure(usage: PodUsage, pod: _RunningPod, history: ReadyHistory | None, *, at: datetime) -> PodStats | None:
    """Return the usage of a pod; None where no container runs whose usage is known."""
    if not pod.containers or not (containers := usage.containers(pod.containers, at=at, history=history)):
        return None
    return PodStats(
        pod_ref=pod.pod_ref,
        start_time=pod.start_time,
        containers=containers,
        ephemeral_storage=usage.ephemeral_storage(),
        process_stats=None if (count := usage.process_count()) is None else ProcessStats(count),
    )
