"""One write request in one transaction: the steps that create, update and delete consist of."""

from collections.abc import Callable
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
from app.pods.transaction import KNOWN_POD, NodeTransaction
from app.runtimes import AcceptedPod, Runtime
from app.runtimes.base import Timeline

Clock = Callable[[], datetime]

_SELECT_LIVE = Statement(
    KNOWN_POD.where(
        Pod.namespace == bindparam("namespace"), Pod.name == bindparam("name"), Pod.deleted_at.is_(None)
    )
)
_SELECT_BY_UID = Statement(KNOWN_POD.where(Pod.uid == bindparam("uid")))
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
    """A write request under way, in its turn.

    Args:
        connection: in a transaction, which commits where nothing raises.

    Attributes:
        touched: the pods whose timelines changed, for the runtime to follow once the transaction is committed.
    """

    def __init__(
        self,
        connection: Connection,
        runtime: Runtime,
        *,
        now: datetime,
        caller: Caller,
        verb: Verb,
    ) -> None:
        self._settings = runtime.settings
        self._runtime = runtime
        self._transaction = NodeTransaction(connection, node_name=self._settings.node_name, now=now)
        self._caller = caller
        self._verb = verb
        self.touched: list[AcceptedPod] = []

    def find_live(self, namespace: str, name: str) -> Row | None:
        """Find the live pod of a name."""
        return self._find(_SELECT_LIVE, namespace=namespace, name=name)

    def find_by_uid(self, uid: str) -> Row | None:
        """Find the pod of a UID, live or not."""
        return self._find(_SELECT_BY_UID, uid=uid)

    def rollback(self) -> None:
        """End with nothing changed."""
        self._transaction.rollback()

    def create(self, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Take a new pod on.

        Args:
            replaced: the UID of the pod that had the name until now.
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
        self._transaction.insert_statuses(row.id, manifest.pod.spec, timeline.transitions)
        self._record(metadata, {"replaced": replaced}, timeline)

    def restore(self, row: Row, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Take a pod on again that was here before and was deleted.

        Raises:
            InvalidRequest: its UID belongs to a pod of another name.
        """
        metadata = manifest.pod.metadata
        if row.deleted_at is None or (row.namespace, row.name) != (metadata.namespace, metadata.name):
            raise InvalidRequest(f"belongs to {row.namespace}/{row.name}", field="metadata.uid")
        now, last = self._transaction.next_timestamp(row)
        pod = self._accept(manifest, self._address(manifest), now)
        timeline = self._runtime.create(pod, now=now)
        self._transaction.delete_statuses_from(row.id, at=now)
        self._transaction.mark_left(row.id, since=last.effective_at, left_at=row.deleted_at)
        self._transaction.insert_statuses(row.id, manifest.pod.spec, timeline.transitions)
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
        """Change a live pod. Its status goes on from where it is."""
        now, current = self._transaction.next_timestamp(row)
        before = Manifest.parse(row.pod.encode())
        pod = self._accept(manifest, row.pod_ip, row.created_at)
        timeline = self._runtime.update(pod, before=before, current=current, now=now)
        upcoming = timeline.transitions or [Transition(now, current.status)]
        is_same = statuses.encode_status(upcoming[0].status) == statuses.encode_status(current.status)
        if is_same and pod_requests(before.pod.spec) == pod_requests(manifest.pod.spec):
            upcoming = upcoming[1:]  # it holds already, and since when it does
        self._transaction.delete_statuses_from(row.id, at=now)
        self._transaction.insert_statuses(row.id, manifest.pod.spec, upcoming)
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
        """Let a pod go. What would have become of it is cut off; what was, and how it ends, stays on record.

        Args:
            grace: what its containers get to end by themselves; what the pod says itself where None.
        """
        now, current = self._transaction.next_timestamp(row)
        manifest = Manifest.parse(row.pod.encode())
        pod = self._accept(manifest, row.pod_ip, row.created_at, deleted_at=now, grace=grace)
        timeline = self._runtime.delete(
            pod,
            current=current,
            grace=manifest.pod.spec.grace if grace is None else grace,
            now=now,
        )
        self._transaction.delete_statuses_from(row.id, at=now)
        self._transaction.insert_statuses(row.id, manifest.pod.spec, timeline.transitions)
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
    """Say of a pod's row what a runtime wants to know."""
    return runtime.accepted(
        Manifest.parse(row.pod.encode()),
        pod_ip=row.pod_ip,
        accepted_at=row.created_at,
        deleted_at=row.deleted_at,
    )
