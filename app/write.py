"""One write request, in its one transaction: the steps of which `app.pods` makes create, update and delete."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app import audit
from app.addresses import free_address
from app.audit import Caller, Verb
from app.errors import InvalidRequest
from app.lifecycle import status as statuses
from app.lifecycle.course import Placement, course
from app.lifecycle.diff import diff
from app.lifecycle.manifest import Manifest, ObjectMeta, PodReference
from app.lifecycle.status import Transition
from app.models import Node, Pod, PodStatus
from app.settings import Settings
from app.statement import Row, Statement, parameters

Clock = Callable[[], datetime]
_KNOWN_POD = select(
    Pod.id, Pod.namespace, Pod.name, Pod.uid, Pod.pod, Pod.digest, Pod.pod_ip, Pod.created_at,
    Pod.updated_at, Pod.deleted_at,
).where(Pod.node_name == bindparam("node_name"))  # fmt: skip
_SELECT_LIVE = Statement(
    _KNOWN_POD.where(
        Pod.namespace == bindparam("namespace"), Pod.name == bindparam("name"), Pod.deleted_at.is_(None)
    )
)
_SELECT_BY_UID = Statement(_KNOWN_POD.where(Pod.uid == bindparam("uid")))
_SELECT_CURRENT = Statement(
    select(PodStatus.status, PodStatus.effective_at)
    .where(PodStatus.pod_id == bindparam("pod_id"), PodStatus.effective_at <= bindparam("now"))
    .order_by(PodStatus.effective_at.desc())
    .limit(1)
)
_NEXT_REVISION = Statement(
    update(Node)
    .where(Node.name == bindparam("node_name"))
    .values(revision=Node.revision + 1)
    .returning(Node.revision)
)
_INSERT_NODE = {
    "sqlite": sqlite.insert(Node).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(Node).on_conflict_do_nothing(),
}
_INSERT_POD = Statement(
    insert(Pod)
    .values(
        parameters(
            "node_name", "namespace", "name", "uid", "pod", "digest", "pod_ip", "created_at", "updated_at",
            "deleted_at", "revision",
        )
    )
    .returning(Pod.id)
)  # fmt: skip
_UPDATE_POD = Statement(
    update(Pod)
    .where(Pod.id == bindparam("pod_id"))
    .values(parameters("pod", "digest", "pod_ip", "created_at", "updated_at", "deleted_at", "revision"))
)
_INSERT_STATUS = Statement(
    insert(PodStatus).values(parameters("pod_id", "effective_at", "phase", "reason", "status"))
)
_CUT = Statement(
    delete(PodStatus).where(PodStatus.pod_id == bindparam("pod_id"), PodStatus.effective_at > bindparam("after"))
)


class Write:
    """A write request under way.

    It begins by taking the node's next revision, which makes every other writer of this node wait until
    the transaction ends. So what it reads stays true, and revisions are committed in their order.

    Args:
        connection: in a transaction, which commits where nothing raises.
    """

    def __init__(
        self, connection: Connection, settings: Settings, clock: Clock, *, caller: Caller, verb: Verb
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._node_name = settings.node_name
        self._caller = caller
        self._verb = verb
        self._revision = self._next_revision()
        self._now = clock()

    def live(self, namespace: str, name: str) -> Row | None:
        """Find the live pod of a name."""
        return _SELECT_LIVE.first(self._connection, node_name=self._node_name, namespace=namespace, name=name)

    def known(self, uid: str) -> Row | None:
        """Find the pod of a UID, live or not."""
        return _SELECT_BY_UID.first(self._connection, node_name=self._node_name, uid=uid)

    def forget(self) -> None:
        """End with nothing changed: not even the revision moves."""
        if transaction := self._connection.get_transaction():
            transaction.rollback()

    def begin(self, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Take a new pod on.

        Args:
            replaced: the UID of the pod that had the name until now.
        """
        metadata = manifest.pod.metadata
        pod_ip = self._address(manifest)
        row = _INSERT_POD.one(
            self._connection,
            node_name=self._node_name,
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
            pod=manifest.text,
            digest=manifest.digest,
            pod_ip=pod_ip,
            created_at=self._now,
            updated_at=self._now,
            deleted_at=None,
            revision=self._revision,
        )
        self._append(row.id, self._course(manifest, pod_ip=pod_ip, accepted_at=self._now, now=self._now))
        self._record(metadata, {"replaced": replaced})

    def revive(self, row: Row, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Take a pod on again that was here before and was deleted.

        Raises:
            InvalidRequest: its UID belongs to a pod of another name.
        """
        metadata = manifest.pod.metadata
        if row.deleted_at is None or (row.namespace, row.name) != (metadata.namespace, metadata.name):
            raise InvalidRequest(f"belongs to {row.namespace}/{row.name}", field="metadata.uid")
        now, _ = self._moment(row)
        pod_ip = self._address(manifest)
        self._append(row.id, self._course(manifest, pod_ip=pod_ip, accepted_at=now, now=now))
        self._change(row, now, manifest=manifest, pod_ip=pod_ip, created_at=now, deleted_at=None)
        self._record(row, {"revived": row.uid, "replaced": replaced})

    def revise(self, row: Row, manifest: Manifest) -> None:
        """Change a live pod. Its status goes on from where it is."""
        now, current = self._moment(row)
        upcoming = self._course(
            manifest, pod_ip=row.pod_ip, accepted_at=row.created_at, now=now, current=statuses.decode(current)
        )
        if statuses.encode(upcoming[0].status) == current:
            upcoming = upcoming[1:]  # it holds already, and since when it does
        self._cut(row.id, after=now)
        self._append(row.id, upcoming)
        self._change(row, now, manifest=manifest)
        changed = diff(orjson.loads(row.pod), orjson.loads(manifest.text))
        self._record(
            row,
            {"changed": [change for change in changed if change["field"] != "metadata.resourceVersion"]},
        )

    def end(self, row: Row) -> None:
        """Let a pod go. What would have become of it is cut off; what was, stays."""
        now, _ = self._moment(row)
        self._cut(row.id, after=now)
        self._change(row, now, deleted_at=now)
        if self._verb == "delete":
            self._record(row)

    def _next_revision(self) -> int:
        row = _NEXT_REVISION.first(self._connection, node_name=self._node_name)
        if row is None:  # the node's first write, and perhaps somebody else's at the same time
            insert_node = _INSERT_NODE[self._connection.dialect.name]
            self._connection.execute(insert_node, {"name": self._node_name, "revision": 0})
            row = _NEXT_REVISION.one(self._connection, node_name=self._node_name)
        revision: int = row.revision
        return revision

    def _moment(self, row: Row) -> tuple[datetime, str]:
        """Say when a change to a pod happens, and the status that holds until then.

        Times in the record of a pod never go back, whatever the clock does.
        """
        now = max(self._now, row.updated_at)
        current = _SELECT_CURRENT.one(self._connection, pod_id=row.id, now=now)
        return max(now, current.effective_at + timedelta(microseconds=1)), current.status

    def _course(self, manifest: Manifest, *, pod_ip: str | None, **times: Any) -> list[Transition]:
        placement = Placement(host_ips=self._settings.host_ips, pod_ip=pod_ip)
        return course(manifest.pod, placement=placement, start_delay=self._settings.start_delay, **times)

    def _address(self, manifest: Manifest) -> str | None:
        if manifest.pod.spec.host_network:
            return None
        return free_address(
            self._connection,
            node_name=self._node_name,
            network=self._settings.pod_cidr,
            start=self._revision,
        )

    def _append(self, pod_id: int, transitions: list[Transition]) -> None:
        for effective_at, status in transitions:
            _INSERT_STATUS.run(
                self._connection,
                pod_id=pod_id,
                effective_at=effective_at,
                phase=status.phase,
                reason=status.summary,
                status=statuses.encode(status),
            )

    def _cut(self, pod_id: int, *, after: datetime) -> None:
        _CUT.run(self._connection, pod_id=pod_id, after=after)

    def _change(self, row: Row, now: datetime, *, manifest: Manifest | None = None, **values: object) -> None:
        pod, digest = (manifest.text, manifest.digest) if manifest else (row.pod, row.digest)
        columns = {"pod_ip": row.pod_ip, "created_at": row.created_at, "deleted_at": row.deleted_at, **values}
        _UPDATE_POD.run(
            self._connection,
            pod_id=row.id,
            pod=pod,
            digest=digest,
            updated_at=now,
            revision=self._revision,
            **columns,
        )

    def _record(self, pod: Row | ObjectMeta, change: dict[str, Any] | None = None) -> None:
        audit.record(
            self._connection,
            at=self._now,
            node_name=self._node_name,
            caller=self._caller,
            verb=self._verb,
            pod=PodReference(namespace=pod.namespace, name=pod.name, uid=pod.uid),
            code=200,
            revision=self._revision,
            change={k: v for k, v in (change or {}).items() if v is not None},
        )
