"""One write request, in its one transaction: the steps of which `app.pods` makes create, update and delete."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, insert

from app import audit
from app.addresses import free_address
from app.audit import Caller, Event, Verb
from app.errors import InvalidRequest
from app.lifecycle import status as statuses
from app.lifecycle.course import Course
from app.lifecycle.diff import diff
from app.lifecycle.manifest import Manifest, ObjectMeta, PodReference
from app.lifecycle.requests import requests
from app.lifecycle.status import Transition
from app.models import Pod
from app.runtimes import AcceptedPod, Runtime
from app.statement import Row, Statement, parameters
from app.turn import KNOWN_POD, Turn

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


class Write:
    """A write request under way, in its turn.

    Args:
        connection: in a transaction, which commits where nothing raises.

    Attributes:
        touched: the pods whose courses changed, for the runtime to follow once the transaction is committed.
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
        self._turn = Turn(connection, node_name=self._settings.node_name, now=now)
        self._caller = caller
        self._verb = verb
        self.touched: list[AcceptedPod] = []

    def live(self, namespace: str, name: str) -> Row | None:
        """Find the live pod of a name."""
        return self._find(_SELECT_LIVE, namespace=namespace, name=name)

    def known(self, uid: str) -> Row | None:
        """Find the pod of a UID, live or not."""
        return self._find(_SELECT_BY_UID, uid=uid)

    def forget(self) -> None:
        """End with nothing changed."""
        self._turn.abandon()

    def begin(self, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Take a new pod on.

        Args:
            replaced: the UID of the pod that had the name until now.
        """
        now = self._turn.now
        metadata = manifest.pod.metadata
        pod = self._accept(manifest, self._address(manifest), now)
        course = self._runtime.begin(pod, now=now)
        row = _INSERT_POD.one(
            self._turn.connection,
            node_name=self._turn.node_name,
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
            pod=manifest.text,
            digest=manifest.digest,
            pod_ip=pod.placement.pod_ip,
            created_at=now,
            updated_at=now,
            deleted_at=None,
            continues_at=course.continues_at,
            revision=self._turn.revision,
        )
        self._turn.append(row.id, manifest.pod.spec, course.transitions)
        self._record(metadata, {"replaced": replaced}, course)

    def revive(self, row: Row, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Take a pod on again that was here before and was deleted.

        Raises:
            InvalidRequest: its UID belongs to a pod of another name.
        """
        metadata = manifest.pod.metadata
        if row.deleted_at is None or (row.namespace, row.name) != (metadata.namespace, metadata.name):
            raise InvalidRequest(f"belongs to {row.namespace}/{row.name}", field="metadata.uid")
        now, last = self._turn.moment(row)
        pod = self._accept(manifest, self._address(manifest), now)
        course = self._runtime.begin(pod, now=now)
        self._turn.cut(row.id, at=now)
        self._turn.leave(row.id, since=last.effective_at, left_at=row.deleted_at)
        self._turn.append(row.id, manifest.pod.spec, course.transitions)
        self._turn.change(
            row,
            pod=manifest.text,
            digest=manifest.digest,
            pod_ip=pod.placement.pod_ip,
            created_at=now,
            updated_at=now,
            deleted_at=None,
            continues_at=course.continues_at,
        )
        self._record(row, {"revived": row.uid, "replaced": replaced}, course)

    def revise(self, row: Row, manifest: Manifest) -> None:
        """Change a live pod. Its status goes on from where it is."""
        now, current = self._turn.moment(row)
        before = Manifest.parse(row.pod.encode())
        pod = self._accept(manifest, row.pod_ip, row.created_at)
        course = self._runtime.change(pod, before=before, current=current, now=now)
        upcoming = course.transitions or [Transition(now, current.status)]
        is_same = statuses.encode(upcoming[0].status) == statuses.encode(current.status)
        if is_same and requests(before.pod.spec) == requests(manifest.pod.spec):
            upcoming = upcoming[1:]  # it holds already, and since when it does
        self._turn.cut(row.id, at=now)
        self._turn.append(row.id, manifest.pod.spec, upcoming)
        self._turn.change(
            row, pod=manifest.text, digest=manifest.digest, updated_at=now, continues_at=course.continues_at
        )
        changed = diff(orjson.loads(row.pod), orjson.loads(manifest.text))
        self._record(
            row,
            {"changed": [change for change in changed if change["field"] != "metadata.resourceVersion"]},
            course,
        )

    def end(self, row: Row, *, grace: timedelta | None = None) -> None:
        """Let a pod go. What would have become of it is cut off; what was, and how it ends, stays on record.

        Args:
            grace: what its containers get to end by themselves; what the pod says itself where None.
        """
        now, current = self._turn.moment(row)
        manifest = Manifest.parse(row.pod.encode())
        pod = self._accept(manifest, row.pod_ip, row.created_at, deleted_at=now, grace=grace)
        course = self._runtime.end(
            pod,
            current=current,
            grace=manifest.pod.spec.grace if grace is None else grace,
            now=now,
        )
        self._turn.cut(row.id, at=now)
        self._turn.append(row.id, manifest.pod.spec, course.transitions)
        self._turn.change(row, updated_at=now, deleted_at=now, continues_at=course.continues_at)
        if self._verb == "delete":
            self._record(row)

    def _find(self, statement: Statement, **key: object) -> Row | None:
        return statement.first(self._turn.connection, node_name=self._turn.node_name, **key)

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
            self._turn.connection,
            node_name=self._turn.node_name,
            network=self._settings.pod_cidr,
            start=self._turn.revision,
        )

    def _record(
        self, pod: Row | ObjectMeta, change: dict[str, Any] | None = None, course: Course | None = None
    ) -> None:
        change = {k: v for k, v in (change or {}).items() if v is not None}
        if course and course.problems:
            change["problems"] = course.problems
        event = Event(
            at=self._turn.now,
            node_name=self._turn.node_name,
            caller=self._caller,
            verb=self._verb,
            pod=PodReference(namespace=pod.namespace, name=pod.name, uid=pod.uid),
            code=200,
            revision=self._turn.revision,
            change=change,
        )
        after = self._turn.last_hash if self._settings.audit_hash_chain else None
        audit.record(self._turn.connection, event, after=after)


def accepted_pod(runtime: Runtime, row: Row) -> AcceptedPod:
    """Say of a pod's row what a runtime wants to know."""
    return runtime.accepted(
        Manifest.parse(row.pod.encode()),
        pod_ip=row.pod_ip,
        accepted_at=row.created_at,
        deleted_at=row.deleted_at,
    )
