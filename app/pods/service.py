"""The pods of a fleet: the reads and writes of the HTTP contract, each call one transaction.

The statuses of a pod are computed when the pod is created or changed, and stored with the times from which they
hold. A read is therefore one query for the last status whose time has come. Only a timeline without an end, such
as a container that crashes again and again, is computed in parts: a read advances it first where it is overdue.
"""

from collections.abc import Generator, Sequence
from contextlib import suppress

from sqlalchemy import bindparam, select

from app.audit import Caller
from app.core.errors import DatabaseUnavailable
from app.core.json_array import json_array
from app.db.models import Pod, PodStatus
from app.db.statement import Row, Statement
from app.kubernetes import status as statuses
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import PodReference
from app.pods.accepted import accepted_pod
from app.pods.context import FleetContext
from app.pods.group_commit import GroupCommit
from app.pods.ipam import NoFreeAddress
from app.pods.queries import status_at
from app.pods.requests import DeleteRequest, PutRequest, pod_not_found
from app.pods.transaction import NEWEST_FIRST
from app.runtimes import AcceptedPod

_ROWS_PER_CHUNK = 200

_LIVE = (
    Pod.fleet == bindparam("fleet"),
    Pod.namespace == bindparam("namespace"),
    Pod.name == bindparam("name"),
    Pod.deleted_at.is_(None),
)
_HOLDS_NOW = status_at(bindparam("now"), or_written=True)

_SELECT_STATUS = Statement(
    select(PodStatus.status, Pod.id, Pod.starts_at, Pod.continues_at)
    .join(Pod)
    .where(*_LIVE, _HOLDS_NOW)
    .order_by(*NEWEST_FIRST)
    .limit(1)
)
_SELECT_POD = Statement(
    select(
        Pod.pod, Pod.digest, PodStatus.status, Pod.id, Pod.continues_at, Pod.pod_ip, Pod.created_at, Pod.starts_at,
        Pod.deletion_requested_at, Pod.grace_ends_at,
    )
    .join(PodStatus)
    .where(*_LIVE, _HOLDS_NOW)
    .order_by(*NEWEST_FIRST)
    .limit(1)
)  # fmt: skip
_SELECT_DIGEST = Statement(select(Pod.uid, Pod.digest).where(*_LIVE).order_by(*NEWEST_FIRST).limit(1))
_SELECT_PODS = (
    select(Pod.pod, PodStatus.status)
    .join(PodStatus)
    .where(Pod.fleet == bindparam("fleet"), Pod.deleted_at.is_(None), _HOLDS_NOW)
    .order_by(Pod.namespace, Pod.name, Pod.id)
)


class PodService:
    """Reads and writes the pods of one fleet.

    Every method may raise `DatabaseUnavailable`; a write that raises has changed nothing.
    """

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet
        self._writes = GroupCommit(fleet)

    def create(self, manifest: Manifest, caller: Caller) -> None:
        """Create a pod.

        A request with the UID of the live pod is an update, and changes nothing where nothing differs: a client
        that lost the answer repeats the request. A request with another UID replaces the pod that has the name:
        the new pod starts when the replaced one has ended. A request with the UID of a pod that is being deleted
        changes nothing, since no request cancels a deletion.
        """
        _raise(self.create_all([manifest], caller)[0])

    def create_all(self, manifests: Sequence[Manifest], caller: Caller) -> list[Exception | None]:
        """Create pods in one transaction, each as :meth:`create`; return why each was refused, or None."""
        requests = [PutRequest("create", manifest, caller) for manifest in manifests]
        errors = self._writes.carry_out(requests)
        if without := _without_address(requests, errors):
            with suppress(DatabaseUnavailable):  # the others are committed: these remain without an address
                self._fleet.timelines.advance_all()  # pods whose containers have ended give their addresses back
                again = self._writes.carry_out([requests[index] for index in without])
                for index, error in zip(without, again, strict=True):
                    errors[index] = error
        return errors

    def update(self, manifest: Manifest, caller: Caller) -> None:
        """Update a pod; change nothing where only the order of its environment differs.

        A request with another UID replaces the pod, as in :meth:`create`: the original broker sends an update for
        a pod that was deleted and created again while the broker was not connected.

        Raises:
            NotFound: no live pod has the name.
        """
        metadata = manifest.pod.metadata
        with self._fleet.database.read() as connection:
            row = _SELECT_DIGEST.first(connection, **self._key(metadata.namespace, metadata.name))
        if row is None:
            raise pod_not_found(metadata.namespace, metadata.name)
        if metadata.uid in (None, "", row.uid) and row.digest == manifest.digest:
            return
        _raise(self._writes.carry_out([PutRequest("update", manifest, caller)])[0])

    def delete(self, pod: PodReference, caller: Caller) -> None:
        """Begin the deletion of a pod, or shorten its grace period; keep its history.

        The pod is gone when its containers have ended; see :mod:`app.pods.removal`. A repeated request changes
        nothing.

        Raises:
            NotFound: no pod has the name, or none with that UID.
        """
        _raise(self.delete_all([pod], caller)[0])

    def delete_all(self, pods: Sequence[PodReference], caller: Caller) -> list[Exception | None]:
        """Delete pods in one transaction, each as :meth:`delete`; return why each was refused, or None."""
        return self._writes.carry_out([DeleteRequest(pod, caller) for pod in pods])

    def get(self, namespace: str, name: str) -> str:
        """Return a pod with its status, as JSON.

        Raises:
            NotFound: no pod has the name.
        """
        row = self._read(_SELECT_POD, namespace, name)
        return _with_status(row.pod, row.status)

    def status(self, namespace: str, name: str) -> str:
        """Return a pod's status, as JSON.

        Raises:
            NotFound: no live pod has the name.
        """
        status: str = self._read(_SELECT_STATUS, namespace, name).status
        return status

    def current_status(self, namespace: str, name: str) -> statuses.PodStatus:
        """Return a pod's status; raises as :meth:`status`."""
        return statuses.decode_status(self.status(namespace, name))

    def find(self, namespace: str, name: str) -> tuple[AcceptedPod, statuses.PodStatus]:
        """Return a pod as runtimes take it, and its status.

        Raises:
            NotFound: no live pod has the name.
        """
        row = self._read(_SELECT_POD, namespace, name)
        return accepted_pod(self._fleet.runtime, row), statuses.decode_status(row.status)

    def list(self) -> Generator[str, None, None]:
        """Yield every pod that is not gone with its status, by namespace and name, as pieces of one JSON array.

        All pods are from one snapshot. Rows are read as the pieces are consumed, so memory does not grow with
        them.
        """
        self._fleet.timelines.advance_all()
        parameters = {"fleet": self._fleet.name, "now": self._fleet.clock()}
        with self._fleet.database.read(streaming=True) as connection:
            rows = connection.execute(_SELECT_PODS, parameters, execution_options={"yield_per": _ROWS_PER_CHUNK})
            yield from json_array((_with_status(*row) for row in chunk) for chunk in rows.partitions())

    def _read(self, query: Statement, namespace: str, name: str) -> Row:
        """Return the row of a live pod, after its timeline was advanced where that is overdue."""
        self._fleet.timelines.take_over()
        now = self._fleet.clock()
        if self._fleet.clock.is_ahead:
            self._fleet.timelines.advance_all()
        with self._fleet.database.read() as connection:
            row = query.first(connection, **self._key(namespace, name, now=now))
        if row and (row.starts_at is None or (row.continues_at and row.continues_at <= now)):
            self._fleet.timelines.advance(row.id)
            with self._fleet.database.read() as connection:
                row = query.first(connection, **self._key(namespace, name, now=self._fleet.clock()))
        if row is None:
            raise pod_not_found(namespace, name)
        return row

    def _key(self, namespace: str, name: str, **more: object) -> dict[str, object]:
        return {"fleet": self._fleet.name, "namespace": namespace, "name": name, **more}


def _without_address(requests: Sequence[PutRequest], errors: Sequence[Exception | None]) -> list[int]:
    """Return the indexes of the requests that found no address, but for pods that a later request has replaced."""
    last = {(request.pod.namespace, request.pod.name): index for index, request in enumerate(requests)}
    return [index for index in sorted(last.values()) if isinstance(errors[index], NoFreeAddress)]


def _raise(error: Exception | None) -> None:
    if error:
        raise error


def _with_status(pod: str, status: str) -> str:
    """Insert the status into a pod's JSON, without parsing either; the pod is a non-empty object."""
    return f'{pod[:-1]},"status":{status}}}'
