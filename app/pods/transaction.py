"""One write transaction on the rows of a node; all other writers of the node wait until it ends."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import BindParameter, Connection, bindparam, case, delete, func, insert, select, update
from sqlalchemy.orm import aliased

from app.audit.hash_chain import FIRST
from app.core import metrics
from app.db.engine import Database
from app.db.models import Node, Pod, PodStatus, UsageChange, UtcDateTime
from app.db.nodes import lock_node
from app.db.statement import Row, Statement, parameters
from app.kubernetes import status as statuses
from app.kubernetes.resources import ResourceRequests
from app.kubernetes.status import Transition
from app.pods.node_clock import NodeClock

TICK = timedelta(microseconds=1)
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)

SELECT_POD_ROW = select(
    Pod.id, Pod.namespace, Pod.name, Pod.uid, Pod.pod, Pod.digest, Pod.pod_ip, Pod.created_at,
    Pod.updated_at, Pod.starts_at, Pod.deletion_requested_at, Pod.grace_ends_at, Pod.deleted_at, Pod.continues_at,
    Pod.revision, Pod.controller_uid,
).where(Pod.node_name == bindparam("node_name"))  # fmt: skip
"""The columns of a pod that writers and runtimes need."""

NEWEST_FIRST = (Pod.deletion_requested_at.is_(None).desc(), Pod.created_at.desc())
"""The order of the pods of one name: the one that is not being deleted is first."""

OF_LIVE_POD = (
    select(Pod.id)
    .where(Pod.id == PodStatus.pod_id, Pod.node_name == bindparam("node_name"), Pod.deleted_at.is_(None))
    .exists()
)
DUE = select(PodStatus.pod_id).where(
    PodStatus.effective_at > bindparam("settled_at"), PodStatus.effective_at <= bindparam("now"), OF_LIVE_POD
)
"""The pods whose statuses became due since the last write of the node. Few, as every write publishes them."""

_PUBLISH_PODS = Statement(update(Pod).where(Pod.id.in_(DUE)).values(parameters("revision")))
_UPDATE_NODE = Statement(
    update(Node).where(Node.name == bindparam("node_name")).values(parameters("revision", "settled_at"))
)
_SELECT_LAST = Statement(
    select(PodStatus.effective_at, PodStatus.status)
    .where(PodStatus.pod_id == bindparam("pod_id"), PodStatus.effective_at <= bindparam("until"))
    .order_by(PodStatus.effective_at.desc())
    .limit(1)
)
_INSERT_STATUS = Statement(
    insert(PodStatus).values(
        parameters("pod_id", "effective_at", "phase", "reason", "status", "cpu_millicores", "memory_bytes")
    )
)
_DELETE_STATUSES = Statement(
    delete(PodStatus).where(PodStatus.pod_id == bindparam("pod_id"), PodStatus.effective_at >= bindparam("at"))
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
_INSERT_USAGE_CHANGE = Statement(insert(UsageChange).values(parameters("pod_id", "changed_at", "usage")))
_CHANGEABLE = (
    "pod", "digest", "pod_ip", "created_at", "updated_at", "starts_at", "deletion_requested_at", "grace_ends_at",
    "deleted_at", "continues_at", "controller_uid",
)  # fmt: skip
_UPDATE_POD = Statement(
    update(Pod).where(Pod.id == bindparam("pod_id")).values(parameters(*_CHANGEABLE, "revision"))
)


class Unchanged(Exception):
    """A request asks for what is there already: its step is rolled back, and it succeeds."""


class NodeTransaction:
    """A write transaction of one node, in steps that succeed or fail one by one.

    The transaction begins by locking the node's row, so every other writer of the node waits until it ends: rows
    that were read stay unchanged, and revisions are committed in order. Each step that succeeds has a revision of
    its own. Pods whose statuses became due by now get the revision of the first step.

    Args:
        connection: a connection in a transaction, which :meth:`begin` commits.
        clock: the node's clock.

    Attributes:
        revision: the revision of the current step.
        now: the time of the write by the node's clock, not before that of the node's last write.
        last_hash: the hash of the node's last audit event, where events are chained.
        pod_bytes: the size of the pods that this transaction stores.
    """

    def __init__(self, connection: Connection, *, node_name: str, clock: NodeClock) -> None:
        self.connection = connection
        self.node_name = node_name
        node = lock_node(connection, node_name)
        self.revision: int = node.revision + 1
        self._committed: int | None = None
        self.last_hash: str = node.audit_hash or FIRST
        self.pod_bytes = 0
        self.now: datetime = clock.follow(node.settled_at)
        key = {"node_name": node_name, "settled_at": node.settled_at, "now": self.now}
        _PUBLISH_PODS.run(connection, revision=self.revision, **key)

    @classmethod
    @contextmanager
    def begin(cls, database: Database, *, node_name: str, clock: NodeClock) -> Iterator[Self]:
        """Yield a transaction; commit it at the end, or roll it back where no step has succeeded.

        Raises:
            DatabaseUnavailable: nothing was written.
        """
        with database.write() as connection:
            transaction = cls(connection, node_name=node_name, clock=clock)
            yield transaction
            transaction._finish()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Make one change, which is rolled back alone where it raises."""
        last_hash = self.last_hash
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            self.last_hash = last_hash
            raise
        self._committed = self.revision
        self.revision += 1

    def _finish(self) -> None:
        """Store the node's last revision; roll back where no step has succeeded."""
        if self._committed is None:
            if transaction := self.connection.get_transaction():
                transaction.rollback()
            return
        key = {"node_name": self.node_name, "settled_at": self.now}
        _UPDATE_NODE.run(self.connection, revision=self._committed, **key)

    def next_timestamp(self, row: Row) -> tuple[datetime, Transition]:
        """Return the time of a change to a pod, and the status that holds until then.

        The time is later than every earlier change of the pod, whatever the clock says.
        """
        now = max(self.now, row.updated_at)
        current = last_transition(self.connection, row.id, until=now)
        return max(now, current.effective_at + TICK), current

    def delete_statuses_from(self, pod_id: int, *, at: datetime) -> None:
        """Delete the statuses that hold from a time or later."""
        _DELETE_STATUSES.run(self.connection, pod_id=pod_id, at=at)

    def mark_left(self, pod_id: int, *, left_at: datetime) -> None:
        """Set `left_at` of the statuses from a deletion on, for a pod that is created again with the same UID.

        Without it the pod would seem to exist between the two. `left_at` is the time of the deletion for the
        status that held then; for later ones, such as the end of the containers, the time from which they hold.
        """
        _MARK_LEFT.run(self.connection, of_pod=pod_id, left_at=left_at)

    def insert_statuses(self, pod_id: int, requested: ResourceRequests, transitions: Iterable[Transition]) -> None:
        """Insert statuses, with the requests of the pod while they hold."""
        for effective_at, status in transitions:
            _INSERT_STATUS.run(
                self.connection,
                pod_id=pod_id,
                effective_at=effective_at,
                phase=status.phase,
                reason=status.summary,
                status=statuses.encode_status(status),
                cpu_millicores=requested.cpu_millicores,
                memory_bytes=requested.memory_bytes,
            )
            metrics.transition(status.phase).inc()

    def insert_usage_change(self, pod_id: int, *, changed_at: datetime, usage: str) -> None:
        """Insert the usage that a pod had until a time."""
        _INSERT_USAGE_CHANGE.run(self.connection, pod_id=pod_id, changed_at=changed_at, usage=usage)

    def update_pod(self, row: Row, **values: object) -> None:
        """Update columns of a pod and set its revision."""
        columns = {name: getattr(row, name) for name in _CHANGEABLE}
        _UPDATE_POD.run(self.connection, pod_id=row.id, **{**columns, **values}, revision=self.revision)


def last_transition(connection: Connection, pod_id: int, *, until: datetime) -> Transition:
    """Return the last status that holds from `until` or earlier; of all statuses with `FOREVER`."""
    last = _SELECT_LAST.one(connection, pod_id=pod_id, until=until)
    return Transition(last.effective_at, statuses.decode_status(last.status))
