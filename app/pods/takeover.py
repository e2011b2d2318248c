"""Take over the pods of another runtime, after the setting `RUNTIME` was changed.

The problem: the synthetic runtime stores statuses ahead of time. After a change to a runtime that observes real
work, these statuses would become due although nothing runs, and the runtime would never be asked about the pods.

The rule: a runtime that does not compute statuses ahead is asked about each of its live pods, again and again,
until the pod has ended. So a live pod that it would not be asked about, and that has not ended, was left by
another runtime. Its upcoming statuses are deleted, and the runtime is asked about it when it is next read.
"""

from datetime import datetime

from sqlalchemy import Connection, bindparam, or_

from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import Pod
from app.db.statement import Row
from app.pods.fleet_clock import FleetClock
from app.pods.rows import SELECT_POD_ROW, last_transitions
from app.pods.transaction import FleetTransaction
from app.runtimes import Runtime

_SELECT_UNOBSERVED = SELECT_POD_ROW.where(
    Pod.deleted_at.is_(None), or_(Pod.continues_at.is_(None), Pod.continues_at > bindparam("now"))
)


class Takeover:
    """Takes over the pods of a fleet once in each process."""

    def __init__(self, database: Database, runtime: Runtime, settings: Settings, *, clock: FleetClock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._is_done = runtime.computes_ahead

    def ensure(self) -> None:
        """Take over the pods that another runtime left, unless this process has done so.

        Raises:
            DatabaseUnavailable: nothing has changed; the next call tries again.
        """
        if self._is_done:
            return
        fleet = self._settings.node_name
        now = self._clock()
        with self._database.read() as connection:
            is_any_left = bool(_left_pods(connection, fleet, now=now))
        if is_any_left:
            begin = FleetTransaction.begin(self._database, self._settings, clock=self._clock)
            with begin as transaction, transaction.step():
                for row in _left_pods(transaction.connection, fleet, now=transaction.now):
                    now, _ = transaction.next_timestamp(row)
                    transaction.rows.delete_statuses_from(row.id, at=now)
                    transaction.update_pod(row, continues_at=now)
        self._is_done = True


def _left_pods(connection: Connection, fleet: str, *, now: datetime) -> list[Row]:
    rows = connection.execute(_SELECT_UNOBSERVED, {"fleet": fleet, "now": now}).all()
    lasts = last_transitions(connection, [row.id for row in rows], until=now)
    return [row for row in rows if not lasts[row.id].status.is_terminal]
