"""The pods of this node: what the contract asks for, each call one transaction.

Every status is computed when a pod arrives or changes and stored with the time from which it holds, so a
read is one query for the last row whose time has come. Only a course that has no end has to go on first.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import structlog
from sqlalchemy import bindparam, or_, select

from app import audit
from app.audit import Caller, Event, Verb
from app.audit.hash_chain import last_hash
from app.core.errors import NotFound
from app.core.timestamps import seconds
from app.db.engine import Database
from app.db.models import Pod, PodStatus
from app.db.statement import Row, Statement
from app.kubernetes.pod import Manifest, PodReference
from app.pods.advance import TimelineAdvancer
from app.pods.writer import Clock, PodWriter, accepted_pod
from app.runtimes import AcceptedPod, Runtime

ROWS_A_CHUNK = 200

log = structlog.get_logger("app")

_LIVE = (
    Pod.node_name == bindparam("node_name"),
    Pod.namespace == bindparam("namespace"),
    Pod.name == bindparam("name"),
    Pod.deleted_at.is_(None),
)
# A writer whose clock is ahead of the reader's must not hide the pod that it has just written.
_EFFECTIVE = or_(PodStatus.effective_at <= bindparam("now"), PodStatus.effective_at <= Pod.updated_at)
_NEWEST = PodStatus.effective_at.desc()

_SELECT_STATUS = Statement(
    select(PodStatus.status, Pod.id, Pod.continues_at)
    .join(Pod)
    .where(*_LIVE, _EFFECTIVE)
    .order_by(_NEWEST)
    .limit(1)
)
_SELECT_POD = Statement(
    select(Pod.pod, PodStatus.status, Pod.id, Pod.continues_at, Pod.pod_ip, Pod.created_at, Pod.deleted_at)
    .join(PodStatus)
    .where(*_LIVE, _EFFECTIVE)
    .order_by(_NEWEST)
    .limit(1)
)
_SELECT_DIGEST = Statement(select(Pod.uid, Pod.digest).where(*_LIVE))
_SELECT_PODS = (
    select(
        Pod.pod,
        select(PodStatus.status)
        .where(PodStatus.pod_id == Pod.id, _EFFECTIVE)
        .order_by(_NEWEST)
        .limit(1)
        .correlate(Pod)
        .scalar_subquery(),
    )
    .where(Pod.node_name == bindparam("node_name"), Pod.deleted_at.is_(None))
    .order_by(Pod.namespace, Pod.name)
)


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


class PodService:
    """The pods of one node in one database.

    Every method may raise `DatabaseUnavailable`; a write that raises has changed nothing.
    """

    def __init__(
        self, database: Database, runtime: Runtime, timelines: TimelineAdvancer, *, clock: Clock = utc_now
    ) -> None:
        self._database = database
        self._runtime = runtime
        self._timelines = timelines
        self._node_name = runtime.settings.node_name
        self._clock = clock

    def create(self, manifest: Manifest, caller: Caller) -> None:
        """Take a pod on.

        The same pod again (same UID) is an update, and nothing at all where nothing differs: a client that
        lost the answer sends it again. Another UID under the same name replaces the pod that has it.
        """
        self._put(manifest, caller, verb="create")

    def update(self, manifest: Manifest, caller: Caller) -> None:
        """Change a pod; nothing happens where nothing differs but the order of its environment.

        Another UID under the same name replaces the pod, as for :meth:`create`: the original broker sends
        an update for a pod that was deleted and made again while it was not looking.

        Raises:
            NotFound: there is no pod of that name.
        """
        metadata = manifest.pod.metadata
        with self._database.read() as connection:
            row = _SELECT_DIGEST.first(connection, **self._named(metadata.namespace, metadata.name))
        if row is None:
            raise _not_found(metadata.namespace, metadata.name)
        if metadata.uid in (None, "", row.uid) and row.digest == manifest.digest:
            return
        self._put(manifest, caller, verb="update")

    def delete(self, pod: PodReference, caller: Caller) -> None:
        """Let a pod go; it stays on record.

        Raises:
            NotFound: there is no live pod of that name, or it has another UID than the one that is meant.
        """
        grace = pod.deletion_grace_period_seconds
        with self._writing(caller, "delete") as writer:
            live = writer.find_live(pod.namespace, pod.name)
            if live is None or pod.uid not in (None, "", live.uid):
                raise _not_found(pod.namespace, pod.name)
            writer.delete(live, grace=None if grace is None else seconds(grace))

    def get(self, namespace: str, name: str) -> str:
        """Give a pod with its status, as JSON.

        Raises:
            NotFound: there is no such pod.
        """
        row = self._read(_SELECT_POD, namespace, name)
        return _with_status(row.pod, row.status)

    def status(self, namespace: str, name: str) -> str:
        """Give a pod's status, as JSON.

        Raises:
            NotFound: there is no such pod.
        """
        status: str = self._read(_SELECT_STATUS, namespace, name).status
        return status

    def find(self, namespace: str, name: str) -> tuple[AcceptedPod, str]:
        """Give a pod as its runtime sees it, and its status as JSON.

        Raises:
            NotFound: there is no such pod.
        """
        row = self._read(_SELECT_POD, namespace, name)
        return accepted_pod(self._runtime, row), row.status

    def list(self) -> Generator[str, None, None]:
        """Give every live pod with its status, by namespace and name, as pieces of one JSON array.

        The pods are of one moment. They are read as they are consumed, so memory does not grow with them.
        """
        self._timelines.advance_all()
        parameters = {"node_name": self._node_name, "now": self._clock()}
        with self._database.read(streaming=True) as connection:
            rows = connection.execute(_SELECT_PODS, parameters, execution_options={"yield_per": ROWS_A_CHUNK})
            separator = "["
            for chunk in rows.partitions():
                yield separator + ",".join([_with_status(*row) for row in chunk])
                separator = ","
        yield "[]" if separator == "[" else "]"

    def record_refusal(
        self, caller: Caller, *, verb: Verb, pod: PodReference | None, code: int, message: str
    ) -> None:
        """Put a write request that was refused on record."""
        event = Event(
            at=self._clock(),
            node_name=self._node_name,
            caller=caller,
            verb=verb,
            pod=pod,
            code=code,
            change={"refused": message},
        )
        with self._database.write() as connection:
            chained = self._runtime.settings.audit_hash_chain
            audit.insert_event(
                connection, event, after=last_hash(connection, self._node_name) if chained else None
            )

    def _put(self, manifest: Manifest, caller: Caller, *, verb: Verb) -> None:
        metadata = manifest.pod.metadata
        with self._writing(caller, verb) as writer:
            live = writer.find_live(metadata.namespace, metadata.name)
            if live is None and verb == "update":
                raise _not_found(metadata.namespace, metadata.name)
            if not metadata.uid:
                manifest = manifest.with_uid(live.uid if live else str(uuid4()))
            uid = manifest.pod.metadata.uid or ""
            if live and live.uid == uid:
                if live.digest == manifest.digest:
                    writer.rollback()
                else:
                    writer.update(live, manifest)
                return
            if live:
                writer.delete(live)
            replaced = live.uid if live else None
            if known := writer.find_by_uid(uid):
                writer.restore(known, manifest, replaced=replaced)
            else:
                writer.create(manifest, replaced=replaced)

    @contextmanager
    def _writing(self, caller: Caller, verb: Verb) -> Iterator[PodWriter]:
        """Make one write request in one transaction; then have the runtime follow."""
        with self._database.write() as connection:
            writer = PodWriter(connection, self._runtime, now=self._clock(), caller=caller, verb=verb)
            yield writer
        for pod in writer.touched:
            try:
                self._runtime.sync(pod)
            except Exception:  # the write stays done; the runtime finds out later what it has left undone
                log.exception("the runtime did not follow", uid=pod.manifest.pod.metadata.uid)

    def _read(self, query: Statement, namespace: str, name: str) -> Row:
        """Read a pod as it is now; its course goes on first where it is to."""
        now = self._clock()
        with self._database.read() as connection:
            row = query.first(connection, **self._named(namespace, name, now=now))
        if row and row.continues_at and row.continues_at <= now:
            self._timelines.advance(row.id)
            with self._database.read() as connection:
                row = query.first(connection, **self._named(namespace, name, now=now))
        if row is None:
            raise _not_found(namespace, name)
        return row

    def _named(self, namespace: str, name: str, **more: object) -> dict[str, object]:
        return {"node_name": self._node_name, "namespace": namespace, "name": name, **more}


def _not_found(namespace: str, name: str) -> NotFound:
    return NotFound(f'pod "{name}" is not in namespace "{namespace}"')


def _with_status(pod: str, status: str) -> str:
    """Put a status into a pod, both JSON objects and the pod never empty, without parsing either."""
    return f'{pod[:-1]},"status":{status}}}'
