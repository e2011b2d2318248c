"""Scenarios in the audit log: an event for each entry that was played, and a report on the pods of the nodes.

The report reads the record alone. A pod is affected by a fault if it was on a node of the fault and had not ended
when the fault began. It was evicted if its deletion was requested or it failed after that, until a minute after
the node recovered: during a partition, the deletion arrives with the recovery. Its replacement is the next pod of
its controller that was created after the fault began and replaces no other pod. The time to Ready again is from
the begin of the fault to the first Ready of the replacement, so it includes the time that the cluster takes to
notice the fault.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import orjson
from sqlalchemy import bindparam, func, or_, select, text, type_coerce

from app.audit.writer import Caller, Event, append_events
from app.core.errors import NotFound
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import AuditEvent, Pod, PodStatus, UtcDateTime

_AFTER_RECOVERY = timedelta(minutes=1)
_OF_NEW_PODS = frozenset({"slow", "fail"})
"""Faults that change the pods that are created while they last."""


class ScenarioEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An entry of a scenario that was played: `change` of its event.

    Attributes:
        scenario: name of the scenario.
        seed: its seed.
        step: number of the step in the file, from 1; 0 for the recovery at the end.
        action: the action, such as `partition`.
        nodes: names of the nodes.
        groups: groups of faults that `recover` ends.
        skipped: node → reason, for the nodes that the step names and that were not chosen.
        missing: number of nodes that the step wants and that were not found.
        errors: node → error, for the nodes that could not be changed.
        details: results of the action, such as the number of evicted pods.
    """

    scenario: str
    seed: int
    step: int
    action: str
    nodes: list[str]
    groups: list[str] = []
    skipped: dict[str, str] = {}
    missing: int = 0
    errors: dict[str, str] = {}
    details: dict[str, Any] = {}


class PlayedEvent(msgspec.Struct, frozen=True):
    """An event of a scenario and its time."""

    at: datetime
    entry: ScenarioEvent


class PodTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a pod. None: not yet, or not recorded."""

    node_name: str
    controller_uid: str | None
    created_at: datetime
    deletion_requested_at: datetime | None = None
    failed_at: datetime | None = None
    ended_at: datetime | None = None
    ready_at: datetime | None = None


class FaultReport(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of a fault.

    Attributes:
        at: begin of the fault.
        pods: number of the pods that were affected: those on the nodes; for `slow` and `fail`, those that were
            created on the nodes while it lasted.
        evicted: number of them that were deleted or failed.
        rescheduled: number of the evicted pods with a replacement.
        ready: number of replacements that became ready; for `slow` and `fail`, of the affected pods.
        p50: median in seconds of the time to Ready again; None without any.
        p99: 99th percentile of it.
    """

    at: datetime
    step: int
    action: str
    nodes: int
    pods: int
    evicted: int
    rescheduled: int
    ready: int
    p50: float | None
    p99: float | None


class ScenarioLog:
    """The scenarios in the audit log of a fleet. Every method can raise `DatabaseUnavailable`.

    Args:
        database: the database of the fleet.
        settings: the settings of the provider.
        clock: returns the time of the fleet.
    """

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    def record(self, caller: Caller, entry: ScenarioEvent, *, code: int) -> None:
        """Insert the event of an entry.

        Args:
            caller: the client; its request ID is that of the play.
            entry: the entry.
            code: 200, or the status of the API server's error.
        """
        change = orjson.loads(orjson.dumps(msgspec.to_builtins(entry)))
        fleet = self._settings.node_name
        event = Event(
            at=self._clock(), fleet=fleet, caller=caller, verb="scenario", pod=None, code=code, change=change
        )
        with self._database.write() as connection:
            append_events(connection, [event], chained=self._settings.audit_hash_chain)

    def last_play(self) -> str:
        """Return the request ID of the scenario that was played last.

        Raises:
            NotFound: the audit log has none.
        """
        query = (
            select(AuditEvent.request_id)
            .where(AuditEvent.fleet == self._settings.node_name, AuditEvent.verb == "scenario")
            .order_by(AuditEvent.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            found: str | None = connection.scalar(query)
        if found is None:
            raise NotFound("the audit log has no scenario")
        return found

    def report(self, play: str) -> list[FaultReport]:
        """Return a report for each fault of a play, from the record.

        Args:
            play: the request ID of its events.
        """
        played = self._events(play)
        if not played:
            return []
        return report_faults(played, self._pods(played[0].at), now=self._clock())

    def _events(self, play: str) -> list[PlayedEvent]:
        query = (
            select(AuditEvent.at, AuditEvent.change)
            .where(
                AuditEvent.fleet == self._settings.node_name,
                AuditEvent.verb == "scenario",
                AuditEvent.request_id == play,
            )
            .order_by(AuditEvent.id)
        )
        with self._database.read() as connection:
            return [
                PlayedEvent(at, msgspec.json.decode(change or "", type=ScenarioEvent))
                for at, change in connection.execute(query)
            ]

    def _pods(self, since: datetime) -> list[PodTimes]:
        """Return the pods that existed at a time or later, in the order of their creation."""

        def first(*phases: str) -> Any:
            return (
                select(func.min(PodStatus.effective_at))
                .where(PodStatus.pod_id == Pod.id, PodStatus.phase.in_(phases))
                .scalar_subquery()
            )

        ready_at = (
            select(text("s.ready_at"))
            .select_from(text("pod_startups s"))
            .where(text("s.fleet = pods.fleet AND s.uid = pods.uid"))
            .limit(1)
            .scalar_subquery()
        )
        query = (
            select(
                Pod.node_name,
                Pod.controller_uid,
                Pod.created_at,
                Pod.deletion_requested_at,
                first("Failed").label("failed_at"),
                first("Failed", "Succeeded").label("ended_at"),
                type_coerce(ready_at, UtcDateTime()).label("ready_at"),
            )
            .where(Pod.fleet == bindparam("fleet"), or_(Pod.deleted_at.is_(None), Pod.deleted_at > since))
            .order_by(Pod.created_at, Pod.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query, {"fleet": self._settings.node_name})
            return [PodTimes(**row._mapping) for row in rows]


def report_faults(played: Sequence[PlayedEvent], pods: Sequence[PodTimes], *, now: datetime) -> list[FaultReport]:
    """Return a report for each fault among the events of a scenario.

    Args:
        played: the events in the order of their times.
        pods: the pods in the order of their creation.
        now: end of faults that last.
    """
    on_node: dict[str, list[PodTimes]] = defaultdict(list)
    of_controller: dict[str, list[PodTimes]] = defaultdict(list)
    for pod in pods:
        on_node[pod.node_name].append(pod)
        if pod.controller_uid:
            of_controller[pod.controller_uid].append(pod)
    taken: set[int] = set()
    reports = []
    for index, event in enumerate(played):
        if event.entry.action not in _FAULTS or not event.entry.nodes:
            continue
        ends = _ends(event, played[index + 1 :], now=now)
        if event.entry.action in _OF_NEW_PODS:
            affected = [
                pod for node, end in ends.items() for pod in on_node[node] if event.at <= pod.created_at < end
            ]
            seconds = [_seconds(pod.created_at, pod.ready_at) for pod in affected if pod.ready_at]
            reports.append(_fault_report(event, affected, ready=seconds))
            continue
        affected, evicted = [], []
        for node, end in ends.items():
            there = [pod for pod in on_node[node] if _exists(pod, event.at)]
            affected += there
            evicted += [pod for pod in there if _left(pod, event.at, end + _AFTER_RECOVERY)]
        replacements = [found for pod in evicted if (found := _replacement(pod, event.at, of_controller, taken))]
        seconds = [_seconds(event.at, pod.ready_at) for pod in replacements if pod.ready_at]
        reports.append(
            _fault_report(event, affected, evicted=len(evicted), rescheduled=len(replacements), ready=seconds)
        )
    return reports


_FAULTS: dict[str, str] = {
    **dict.fromkeys(("notReady", "partition", "vanish", "reclaim", "drain"), "node"),
    "pressure": "pressure",
    "slow": "slow",
    "fail": "fail",
}
"""The group of each action that is a fault: `recover` ends the faults of its groups."""


def _ends(fault: PlayedEvent, later: Iterable[PlayedEvent], *, now: datetime) -> dict[str, datetime]:
    """Return when each node of a fault recovered; `now` where it has not."""
    ends = {node: now for node in fault.entry.nodes if node not in fault.entry.errors}
    recovered: set[str] = set()
    for event in later:
        if event.entry.action == "recover" and _FAULTS[fault.entry.action] in event.entry.groups:
            for node in set(event.entry.nodes) & ends.keys() - recovered:
                ends[node] = event.at
                recovered.add(node)
    return ends


def _exists(pod: PodTimes, at: datetime) -> bool:
    """Return whether a pod existed at a time, had not ended, and was not to be deleted."""
    gone = (pod.deletion_requested_at, pod.ended_at)
    return pod.created_at <= at and all(time is None or time > at for time in gone)


def _left(pod: PodTimes, since: datetime, until: datetime) -> bool:
    """Return whether a pod was deleted, or failed, in a period."""
    return any(time and since < time <= until for time in (pod.deletion_requested_at, pod.failed_at))


def _replacement(
    pod: PodTimes, since: datetime, of_controller: dict[str, list[PodTimes]], taken: set[int]
) -> PodTimes | None:
    """Return the next pod of the controller that replaces no other, and take it."""
    for other in of_controller.get(pod.controller_uid or "", ()):
        if other.created_at > since and id(other) not in taken:
            taken.add(id(other))
            return other
    return None


def _fault_report(
    event: PlayedEvent,
    affected: Sequence[PodTimes],
    *,
    evicted: int = 0,
    rescheduled: int = 0,
    ready: Sequence[float],
) -> FaultReport:
    return FaultReport(
        at=event.at,
        step=event.entry.step,
        action=event.entry.action,
        nodes=len(event.entry.nodes) - len(event.entry.errors),
        pods=len(affected),
        evicted=evicted,
        rescheduled=rescheduled,
        ready=len(ready),
        p50=percentile(ready, 0.5),
        p99=percentile(ready, 0.99),
    )


def percentile(values: Sequence[float], part: float) -> float | None:
    """Return the least value that at least this part of the values does not exceed; None without values.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    return sorted(values)[max(math.ceil(len(values) * part) - 1, 0)] if values else None


def _seconds(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds(), 3)
