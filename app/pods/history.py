"""The record as one reads it: the node and its pods as they are, were at a time, and will be."""

from collections.abc import Generator, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
import orjson
from sqlalchemy import and_, func, select

from app.audit.service import AuditFilter, AuditLog
from app.core.errors import NotFound
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import Node, Pod, PodStatus
from app.kubernetes.redact import redact_pod
from app.pods.advance import TimelineAdvancer
from app.pods.explain import PodHistory, StatusInterval, explain, summary
from app.pods.then import existed_at, status_at
from app.pods.writer import Clock

_ROWS_A_CHUNK = 200


class PodSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as it was at a time.

    Attributes:
        since: from when on its status held.
        status: the PodStatus.
    """

    namespace: str
    name: str
    uid: str
    phase: str
    reason: str | None
    since: datetime
    created_at: datetime
    deleted_at: datetime | None
    status: dict[str, Any]


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that is or was on the node.

    Attributes:
        pod: the Pod as it was last sent, its environment masked.
        life: every status that it had, has and is to have.
    """

    namespace: str
    name: str
    uid: str
    pod: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    life: PodHistory


class NodeSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of a node at a time, and what it had promised to those of them that were Pending or Running."""

    pods_by_phase: dict[str, int]
    pods: int
    cpu_millicores: int
    memory_bytes: int


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that became of a pod: a request, or a status.

    Attributes:
        summary: what it was, in words.
        request: the event of the audit, of a request.
        status: the PodStatus, of a status.
        is_end: after it, the pod was gone.
    """

    at: datetime
    summary: str
    request: dict[str, Any] | None = None
    status: dict[str, Any] | None = None
    is_end: bool = False


class History:
    """The record of one node. Every method may raise `DatabaseUnavailable`."""

    def __init__(
        self, database: Database, timelines: TimelineAdvancer, audit: AuditLog, settings: Settings, *, clock: Clock
    ) -> None:
        self._database = database
        self._timelines = timelines
        self._audit = audit
        self._node_name = settings.node_name
        self._clock = clock

    def pods(
        self, *, at: datetime, namespace: str | None = None, phase: str | None = None, deleted: bool = False
    ) -> Generator[PodSnapshot, None, None]:
        """Give the pods of the node at a time, by namespace and name; they are read as they are consumed.

        Args:
            deleted: also those that had gone by then, as they were last.
        """
        query = (
            select(
                Pod.namespace, Pod.name, Pod.uid, PodStatus.phase, PodStatus.reason,
                PodStatus.effective_at.label("since"), Pod.created_at, Pod.deleted_at, PodStatus.status,
            )
            .join(PodStatus)
            .where(Pod.node_name == self._node_name, status_at(at))
            .order_by(Pod.namespace, Pod.name, Pod.id)
        )  # fmt: skip
        if not deleted:
            query = query.where(existed_at(at))
        if namespace:
            query = query.where(Pod.namespace == namespace)
        if phase:
            query = query.where(PodStatus.phase == phase)
        self._timelines.advance_all()
        with (
            self._database.read(streaming=True) as connection,
            connection.execute(query, execution_options={"yield_per": _ROWS_A_CHUNK}) as rows,
        ):
            for row in rows:
                yield PodSnapshot(**{**row._asdict(), "status": orjson.loads(row.status)})

    def pod(self, *, namespace: str | None = None, name: str | None = None, uid: str | None = None) -> PodRecord:
        """Give the pod of a UID, or the one that has a name now, or had it last.

        Raises:
            NotFound: there is none and never was, as far as the record goes.
        """
        names = and_(Pod.namespace == namespace, Pod.name == name)
        query = (
            select(Pod.__table__)
            .where(Pod.node_name == self._node_name, Pod.uid == uid if uid else names)
            .order_by(Pod.deleted_at.is_(None).desc(), Pod.updated_at.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"no pod {f'with the UID {uid}' if uid else f'{namespace}/{name}'} is on record")
        if row.continues_at and row.continues_at <= self._clock():
            self._timelines.advance(row.id)
            with self._database.read() as connection:
                row = connection.execute(query).one()
        return PodRecord(
            namespace=row.namespace,
            name=row.name,
            uid=row.uid,
            pod=redact_pod(orjson.loads(row.pod)),
            created_at=row.created_at,
            updated_at=row.updated_at,
            life=PodHistory(self._moments(row.id, deleted_at=row.deleted_at), row.deleted_at, row.continues_at),
        )

    def find(self, pod: str) -> PodRecord:
        """Give a pod by what a person types: `NAMESPACE/NAME`, or a UID.

        Raises:
            NotFound: as :meth:`pod`.
        """
        namespace, slash, name = pod.partition("/")
        return self.pod(namespace=namespace, name=name) if slash else self.pod(uid=pod)

    def steps(self, pod: PodRecord) -> list[HistoryEntry]:
        """Tell what became of a pod: each request and each status in their order, those to come included."""
        statuses = [
            HistoryEntry(at=since, summary=summary(status), status=status) for since, _, status in pod.life.moments
        ]
        return sorted([*self._requests(pod), *statuses], key=lambda step: step.at)

    def explain(self, pod: PodRecord, *, at: datetime) -> list[str]:
        """Say in words why a pod is as it is at a time, and what comes next."""
        gone = pod.life.deleted_at
        ends = [step for step in self._requests(pod) if gone and step.is_end and step.at <= gone]
        return [*explain(pod.life, now=at), *(f"What deleted it: {step.summary}." for step in ends[-1:])]

    def node(self, *, at: datetime) -> NodeSnapshot:
        """Say what the node had promised at a time."""
        query = (
            select(
                PodStatus.phase, func.count(), func.sum(PodStatus.cpu_millicores), func.sum(PodStatus.memory_bytes)
            )
            .join(Pod)
            .where(Pod.node_name == self._node_name, status_at(at), existed_at(at))
            .group_by(PodStatus.phase)
            .order_by(PodStatus.phase)
        )
        self._timelines.advance_all()
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        taking = [row for row in rows if row[0] in ("Pending", "Running")]
        return NodeSnapshot(
            pods_by_phase={phase: count for phase, count, _, _ in rows},
            pods=sum(row[1] for row in taking),
            cpu_millicores=sum(int(row[2] or 0) for row in taking),
            memory_bytes=sum(int(row[3] or 0) for row in taking),
        )

    def revision(self) -> int:
        """Read the node's revision; 0 where nothing was ever written."""
        with self._database.read() as connection:
            return connection.scalar(select(Node.revision).where(Node.name == self._node_name)) or 0

    def _requests(self, pod: PodRecord) -> Iterator[HistoryEntry]:
        """Find the requests that made, changed and ended a pod."""
        for event in self._audit.events(AuditFilter(namespace=pod.namespace, name=pod.name, outcome="done")):
            event["change"] = orjson.loads(event["change"] or "{}")
            is_replaced = event["change"].get("replaced") == pod.uid
            if event["uid"] != pod.uid and not is_replaced:
                continue
            said = f"{event['verb']} by {event['user_agent'] or 'nobody named'} from {event['address']}"
            if is_replaced:
                said += f", which put {event['uid']} in its place"
            elif fields := [change["field"] for change in event["change"].get("changed", ())]:
                said += f": {', '.join(fields)}"
            is_end = is_replaced or event["verb"] == "delete"
            yield HistoryEntry(at=event["at"], summary=said, request=event, is_end=is_end)

    def _moments(self, pod_id: int, *, deleted_at: datetime | None) -> list[StatusInterval]:
        query = (
            select(PodStatus.effective_at, PodStatus.left_at, PodStatus.status)
            .where(PodStatus.pod_id == pod_id)
            .order_by(PodStatus.effective_at)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        ends = [row.left_at or after.effective_at for row, after in pairwise(rows)]
        if rows:
            ends.append(deleted_at if deleted_at and deleted_at > rows[-1].effective_at else None)
        return [
            StatusInterval(row.effective_at, end, orjson.loads(row.status))
            for row, end in zip(rows, ends, strict=True)
        ]
