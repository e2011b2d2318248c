"""The pods of this node: what the contract asks for, each call one transaction.

Every status is computed when a pod arrives or changes and stored with the time from which it holds, so a
read is one query for the last row whose time has come.
"""

from collections.abc import Generator
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import bindparam, or_, select

from app import audit
from app.audit import Caller, Verb
from app.database import Database
from app.errors import InvalidRequest, NotFound
from app.lifecycle import logs
from app.lifecycle import status as statuses
from app.lifecycle.manifest import Manifest, PodReference
from app.models import Pod, PodStatus
from app.settings import Settings
from app.statement import Statement
from app.write import Clock, Write

ROWS_A_CHUNK = 200

_LIVE = (
    Pod.node_name == bindparam("node_name"),
    Pod.namespace == bindparam("namespace"),
    Pod.name == bindparam("name"),
    Pod.deleted_at.is_(None),
)
# A writer whose clock is ahead of the reader's must not hide the pod that it has just written.
_EFFECTIVE = or_(PodStatus.effective_at <= bindparam("now"), PodStatus.effective_at <= Pod.updated_at)
_NEWEST = PodStatus.effective_at.desc()

_SELECT_STATUS = Statement(select(PodStatus.status).join(Pod).where(*_LIVE, _EFFECTIVE).order_by(_NEWEST).limit(1))
_SELECT_POD = Statement(
    select(Pod.pod, PodStatus.status).join(PodStatus).where(*_LIVE, _EFFECTIVE).order_by(_NEWEST).limit(1)
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


class Pods:
    """The pods of one node in one database.

    Every method may raise `DatabaseUnavailable`; a write that raises has changed nothing.
    """

    def __init__(self, database: Database, settings: Settings, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._settings = settings
        self._node_name = settings.node_name
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
        with self._database.write() as connection:
            write = Write(connection, self._settings, self._clock, caller=caller, verb="delete")
            live = write.live(pod.namespace, pod.name)
            if live is None or pod.uid not in (None, "", live.uid):
                raise _not_found(pod.namespace, pod.name)
            write.end(live)

    def get(self, namespace: str, name: str) -> str:
        """Give a pod with its status, as JSON.

        Raises:
            NotFound: there is no such pod.
        """
        with self._database.read() as connection:
            row = _SELECT_POD.first(connection, **self._named(namespace, name, now=self._clock()))
        if row is None:
            raise _not_found(namespace, name)
        return _with_status(*row)

    def status(self, namespace: str, name: str) -> str:
        """Give a pod's status, as JSON.

        Raises:
            NotFound: there is no such pod.
        """
        with self._database.read() as connection:
            row = _SELECT_STATUS.first(connection, **self._named(namespace, name, now=self._clock()))
        if row is None:
            raise _not_found(namespace, name)
        status: str = row.status
        return status

    def list(self) -> Generator[str, None, None]:
        """Give every live pod with its status, by namespace and name, as pieces of one JSON array.

        The pods are of one moment. They are read as they are consumed, so memory does not grow with them.
        """
        parameters = {"node_name": self._node_name, "now": self._clock()}
        with self._database.read(streaming=True) as connection:
            rows = connection.execute(_SELECT_PODS, parameters, execution_options={"yield_per": ROWS_A_CHUNK})
            separator = "["
            for chunk in rows.partitions():
                yield separator + ",".join([_with_status(*row) for row in chunk])
                separator = ","
        yield "[]" if separator == "[" else "]"

    def logs(self, namespace: str, name: str, container: str, *, tail: int | None) -> str:
        """Give the last lines that a container wrote.

        Args:
            tail: how many; all where it is None or negative.

        Raises:
            NotFound: there is no such pod, or no such container in it.
            InvalidRequest: the container has not started.
        """
        with self._database.read() as connection:
            row = _SELECT_POD.first(connection, **self._named(namespace, name, now=self._clock()))
        if row is None:
            raise _not_found(namespace, name)
        spec = Manifest.parse(row.pod.encode()).pod.spec
        found = next((c for c in spec.all_containers if c.name == container), None)
        status = statuses.decode(row.status).container(container)
        if found is None or status is None:
            raise NotFound(f'container "{container}" is not in pod "{name}" of namespace "{namespace}"')
        if status.state.waiting:
            raise InvalidRequest(
                f'container "{container}" in pod "{name}" is waiting to start: {status.state.waiting.reason}'
            )
        lines = logs.tail(logs.log_lines(found, status), tail)
        return "".join(f"{line}\n" for line in lines)

    def record_refusal(
        self, caller: Caller, *, verb: Verb, pod: PodReference | None, code: int, message: str
    ) -> None:
        """Put a write request that was refused on record."""
        with self._database.write() as connection:
            audit.record(
                connection,
                at=self._clock(),
                node_name=self._node_name,
                caller=caller,
                verb=verb,
                pod=pod,
                code=code,
                change={"refused": message},
            )

    def _put(self, manifest: Manifest, caller: Caller, *, verb: Verb) -> None:
        metadata = manifest.pod.metadata
        with self._database.write() as connection:
            write = Write(connection, self._settings, self._clock, caller=caller, verb=verb)
            live = write.live(metadata.namespace, metadata.name)
            if live is None and verb == "update":
                raise _not_found(metadata.namespace, metadata.name)
            if not metadata.uid:
                manifest = manifest.with_uid(live.uid if live else str(uuid4()))
            uid = manifest.pod.metadata.uid or ""
            if live and live.uid == uid:
                if live.digest == manifest.digest:
                    write.forget()
                else:
                    write.revise(live, manifest)
                return
            if live:
                write.end(live)
            replaced = live.uid if live else None
            if known := write.known(uid):
                write.revive(known, manifest, replaced=replaced)
            else:
                write.begin(manifest, replaced=replaced)

    def _named(self, namespace: str, name: str, **more: object) -> dict[str, object]:
        return {"node_name": self._node_name, "namespace": namespace, "name": name, **more}


def _not_found(namespace: str, name: str) -> NotFound:
    return NotFound(f'pod "{name}" is not in namespace "{namespace}"')


def _with_status(pod: str, status: str) -> str:
    """Put a status into a pod, both JSON objects and the pod never empty, without parsing either."""
    return f'{pod[:-1]},"status":{status}}}'
