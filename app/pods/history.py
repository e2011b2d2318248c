"""The history of a fleet and its pods: their state at any time, and the requests that changed it."""

from collections.abc import Collection, Generator, Iterator
from datetime import datetime
from typing import Any

import msgspec
import orjson
from sqlalchemy import and_, func, select

from app.audit.service import AuditFilter, AuditLog
from app.core.errors import NotFound
from app.db.models import Pod, PodStatus
from app.kubernetes.printer import PodColumns, PodOutline, StatusOutline, print_pod
from app.kubernetes.redact import Redactor, redact_pod
from app.pods.attention import Health, health
from app.pods.context import FleetContext
from app.pods.explain import PodHistory, explain, summary
from app.pods.pod_filter import BY_NAME, EVERY_POD, PodFilter, Sort, narrow
from app.pods.queries import PodQueries
from app.pods.transaction import NEWEST_FIRST
from app.pods.usage import UsageService
from app.pods.volumes import VolumeService, describe_sources

_ROWS_PER_CHUNK = 200


class PodSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A pod and its status at a time.

    Attributes:
        since: when the status began to hold.
        deleted_at: when the pod was deleted, or deleted first after that status; None while it is live.
        status: the PodStatus as JSON.
        columns: READY, STATUS and RESTARTS as `kubectl get pods` prints them.
        health: how well it is, as the dashboard shows it by a colour.
    """

    namespace: str
    name: str
    uid: str
    node_name: str
    phase: str
    reason: str | None
    since: datetime
    created_at: datetime
    deleted_at: datetime | None
    status: dict[str, Any]
    columns: PodColumns
    health: Health


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A pod of the fleet, live or deleted.

    Attributes:
        pod: the Pod as last received, with its environment redacted.
        redact: replaces values of the environment in other texts of the pod.
        history: its statuses, upcoming ones included.
    """

    namespace: str
    name: str
    uid: str
    node_name: str
    pod_ip: str | None
    owner: str | None
    pod: dict[str, Any]
    redact: Redactor
    created_at: datetime
    updated_at: datetime
    history: PodHistory

    @property
    def deleted_at(self) -> datetime | None:
        """When the pod was deleted; None while it is live."""
        return self.history.deleted_at


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A request that changed a pod, or a status of the pod.

    Attributes:
        summary: one line.
        request: the audit event of a request; None for a status.
        status: the PodStatus of a status; None for a request.
        is_end: the request deleted the pod.
    """

    at: datetime
    summary: str
    request: dict[str, Any] | None = None
    status: dict[str, Any] | None = None
    is_end: bool = False


class History:
    """The history of one fleet. Every method may raise `DatabaseUnavailable`; a time of None is the present."""

    def __init__(
        self,
        fleet: FleetContext,
        queries: PodQueries,
        audit: AuditLog,
        *,
        usage: UsageService,
        volumes: VolumeService,
    ) -> None:
        self._fleet = fleet
        self._queries = queries
        self._audit = audit
        self._usage = usage
        self._volumes = volumes

    def pods(
        self,
        wanted: PodFilter = EVERY_POD,
        *,
        at: datetime | None = None,
        sort: Sort = BY_NAME,
        deleted: bool = False,
        uids: Collection[str] | None = None,
    ) -> Generator[PodSnapshot, None, None]:
        """Yield the pods of the fleet at a time, while the rows are read.

        Args:
            deleted: include pods deleted by then, with their last status.
            uids: only pods with these UIDs; all where None.
        """
        query = self._queries.pods_at(
            at, Pod.namespace, Pod.name, Pod.uid, Pod.node_name, PodStatus.phase, PodStatus.reason,
            PodStatus.effective_at.label("since"), Pod.created_at,
            func.coalesce(PodStatus.left_at, Pod.deleted_at).label("deleted_at"), PodStatus.status, Pod.pod,
            Pod.deletion_requested_at, health(PodStatus, at or self._fleet.clock()).label("health"),
            include_deleted=deleted,
        )  # fmt: skip
        query = narrow(query, wanted, sort, source=PodStatus, at=at, now=at or self._fleet.clock())
        if uids is not None:
            query = query.where(Pod.uid.in_(uids))
        self._fleet.timelines.advance_all()
        with (
            self._fleet.database.read(streaming=True) as connection,
            connection.execute(query, execution_options={"yield_per": _ROWS_PER_CHUNK}) as rows,
        ):
            for row in rows:
                values = row._asdict()
                values["status"], pod = orjson.loads(row.status), PodOutline.parse(values.pop("pod"))
                columns = print_pod(
                    pod,
                    StatusOutline.parse(row.status),
                    at=at or self._fleet.clock(),
                    deletion_requested_at=values.pop("deletion_requested_at"),
                )
                yield PodSnapshot(**values, columns=columns)

    def pod(
        self,
        *,
        namespace: str | None = None,
        name: str | None = None,
        uid: str | None = None,
        limit: int | None = None,
    ) -> PodRecord:
        """Return the pod with a UID, or the live pod with a name, or the last that had the name.

        Args:
            limit: only so many of its last statuses; all where None.

        Raises:
            NotFound: the database holds no such pod.
        """
        names = and_(Pod.namespace == namespace, Pod.name == name)
        query = (
            select(Pod.__table__)
            .where(Pod.fleet == self._fleet.name, Pod.uid == uid if uid else names)
            .order_by(*([] if uid else (Pod.deleted_at.is_(None).desc(), *NEWEST_FIRST, Pod.updated_at.desc())))
            .limit(1)
        )
        with self._fleet.database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"no pod {f'with the UID {uid}' if uid else f'{namespace}/{name}'} is recorded")
        is_waiting = row.starts_at is None and row.deleted_at is None
        if is_waiting or (row.continues_at and row.continues_at <= self._fleet.clock()):
            self._fleet.timelines.advance(row.id)
            with self._fleet.database.read() as connection:
                row = connection.execute(query).one()
        document = orjson.loads(row.pod)
        return PodRecord(
            namespace=row.namespace,
            name=row.name,
            uid=row.uid,
            node_name=row.node_name,
            pod_ip=row.pod_ip,
            owner=row.owner,
            pod=redact_pod(document),
            redact=Redactor(document),
            created_at=row.created_at,
            updated_at=row.updated_at,
            history=PodHistory.of(row, self._queries.statuses(row, limit=limit)),
        )

    def find(self, pod: str) -> PodRecord:
        """Return the pod with a name, `NAMESPACE/NAME`, or a UID.

        Raises:
            NotFound: as :meth:`pod`.
        """
        namespace, slash, name = pod.partition("/")
        return self.pod(namespace=namespace, name=name) if slash else self.pod(uid=pod)

    def steps(self, pod: PodRecord) -> list[HistoryEntry]:
        """Return the requests and statuses of a pod in order, upcoming statuses included."""
        statuses = [
            HistoryEntry(at=interval.since, summary=summary(interval), status=interval.status)
            for interval in pod.history.statuses
        ]
        return sorted([*self._requests(pod), *statuses], key=lambda entry: entry.at)

    def explain(self, pod: PodRecord, *, at: datetime) -> list[str]:
        """Return sentences that explain a pod's state at a time and what follows."""
        request = self.deletion(pod)
        sentences: list[str] = pod.redact([
            *explain(pod.history, now=at),
            *self._usage.sentences(pod.uid, at=at),
            *self._volumes.sentences(pod.uid, at=at),
            *([f"What deleted it: {request.summary}."] if request else []),
        ])  # fmt: skip
        return sentences

    def deletion(self, pod: PodRecord) -> HistoryEntry | None:
        """Return the request that deleted a pod; None while it is live, and where the audit log has none."""
        if pod.deleted_at is None:
            return None
        requests = [entry for entry in self._requests(pod) if entry.is_end and entry.at <= pod.deleted_at]
        return requests[-1] if requests else None

    def _requests(self, pod: PodRecord) -> Iterator[HistoryEntry]:
        """Yield the requests that created, changed, replaced and deleted a pod, or gave it files to mount."""
        for event in self._audit.events(AuditFilter(namespace=pod.namespace, name=pod.name, outcome="done")):
            event["change"] = orjson.loads(event["change"] or "{}")
            is_replaced = event["change"].get("replaced") == pod.uid
            if event["uid"] != pod.uid and not is_replaced:
                continue
            line = f"{event['verb']} by {event['user_agent'] or 'nobody named'} from {event['address']}"
            if is_replaced:
                line += f", which put {event['uid']} in its place"
            elif fields := [change["field"] for change in event["change"].get("changed", ())]:
                line += f": {', '.join(fields)}"
            elif volumes := event["change"].get("volumes"):
                line += f": {', '.join(map(_describe_volume, volumes))}"
            is_end = is_replaced or event["verb"] == "delete"
            yield HistoryEntry(at=event["at"], summary=line, request=event, is_end=is_end)


def _describe_volume(volume: dict[str, Any]) -> str:
    sources = describe_sources(volume["sources"])
    return f"{volume['name']} ({sources})" if sources else str(volume["name"])
