"""The steps of a write request, all in one transaction: create, restore, update and delete a pod."""

from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, insert

from app import audit
from app.audit import Caller, Event, Verb
from app.audit.diff import diff
from app.core.errors import InvalidRequest
from app.db.models import Pod
from app.db.statement import Row, Statement, parameters
from app.kubernetes import status as statuses
from app.kubernetes.pod import Manifest, ObjectMeta, PodReference
from app.kubernetes.resources import pod_requests
from app.kubernetes.status import Transition
from app.pods.ipam import free_address
from app.pods.node_clock import NodeClock
from app.pods.transaction import SELECT_POD_ROW, NodeTransaction
from app.runtimes import AcceptedPod, Runtime
from app.runtimes.base import Timeline

_SELECT_LIVE = Statement(
    SELECT_POD_ROW.where(
        Pod.namespace == bindparam("namespace"), Pod.name == bindparam("name"), Pod.deleted_at.is_(None)
    )
)
_SELECT_BY_UID = Statement(SELECT_POD_ROW.where(Pod.uid == bindparam("uid")))
_INSERT_POD = Statement(
    insert(Pod)
    .values(
        parameters(
            "node_name", "namespace", "name", "uid", "pod", "digest", "pod_ip", "created_at", "updated_at",
            "deleted_at", "continues_at", "revision",
        )
    )
    .returning(Pod.id)
)  # fmt: skip


class PodWriter:
    """A write request in its transaction.

    Args:
        connection: a connection in a transaction that the caller commits.
        clock: the node's clock.
        caller: the client that sent the request, for the audit log.
        verb: the request, for the audit log.

    Attributes:
        touched: the pods whose timelines changed, for `Runtime.sync` after the commit.
    """

    def __init__(
        self,
        connection: Connection,
        runtime: Runtime,
        *,
        clock: NodeClock,
        caller: Caller,
        verb: Verb,
    ) -> None:
        self._settings = runtime.settings
        self._runtime = runtime
        self._transaction = NodeTransaction(connection, node_name=self._settings.node_name, clock=clock)
        self._caller = caller
        self._verb = verb
        self.touched: list[AcceptedPod] = []

    def find_live(self, namespace: str, name: str) -> Row | None:
        """Return the row of the live pod with a name; None where there is none."""
        return self._find(_SELECT_LIVE, namespace=namespace, name=name)

    def find_by_uid(self, uid: str) -> Row | None:
        """Return the row of the pod with a UID, live or deleted; None where there is none."""
        return self._find(_SELECT_BY_UID, uid=uid)

    def rollback(self) -> None:
        """Roll the transaction back."""
        self._transaction.rollback()

    def create(self, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Insert a new pod and its statuses.

        Args:
            replaced: the UID of the pod that had the name until now, for the audit log.
        """
        now = self._transaction.now
        metadata = manifest.pod.metadata
        pod = self._accept(manifest, self._address(manifest), now)
        timeline = self._runtime.create(pod, now=now)
        row = _INSERT_POD.one(
            self._transaction.connection,
            node_name=self._transaction.node_name,
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
            pod=manifest.text,
            digest=manifest.digest,
            pod_ip=pod.placement.pod_ip,
            created_at=now,
            updated_at=now,
            deleted_at=None,
            continues_at=timeline.continues_at,
            revision=self._transaction.revision,
        )
        self._transaction.insert_statuses(row.id, pod_requests(manifest.pod.spec), timeline.transitions)
        self._record(metadata, {"replaced": replaced}, timeline)

    def restore(self, row: Row, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Restore a deleted pod, for a create request with its UID.

        Raises:
            InvalidRequest: the UID belongs to a pod with another name.
        """
        metadata = manifest.pod.metadata
        if row.deleted_at is None or (row.namespace, row.name) != (metadata.namespace, metadata.name):
            raise InvalidRequest(f"belongs to {row.namespace}/{row.name}", field="metadata.uid")
        now, _ = self._transaction.next_timestamp(row)
        pod = self._accept(manifest, self._address(manifest), now)
        timeline = self._runtime.create(pod, now=now)
        self._transaction.delete_statuses_from(row.id, at=now)
        self._transaction.mark_left(row.id, left_at=row.deleted_at)
        self._transaction.insert_statuses(row.id, pod_requests(manifest.pod.spec), timeline.transitions)
        self._transaction.update_pod(
            row,
            pod=manifest.text,
            digest=manifest.digest,
            pod_ip=pod.placement.pod_ip,
            created_at=now,
            updated_at=now,
            deleted_at=None,
            continues_at=timeline.continues_at,
        )
        self._record(row, {"revived": row.uid, "replaced": replaced}, timeline)

    def update(self, row: Row, manifest: Manifest) -> None:
        """Update a live pod. The runtime continues from its current status."""
        now, current = self._transaction.next_timestamp(row)
        before = Manifest.stored(row.pod, digest=row.digest)
        pod = self._accept(manifest, row.pod_ip, row.created_at)
        timeline = self._runtime.update(pod, before=before, current=current, now=now)
        upcoming = timeline.transitions or [Transition(now, current.status)]
        is_same = statuses.encode_status(upcoming[0].status) == statuses.encode_status(current.status)
        requested = pod_requests(manifest.pod.spec)
        if is_same and pod_requests(before.pod.spec) == requested:
            upcoming = upcoming[1:]  # the stored status holds on, with the time from which it holds
        self._transaction.delete_statuses_from(row.id, at=now)
        self._transaction.insert_statuses(row.id, requested, upcoming)
        self._transaction.update_pod(
            row, pod=manifest.text, digest=manifest.digest, updated_at=now, continues_at=timeline.continues_at
        )
        changed = diff(orjson.loads(row.pod), orjson.loads(manifest.text))
        self._record(
            row,
            {"changed": [change for change in changed if change["field"] != "metadata.resourceVersion"]},
            timeline,
        )

    def delete(self, row: Row, *, grace: timedelta | None = None) -> None:
        """Delete a pod; keep its row and its past statuses, and insert those of its termination.

        Args:
            grace: the grace period of its containers; None for that of the pod's spec.
        """
        now, current = self._transaction.next_timestamp(row)
        manifest = Manifest.stored(row.pod, digest=row.digest)
        pod = self._accept(manifest, row.pod_ip, row.created_at, deleted_at=now, grace=grace)
        timeline = self._runtime.delete(
            pod,
            current=current,
            grace=manifest.pod.spec.grace if grace is None else grace,
            now=now,
        )
        self._transaction.delete_statuses_from(row.id, at=now)
        self._transaction.insert_statuses(row.id, pod_requests(manifest.pod.spec), timeline.transitions)
        self._transaction.update_pod(row, updated_at=now, deleted_at=now, continues_at=timeline.continues_at)
        if self._verb == "delete":
            self._record(row)

    def _find(self, statement: Statement, **key: object) -> Row | None:
        return statement.first(self._transaction.connection, node_name=self._transaction.node_name, **key)

    def _accept(
        self,
        manifest: Manifest,
        pod_ip: str | None,
        accepted_at: datetime,
        *,
        deleted_at: datetime | None = None,
        grace: timedelta | None = None,
    ) -> AcceptedPod:
        pod = self._runtime.accepted(
            manifest, pod_ip=pod_ip, accepted_at=accepted_at, deleted_at=deleted_at, grace=grace
        )
        self.touched.append(pod)
        return pod

    def _address(self, manifest: Manifest) -> str | None:
        if manifest.pod.spec.host_network or not self._runtime.has_pod_network:
            return None
        return free_address(
            self._transaction.connection,
            node_name=self._transaction.node_name,
            network=self._settings.pod_cidr,
            start=self._transaction.revision,
        )

    def _record(
        self, pod: Row | ObjectMeta, change: dict[str, Any] | None = None, timeline: Timeline | None = None
    ) -> None:
        change = {k: v for k, v in (change or {}).items() if v is not None}
        if timeline and timeline.problems:
            change["problems"] = timeline.problems
        event = Event(
            at=self._transaction.now,
            node_name=self._transaction.node_name,
            caller=self._caller,
            verb=self._verb,
            pod=PodReference(namespace=pod.namespace, name=pod.name, uid=pod.uid),
            code=200,
            revision=self._transaction.revision,
            change=change,
        )
        after = self._transaction.last_hash if self._settings.audit_hash_chain else None
        audit.insert_event(self._transaction.connection, event, after=after)


def accepted_pod(runtime: Runtime, row: Row) -> AcceptedPod:
    """Return the pod of a row as runtimes take it. The row has `pod`, `digest`, `pod_ip` and the times."""
    return runtime.accepted(
        Manifest.stored(row.pod, digest=row.digest),
        pod_ip=row.pod_ip,
        accepted_at=row.created_at,
        deleted_at=row.deleted_at,
    )
