"""Scenarios in the audit log: an event for each entry that was played, and a report on the pods of the nodes."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import orjson
from sqlalchemy import bindparam, func, or_, select, text, type_coerce

from app.audit.fault_report import FaultReport, PlayedEvent, PodTimes, ScenarioEvent, report_faults
from app.audit.service import AuditLog
from app.audit.writer import Caller, Outcome
from app.core.errors import NotFound
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import AuditEvent, Pod, PodStatus, UtcDateTime


class ScenarioLog:
    """The scenarios in the audit log of a fleet. Every method can raise `DatabaseUnavailable`.

    Args:
        database: the database of the fleet.
        settings: the settings of the provider.
        clock: returns the time of the fleet.
    """

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._fleet_name = settings.node_name
        self._clock = clock
        self._audit = AuditLog(database, settings, clock=clock)

    def record(self, caller: Caller, entry: ScenarioEvent, *, code: int) -> None:
        """Insert the event of an entry.

        Args:
            caller: the client; its request ID is that of the play.
            entry: the entry.
            code: 200, or the status of the API server's error.
        """
        change = orjson.loads(orjson.dumps(msgspec.to_builtins(entry)))
        self._audit.record(caller, "scenario", [Outcome(None, code, change)])

    def find_play(self, play: str | None = None) -> str:
        """Return the request ID of a play.

        Args:
            play: the request ID, to check that it is that of a play; by default that of the last play.

        Raises:
            NotFound: the audit log has none.
        """
        query = (
            select(AuditEvent.request_id)
            .where(AuditEvent.fleet == self._fleet_name, AuditEvent.verb == "scenario")
            .order_by(AuditEvent.id.desc())
            .limit(1)
        )
        if play is not None:
            query = query.where(AuditEvent.request_id == play)
        with self._database.read() as connection:
            found: str | None = connection.scalar(query)
        if found is None:
            which = "" if play is None else f" with the request ID {play}"
            raise NotFound(f"the audit log has no scenario{which}")
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
                AuditEvent.fleet == self._fleet_name,
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
            rows = connection.execute(query, {"fleet": self._fleet_name})
            return [PodTimes(**row._mapping) for row in rows]
