"""The volumes of pods: pass their files to the runtime, and store which version of them each pod was given.

A client sends the files of a pod's volumes before it creates the pod, and again whenever something has changed.
The files go to the runtime. The database and the audit log have names, sizes and versions, never contents, and
nothing from which a content could be guessed: a repetition is recognized by the version, the sources, and the
names, sizes and modes of the files, and changes no row. The runtime takes it again: it may have lost its files.

A request can be late: the client has stopped waiting for it and has sent a newer version, which another worker has
handled. It is refused if its objects are older than those of the stored version, by their `resourceVersion`.

An example: ConfigMap `app` changes from version 41 to 42. The client sends the volume `config` of each pod that
mounts it; each pod has an audit event with the verb `mount`, the volume, and version 42.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import orjson
from sqlalchemy import Connection, bindparam, delete, insert, select

from app import audit
from app.audit import Caller, Event
from app.core.errors import InvalidRequest, NotFound, Outdated
from app.core.timestamps import rfc3339
from app.db.fleets import lock_fleet
from app.db.models import Pod, PodVolume
from app.db.statement import Row, Statement, parameters
from app.kubernetes.pod import PodReference
from app.kubernetes.volumes import PodVolumes, Volume
from app.pods.context import FleetContext

KEPT = timedelta(minutes=10)
"""How long volumes are kept for a UID that was not created."""
_SWEEP = timedelta(minutes=1)
_LATE = timedelta(minutes=10)
"""How late a request may be. An older version that comes later is meant: etcd was restored from a backup."""

_COLUMNS = ("namespace", "name", "received_at", "resource_version", "sources", "files")
_OF_POD = (PodVolume.fleet == bindparam("fleet"), PodVolume.uid == bindparam("uid"))
_IS_CREATED = select(Pod.id).where(Pod.fleet == PodVolume.fleet, Pod.uid == PodVolume.uid).exists()

_SELECT_POD = Statement(
    select(Pod.namespace, Pod.name).where(Pod.fleet == bindparam("fleet"), Pod.uid == bindparam("uid"))
)
_SELECT = Statement(
    select(PodVolume.volume, PodVolume.received_at, PodVolume.resource_version, PodVolume.sources, PodVolume.files)
    .where(*_OF_POD)
    .order_by(PodVolume.volume)
)
_DELETE = Statement(delete(PodVolume).where(*_OF_POD, PodVolume.volume == bindparam("of_volume")))
_INSERT = Statement(insert(PodVolume).inline().values(parameters("fleet", "uid", "volume", *_COLUMNS)))
_DELETE_UNKNOWN = Statement(
    delete(PodVolume).where(
        PodVolume.fleet == bindparam("fleet"), PodVolume.received_at < bindparam("before"), ~_IS_CREATED
    )
)


class VolumeService:
    """Takes the volumes of the pods of one fleet. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet
        self._swept_at: datetime | None = None

    @property
    def is_available(self) -> bool:
        """Whether the runtime of the fleet takes volumes."""
        return self._fleet.runtime.takes_volumes

    def put(self, sent: PodVolumes, caller: Caller) -> None:
        """Record volumes of a pod, which may not have been created yet, and pass them to the runtime.

        Raises:
            NotFound: the runtime of the fleet takes no volumes.
            InvalidRequest: the UID belongs to a pod with another name.
            Outdated: a newer version of a volume was sent.
            Unavailable: the disk has no room for them.
        """
        runtime = self._fleet.runtime
        if not self.is_available:
            raise NotFound(f"the runtime {type(runtime).__name__} takes no volumes")
        with self._fleet.database.read() as connection:
            self._check_name(sent.pod, connection)
            changed = self._changed(sent, connection)
        if changed:
            self._fleet.disk.check(sum(volume.size for volume in changed))
            self._record(sent, caller)
        runtime.put_volumes(sent.pod, sent.volumes)

    def sentences(self, uid: str, *, at: datetime) -> Iterator[str]:
        """Yield a sentence for each volume of a pod that was sent: what it was given, and when."""
        for row in self._rows(uid):
            since = rfc3339(row.received_at)
            if row.received_at > at:
                yield f"Volume {row.volume} was given another version later, at {since}."
                continue
            files = orjson.loads(row.files)
            size = f"{sum(file['bytes'] for file in files)} bytes"
            count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
            sources = describe_sources(orjson.loads(row.sources))
            origin = f", from {sources}" if sources else ""
            yield f"Volume {row.volume} has {count}, {size}{origin}, since {since}."

    def _rows(self, uid: str) -> Sequence[Row]:
        with self._fleet.database.read() as connection:
            return _SELECT.all(connection, fleet=self._fleet.name, uid=uid)

    def _check_name(self, pod: PodReference, connection: Connection) -> None:
        row = _SELECT_POD.first(connection, fleet=self._fleet.name, uid=pod.uid)
        if row and (row.namespace, row.name) != (pod.namespace, pod.name):
            raise InvalidRequest(f"belongs to {row.namespace}/{row.name}", field="metadata.uid")

    def _changed(self, sent: PodVolumes, connection: Connection) -> list[Volume]:
        """Return the volumes that differ from what is stored.

        Raises:
            Outdated: a newer version of one of them was sent.
        """
        rows = {row.volume: row for row in _SELECT.all(connection, fleet=self._fleet.name, uid=sent.pod.uid)}
        changed = []
        for volume in sent.volumes:
            row = rows.get(volume.name)
            if row and (row.resource_version, row.sources, row.files) == _version(volume):
                continue
            if row and row.received_at > self._fleet.clock() - _LATE and _is_older(volume, row.sources):
                raise Outdated(f"volume {volume.name} was given a newer version at {rfc3339(row.received_at)}")
            changed.append(volume)
        return changed

    def _record(self, sent: PodVolumes, caller: Caller) -> None:
        """Store the volumes that differ from what is stored, with one audit event."""
        pod, fleet, now = sent.pod, self._fleet.name, self._fleet.clock()
        with self._fleet.database.write() as connection:
            lock_fleet(connection, fleet)
            self._sweep(connection, now=now)
            changed = self._changed(sent, connection)
            for volume in changed:
                version, sources, files = _version(volume)
                key = {"fleet": fleet, "uid": pod.uid}
                _DELETE.run(connection, **key, of_volume=volume.name)
                _INSERT.run(
                    connection, **key, volume=volume.name, namespace=pod.namespace, name=pod.name, received_at=now,
                    resource_version=version, sources=sources, files=files,
                )  # fmt: skip
            if changed:
                event = Event(
                    at=now, fleet=fleet, caller=caller, verb="mount", pod=pod, code=200,
                    change={"volumes": [_described(volume) for volume in changed]},
                )  # fmt: skip
                audit.append_events(connection, [event], chained=self._fleet.settings.audit_hash_chain)

    def _sweep(self, connection: Connection, *, now: datetime) -> None:
        """Delete the rows of UIDs that were not created in time; at most once a minute in each process."""
        if self._swept_at is None or now - self._swept_at >= _SWEEP:
            _DELETE_UNKNOWN.run(connection, fleet=self._fleet.name, before=now - KEPT)
            self._swept_at = now


def describe_sources(sources: Sequence[dict[str, Any]]) -> str:
    """Return sources in one line.

    >>> describe_sources([{"kind": "ConfigMap", "name": "app", "resourceVersion": "42"}, {"kind": "DownwardAPI"}])
    'ConfigMap app version 42, DownwardAPI'
    """
    words = []
    for source in sources:
        version = source.get("resourceVersion")
        words.append([source["kind"], source.get("name"), f"version {version}" if version else None])
    return ", ".join(" ".join(filter(None, line)) for line in words)


def _version(volume: Volume) -> tuple[str | None, str, str]:
    """Return the columns `resource_version`, `sources` and `files` of a volume, by which versions are compared."""
    files = sorted((file.path, file.mode, len(file.data)) for file in volume.files)
    described = [{"path": path, "mode": mode, "bytes": size} for path, mode, size in files]
    return volume.resource_version, _json(_sources(volume)), _json(described)


def _is_older(volume: Volume, than: str) -> bool:
    """Return whether an object of a volume is older than in the stored sources, and none is newer.

    A `resourceVersion` is a decimal number that grows with each change. Source: KEP-5504.
    """
    versions, before = _numbers(_sources(volume)), _numbers(orjson.loads(than))
    changes = {versions[source] - before[source] for source in versions.keys() & before.keys()}
    return bool(changes) and min(changes) < 0 and max(changes) <= 0


def _numbers(sources: Sequence[dict[str, Any]]) -> dict[tuple[str, str | None], int]:
    return {
        (source["kind"], source.get("name")): int(version)
        for source in sources
        if (version := source.get("resourceVersion", "")).isdecimal()
    }


def _described(volume: Volume) -> dict[str, Any]:
    version = {"resourceVersion": volume.resource_version} if volume.resource_version else {}
    return {"name": volume.name, **version, "sources": _sources(volume)}


def _sources(volume: Volume) -> list[dict[str, Any]]:
    found = [msgspec.to_builtins(source) for source in volume.sources or ()]
    return [{name: value for name, value in source.items() if value} for source in found]


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
