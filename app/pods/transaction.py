"""One write transaction on the rows of a fleet; all other writers of the fleet wait until it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Self

from sqlalchemy import BindParameter, Connection, bindparam, case, func, select, update
from sqlalchemy.orm import aliased

from app.audit.hash_chain import FIRST
from app.core.settings import Settings
from app.db.engine import Database
from app.db.fleets import lock_fleet
from app.db.models import Fleet, Pod, PodStatus, UtcDateTime
from app.db.statement import Row, Statement, parameters, pipelined
from app.kubernetes.status import Transition
from app.pods.fleet_clock import FleetClock
from app.pods.ipam import FreeAddresses
from app.pods.list_columns import OF_STATUS
from app.pods.rows import PodRows

NEWEST_FIRST = (Pod.deletion_requested_at.is_(None).desc(), Pod.created_at.desc())
"""The order of the pods of one name: the one that is not being deleted is first."""

OF_LIVE_POD = (
    select(Pod.id)
    .where(Pod.id == PodStatus.pod_id, Pod.fleet == bindparam("fleet"), Pod.deleted_at.is_(None))
    .exists()
)
DUE = select(PodStatus.pod_id).where(
    PodStatus.effective_at > bindparam("settled_at"), PodStatus.effective_at <= bindparam("now"), OF_LIVE_POD
)
"""The pods whose statuses became due since the last write of the fleet. Few, as every write publishes them."""

_DUE_STATUS, _BEFORE = aliased(PodStatus), aliased(PodStatus)
_UNTIL = case((Pod.updated_at > bindparam("now"), Pod.updated_at), else_=bindparam("now", type_=UtcDateTime()))
_PUBLISH_PODS = Statement(
    update(Pod)
    .where(
        Pod.id.in_(DUE),
        _DUE_STATUS.pod_id == Pod.id,
        _DUE_STATUS.effective_at
        == select(func.max(_BEFORE.effective_at))
        .where(_BEFORE.pod_id == Pod.id, _BEFORE.effective_at <= _UNTIL)
        .correlate(Pod)
        .scalar_subquery(),
    )
    .values(
        revision=bindparam("revision"),
        status_at=_DUE_STATUS.effective_at,
        **{name: getattr(_DUE_STATUS, name) for name in OF_STATUS},
    )
)
_UPDATE_FLEET = Statement(
    update(Fleet).where(Fleet.name == bindparam("fleet")).values(parameters("revision", "settled_at"))
)
_LEFT_AT: BindParameter[datetime] = bindparam("left_at", type_=UtcDateTime())
_EARLIER = aliased(PodStatus)
_AT_DELETION = (
    select(func.max(_EARLIER.effective_at))
    .where(_EARLIER.pod_id == bindparam("of_pod"), _EARLIER.effective_at <= _LEFT_AT)
    .scalar_subquery()
)
_MARK_LEFT = Statement(
    update(PodStatus)
    .where(
        PodStatus.pod_id == bindparam("of_pod"),
        PodStatus.effective_at >= func.coalesce(_AT_DELETION, _LEFT_AT),
    )
    .values(left_at=case((PodStatus.effective_at > _LEFT_AT, PodStatus.effective_at), else_=_LEFT_AT))
)


class FleetTransaction:
    """A write transaction of one fleet, in steps that succeed or fail one by one.

    The transaction begins by locking the fleet's row, so every other writer of the fleet waits until it ends: rows
    that were read stay unchanged, and revisions are committed in order. Each step that succeeds has a revision of
    its own. Pods whose statuses became due by now get the revision of the first step.

    Args:
        connection: a connection in a transaction, which :meth:`begin` commits.
        settings: the settings of the fleet.
        clock: the fleet's clock.

    Attributes:
        rows: the rows of the fleet's pods.
        revision: the revision of the current step.
        now: the time of the write by the fleet's clock, not before that of the fleet's last write.
        addresses: the addresses that are free, each once.
        pod_bytes: the size of the pods that this transaction stores.
    """

    def __init__(self, connection: Connection, settings: Settings, *, clock: FleetClock) -> None:
        self.connection = connection
        self.fleet = fleet = settings.node_name
        row = lock_fleet(connection, fleet)
        last_hash = (row.audit_hash or FIRST) if settings.audit_hash_chain else None
        self.revision: int = row.revision + 1
        self.now: datetime = clock.follow(row.settled_at)
        self.rows = PodRows(connection, fleet, now=self.now, last_hash=last_hash)
        self.pod_bytes = 0
        self.addresses = FreeAddresses(connection, fleet=fleet, network=settings.pod_cidr, start=self.revision)
        self._committed: int | None = None
        key = {"fleet": fleet, "settled_at": row.settled_at, "now": self.now}
        _PUBLISH_PODS.run(connection, revision=self.revision, **key)

    @classmethod
    @contextmanager
    def begin(cls, database: Database, settings: Settings, *, clock: FleetClock) -> Iterator[Self]:
        """Yield a transaction; commit it at the end, or roll it back where no step has succeeded.

        Raises:
            DatabaseUnavailable: nothing was written.
        """
        with database.write() as connection:
            transaction = cls(connection, settings, clock=clock)
            yield transaction
            transaction._finish()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Make one change, which is rolled back alone where it raises `ProviderError` or `Unchanged`."""
        with self.rows.step():
            yield
        self._committed = self.revision
        self.revision += 1

    def _finish(self) -> None:
        """Store the fleet's last revision; roll back where no step has succeeded."""
        if self._committed is None:
            if transaction := self.connection.get_transaction():
                transaction.rollback()
            return
        key = {"fleet": self.fleet, "settled_at": self.now}
        with pipelined(self.connection):
            self.rows.flush()
            _UPDATE_FLEET.run(self.connection, revision=self._committed, **key)

    def next_timestamp(self, row: Row) -> tuple[datetime, Transition]:
        """Return the time of a change to a pod, and the status that holds until then.

        The time is later than every earlier change of the pod, whatever the clock says.
        """
        now = max(self.now, row.updated_at)
        current = self.rows.transition_at(row.id, until=now)
        return current.next_timestamp(now), current

    def mark_left(self, pod_id: int, *, left_at: datetime) -> None:
        """Set `left_at` of the statuses from a deletion on, for a pod that is created again with the same UID.

        Without it the pod would seem to exist between the two. `left_at` is the time of the deletion for the
        status that held then; for later ones, such as the end of the containers, the time from which they hold.
        """
        self.rows.flush()
        _MARK_LEFT.run(self.connection, of_pod=pod_id, left_at=left_at)

    def update_pod(self, row: Row, **columns: object) -> None:
        """Update columns of a pod and set its revision."""
        self.rows.update_pod(row, **columns, revision=self.revision)
