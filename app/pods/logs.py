"""Container logs: the lines of the runtime, filtered by the options of the request."""

import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import chain

import msgspec

from app.core.errors import InvalidRequest, NotFound
from app.core.timestamps import format_age, rfc3339, rfc3339_micro, seconds
from app.db.models import Pod
from app.db.statement import Row
from app.kubernetes.status import PodStatus
from app.pods.accepted import accepted_pod
from app.pods.context import FleetContext
from app.pods.rows import SELECT_POD_ROW, last_transitions
from app.pods.service import PodService
from app.pods.watch import Waiter, never_wait
from app.runtimes import AcceptedPod, LogLine

_POLL_SECONDS = 0.2
_CHUNK_BYTES = 64 * 1024


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a log request, named as in the `PodLogOptions` of Kubernetes.

    Attributes:
        tail: the number of last lines; None or negative for all.
        since_time: only lines from this time on.
        since_seconds: only lines of the last so many seconds.
        limit_bytes: the maximum size, in bytes.
        timestamps: prefix each line with its time.
        previous: read the previous run of the container.
        follow: continue with new lines until the container ends.
    """

    tail: int | None = None
    since_time: datetime | None = None
    since_seconds: int | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    previous: bool = False
    follow: bool = False


class Logs:
    """Reads the logs of the containers of one fleet. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext, pods: PodService) -> None:
        self._fleet = fleet
        self._pods = pods

    def read(
        self, namespace: str, name: str, container: str, options: LogOptions, *, pause: Waiter = never_wait
    ) -> Generator[bytes, None, None]:
        """Yield the log of a container in chunks.

        Args:
            pause: waits for further lines of a followed log.

        Raises:
            NotFound: the pod, or the container in it, does not exist.
            InvalidRequest: the container has not started, or has no previous run.
        """
        pod, status = self._pods.find(namespace, name)
        previous = _is_previous(status, pod, container, wanted=options.previous)
        read_status = partial(self._pods.current_status, namespace, name)
        lines = self._fleet.runtime.logs(pod, container, previous=previous, status=read_status)
        wanted = _since(lines, self._oldest(options))
        return _limited(_chunks(_tail(wanted, options.tail), options, pause), options.limit_bytes)

    def read_past(
        self, uid: str, container: str, options: LogOptions, *, at: datetime | None = None
    ) -> Generator[bytes, None, None]:
        """Yield the log of a container as it was at a time, as far as the runtime keeps it, in chunks.

        Of a pod that was deleted, the log is that of its end. A runtime keeps the last run of a container and the
        run before it.

        Raises:
            NotFound: no pod had the UID, it had no such container or no status by then, or its log was removed.
            InvalidRequest: as :meth:`read`.
        """
        row, status = self._find_past(uid, at)
        pod = accepted_pod(self._fleet.runtime, row)
        previous = _is_previous(status, pod, container, wanted=options.previous)
        lines = self._past_lines(pod, container, status, previous=previous, until=at or self._fleet.clock())
        wanted = _since(lines, self._oldest(options))
        return _limited(_chunks(_tail(wanted, options.tail), options, never_wait), options.limit_bytes)

    def _find_past(self, uid: str, at: datetime | None) -> tuple[Row, PodStatus]:
        """Return the row of a pod, and its status at a time."""
        now = self._fleet.clock()
        with self._fleet.database.read() as connection:
            row = connection.execute(
                SELECT_POD_ROW.where(Pod.uid == uid), {"fleet": self._fleet.name}
            ).one_or_none()
            if row is None:
                raise NotFound(f'no pod with the UID "{uid}" was ever on this node')
            until = min(at or now, row.deleted_at or now)
            last = last_transitions(connection, [row.id], until=until).get(row.id)
        kept = self._fleet.runtime.keeps_logs
        if row.deleted_at and row.deleted_at <= now and kept is not None:
            removed_at = max((row.deletion_requested_at or row.deleted_at) + kept, row.deleted_at)
            if removed_at <= now:
                how_long = f" {format_age(kept)} after its deletion" if kept else ""
                raise NotFound(f"the log was removed with the pod{how_long}, at {rfc3339(removed_at)}")
        if last is None:
            raise NotFound("the pod has no status of that time")
        return row, last.status

    def _past_lines(
        self, pod: AcceptedPod, container: str, status: PodStatus, *, previous: bool, until: datetime
    ) -> Iterator[LogLine]:
        """Yield the lines up to a time: of the current run, else of the one before, if that was current then."""
        for is_previous in (True,) if previous else (False, True):
            found = False
            for line in self._fleet.runtime.logs(pod, container, previous=is_previous, status=lambda: status):
                if line is None or line.time > until:
                    break
                found = True
                yield line
            if found:
                return

    def _oldest(self, options: LogOptions) -> datetime | None:
        if options.since_seconds is not None:
            return self._fleet.clock() - seconds(options.since_seconds)
        return options.since_time


def _is_previous(pod_status: PodStatus, accepted: AcceptedPod, container: str, *, wanted: bool) -> bool:
    """Return whether the previous run is read: on request, or while the container waits to restart.

    Raises:
        NotFound: the pod has no such container.
        InvalidRequest: the container has no such run.
    """
    status, metadata = pod_status.container(container), accepted.manifest.pod.metadata
    pod = metadata.name
    if status is None:
        raise NotFound(f'container "{container}" is not in pod "{pod}" of namespace "{metadata.namespace}"')
    has_previous = status.last_state.terminated is not None
    if wanted and not has_previous:
        raise InvalidRequest(f'previous terminated container "{container}" in pod "{pod}" not found')
    if status.state.waiting and not has_previous:
        raise InvalidRequest(
            f'container "{container}" in pod "{pod}" is waiting to start: {status.state.waiting.reason}'
        )
    return wanted or status.state.waiting is not None


def _since(lines: Iterator[LogLine | None], oldest: datetime | None) -> Iterator[LogLine | None]:
    return lines if oldest is None else (line for line in lines if line is None or line.time >= oldest)


def _tail(lines: Iterator[LogLine | None], count: int | None) -> Iterator[LogLine | None]:
    """Yield the last lines of those that exist, then every new line."""
    if count is None or count < 0:
        return lines
    last: deque[LogLine] = deque(maxlen=min(count, sys.maxsize))
    for line in lines:
        if line is None:
            return chain(last, (None,), lines)
        last.append(line)
    return iter(last)


def _chunks(lines: Iterable[LogLine | None], options: LogOptions, pause: Waiter) -> Generator[bytes, None, None]:
    """Join lines to chunks; send every line that exists before waiting for more."""
    chunk = bytearray()
    is_start = True  # of a line
    for line in _until_gone(lines):
        if line is None:
            yield bytes(chunk)
            chunk.clear()
            if not options.follow or not pause(_POLL_SECONDS):
                return
            continue
        if options.timestamps and is_start:
            chunk += rfc3339_micro(line.time).encode() + b" "
        is_start = line.ends
        chunk += line.text + b"\n" if is_start else line.text
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def _until_gone(lines: Iterable[LogLine | None]) -> Generator[LogLine | None, None, None]:
    with suppress(NotFound):  # the pod was deleted while its log was followed
        yield from lines


def _limited(chunks: Generator[bytes, None, None], limit: int | None) -> Generator[bytes, None, None]:
    for chunk in chunks:
        if limit is None:
            yield chunk
            continue
        yield chunk[:limit]
        limit -= len(chunk)
        if limit <= 0:
            return
