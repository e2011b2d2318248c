"""The turn of a writer: what one transaction changes in the rows of a node, while all others wait."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from app.audit.hash_chain import FIRST
from app.core import metrics
from app.db.models import Node, Pod, PodStatus
from app.db.nodes import add_node
from app.db.statement import Row, Statement, parameters
from app.kubernetes import status as statuses
from app.kubernetes.pod import PodSpec
from app.kubernetes.resources import pod_requests
from app.kubernetes.status import Transition

_TICK = timedelta(microseconds=1)
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)

KNOWN_POD = select(
    Pod.id, Pod.namespace, Pod.name, Pod.uid, Pod.pod, Pod.digest, Pod.pod_ip, Pod.created_at,
    Pod.updated_at, Pod.deleted_at, Pod.continues_at, Pod.revision,
).where(Pod.node_name == bindparam("node_name"))  # fmt: skip
"""What a writer wants to know of a pod."""

OF_LIVE_POD = (
    select(Pod.id)
    .where(Pod.id == PodStatus.pod_id, Pod.node_name == bindparam("node_name"), Pod.deleted_at.is_(None))
    .exists()
)
DUE = select(PodStatus.pod_id).where(
    PodStatus.effective_at > bindparam("settled_at"), PodStatus.effective_at <= bindparam("now"), OF_LIVE_POD
)
"""The pods whose statuses fell due since the node was settled. Few: every write settles it."""

_NEXT_REVISION = Statement(
    update(Node)
    .where(Node.name == bindparam("node_name"))
    .values(revision=Node.revision + 1)
    .returning(Node.revision, Node.settled_at, Node.audit_hash)
)
_SETTLE_PODS = Statement(update(Pod).where(Pod.id.in_(DUE)).values(parameters("revision")))
_SETTLE_NODE = Statement(update(Node).where(Node.name == bindparam("node_name")).values(parameters("settled_at")))
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
_CUT = Statement(
    delete(PodStatus).where(PodStatus.pod_id == bindparam("pod_id"), PodStatus.effective_at >= bindparam("at"))
)
_LEAVE = Statement(
    update(PodStatus)
    .where(PodStatus.pod_id == bindparam("of_pod"), PodStatus.effective_at == bindparam("since"))
    .values(parameters("left_at"))
)
_CHANGEABLE = ("pod", "digest", "pod_ip", "created_at", "updated_at", "deleted_at", "continues_at")
_UPDATE_POD = Statement(
    update(Pod).where(Pod.id == bindparam("pod_id")).values(parameters(*_CHANGEABLE, "revision"))
)


class NodeTransaction:
    """The turn of one writer.

    It begins by taking the node's next revision, which makes every other writer of this node wait until
    the transaction ends. So what it reads stays true, and revisions are committed in their order. Statuses that
    fell due until now get that revision, too.

    Args:
        connection: in a transaction, which commits where nothing raises.
        now: the time by the clock.

    Attributes:
        revision: the node's revision that this turn makes.
        now: when it happens. Never before what has been told to readers already, whatever the clock says.
        last_hash: of the node's last event in the audit, where these are chained.
    """

    def __init__(self, connection: Connection, *, node_name: str, now: datetime) -> None:
        self.connection = connection
        self.node_name = node_name
        node = self._next_revision()
        self.revision: int = node.revision
        self.last_hash: str = node.audit_hash or FIRST
        self.now: datetime = max(now, node.settled_at)
        self._publish_due(since=node.settled_at)

    def rollback(self) -> None:
        """End with nothing changed: not even the revision moves."""
        if transaction := self.connection.get_transaction():
            transaction.rollback()

    def next_timestamp(self, row: Row) -> tuple[datetime, Transition]:
        """Say when a change to a pod happens, and the status that holds until then.

        In the record of a pod, times never go back.
        """
        now = max(self.now, row.updated_at)
        current = last_transition(self.connection, row.id, until=now)
        return max(now, current.effective_at + _TICK), current

    def delete_statuses_from(self, pod_id: int, *, at: datetime) -> None:
        """Take back the statuses that were to hold at a time or later."""
        _CUT.run(self.connection, pod_id=pod_id, at=at)

    def mark_left(self, pod_id: int, *, since: datetime, left_at: datetime) -> None:
        """Note with the last status of a pod that comes back when the pod had left."""
        _LEAVE.run(self.connection, of_pod=pod_id, since=since, left_at=max(left_at, since))

    def insert_statuses(self, pod_id: int, spec: PodSpec, transitions: Iterable[Transition]) -> None:
        """Put statuses into the record, with what the pod requests while they hold."""
        requested = pod_requests(spec)
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

    def update_pod(self, row: Row, **values: object) -> None:
        """Change columns of a pod."""
        columns = {name: getattr(row, name) for name in _CHANGEABLE}
        _UPDATE_POD.run(self.connection, pod_id=row.id, **{**columns, **values}, revision=self.revision)

    def _publish_due(self, *, since: datetime) -> None:
        """Count what fell due since the node was last settled as a change of its pods."""
        key = {"node_name": self.node_name, "settled_at": since, "now": self.now}
        _SETTLE_PODS.run(self.connection, revision=self.revision, **key)
        _SETTLE_NODE.run(self.connection, node_name=self.node_name, settled_at=self.now)

    def _next_revision(self) -> Row:
        row = _NEXT_REVISION.first(self.connection, node_name=self.node_name)
        if row is None:  # the node's first write, and perhaps somebody else's at the same time
            add_node(self.connection, self.node_name)
            row = _NEXT_REVISION.one(self.connection, node_name=self.node_name)
        return row


def last_transition(connection: Connection, pod_id: int, *, until: datetime) -> Transition:
    """Read the last status of a pod that holds from a time not later than the given one."""
    last = _SELECT_LAST.one(connection, pod_id=pod_id, until=until)
    return Transition(last.effective_at, statuses.decode_status(last.status))
