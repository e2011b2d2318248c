"""The logs of containers: what the runtime has, cut to what was asked for."""

import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain

import msgspec

from app.core.errors import InvalidRequest, NotFound
from app.core.timestamps import rfc3339_micro, seconds
from app.kubernetes import status as statuses
from app.kubernetes.status import ContainerStatus, PodStatus
from app.pods.service import PodService
from app.pods.watch import Waiter, never_wait
from app.pods.writer import Clock
from app.runtimes import LogLine, Runtime

_LOOK_SECONDS = 0.2
_BYTES_AT_ONCE = 64 * 1024


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of a log is wanted; the names and meanings are those of `PodLogOptions` in Kubernetes.

    Attributes:
        tail: so many of the last lines; all where it is None or negative.
        since_time: lines from then on.
        since_seconds: lines of the last so many seconds.
        limit_bytes: no more than so many bytes.
        timestamps: each line begins with its time.
        previous: the log of the run before this one.
        follow: what comes later too, until the container ends.
    """

    tail: int | None = None
    since_time: datetime | None = None
    since_seconds: int | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    previous: bool = False
    follow: bool = False


class Logs:
    """The logs of the containers of one node. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, pods: PodService, runtime: Runtime, *, clock: Clock) -> None:
        self._pods = pods
        self._runtime = runtime
        self._clock = clock

    def read(
        self, namespace: str, name: str, container: str, options: LogOptions, *, pause: Waiter = never_wait
    ) -> Generator[bytes, None, None]:
        """Give what a container wrote, in pieces.

        Args:
            pause: how to wait for more, where it is followed.

        Raises:
            NotFound: there is no such pod, or no such container in it.
            InvalidRequest: the container has not started, or has no previous run.
        """
        pod, text = self._pods.find(namespace, name)
        status = statuses.decode_status(text).container(container)
        if status is None:
            raise NotFound(f'container "{container}" is not in pod "{name}" of namespace "{namespace}"')
        previous = _is_previous(status, wanted=options.previous, container=container, pod=name)
        lines = self._runtime.logs(pod, container, previous=previous, status=lambda: self._status(namespace, name))
        wanted = _since(lines, self._oldest(options))
        return _limited(_pieces(_tail(wanted, options.tail), options, pause), options.limit_bytes)

    def _status(self, namespace: str, name: str) -> PodStatus:
        return statuses.decode_status(self._pods.status(namespace, name))

    def _oldest(self, options: LogOptions) -> datetime | None:
        if options.since_seconds is not None:
            return self._clock() - seconds(options.since_seconds)
        return options.since_time


def _is_previous(status: ContainerStatus, *, wanted: bool, container: str, pod: str) -> bool:
    """Say which run is read: of a container that waits to run again, the one before, as a kubelet does.

    Raises:
        InvalidRequest: there is no such run.
    """
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
    """Leave out all but the last lines of those that are there; what comes later is not counted."""
    if count is None or count < 0:
        return lines
    last: deque[LogLine] = deque(maxlen=min(count, sys.maxsize))
    for line in lines:
        if line is None:
            return chain(last, (None,), lines)
        last.append(line)
    return iter(last)


def _pieces(lines: Iterable[LogLine | None], options: LogOptions, pause: Waiter) -> Generator[bytes, None, None]:
    """Put lines into pieces worth sending; everything that there is, before waiting for more."""
    piece = bytearray()
    for line in _until_gone(lines):
        if line is None:
            yield bytes(piece)
            piece.clear()
            if not options.follow or not pause(_LOOK_SECONDS):
                return
            continue
        if options.timestamps:
            piece += rfc3339_micro(line.time).encode() + b" "
        piece += line.text + b"\n"
        if len(piece) >= _BYTES_AT_ONCE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _until_gone(lines: Iterable[LogLine | None]) -> Generator[LogLine | None, None, None]:
    with suppress(NotFound):  # the pod was deleted while its log was followed
        yield from lines


def _limited(pieces: Generator[bytes, None, None], limit: int | None) -> Generator[bytes, None, None]:
    for piece in pieces:
        if limit is None:
            yield piece
            continue
        yield piece[:limit]
        limit -= len(piece)
        if limit <= 0:
            return
