"""Changes of the pods of a fleet since a revision: one request instead of a poll of every pod."""

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

import orjson
from sqlalchemy import Connection, Select, bindparam, select

from app.core.json_array import json_array
from app.db.models import Pod, PodStatus
from app.pods.advance import FleetProgress
from app.pods.context import FleetContext
from app.pods.queries import status_at


class Waiter(Protocol):
    """Waits for a client's request."""

    def __call__(self, seconds: float, fd: int | None = None, /) -> bool:
        """Wait up to so many seconds, or until a file descriptor is readable.

        Returns:
            Whether the client is still connected.
        """


def never_wait(_: float, __: int | None = None, /) -> bool:
    """Return at once: the request is not to wait."""
    return False


_ROWS_PER_CHUNK = 200
_SPACING_SECONDS = 0.02
"""At least this long between two reads of the revision, so that the changes of a burst are returned together."""
_POLL_SECONDS = 0.05
"""Between two reads of the revision where no signal tells when to read."""
_SAFETY_SECONDS = 1.0
"""Between two reads of the revision although no signal was set."""
_RECOMPUTE_SECONDS = 5.0
"""Between two computations of what is due, although nothing is known to be."""
_OVERDUE_SECONDS = 0.5
"""Between two calls of a runtime that expects further statuses at an unknown time."""

_SELECT_SINCE = (
    select(Pod.namespace, Pod.name, Pod.uid, PodStatus.status)
    .join(PodStatus)
    .where(
        Pod.fleet == bindparam("fleet"),
        Pod.revision > bindparam("since"),
        Pod.revision <= bindparam("revision"),
        status_at(bindparam("now"), or_written=True),
    )
)
_SELECT_CHANGED = _SELECT_SINCE.where(Pod.deleted_at.is_(None))
_SELECT_DELETED = _SELECT_SINCE.where(Pod.deleted_at.is_not(None))


class StatusWatch:
    """Reads the changes of one fleet's pods. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet

    def revision(self) -> int:
        """Return the fleet's revision, from which a watch can continue; 0 before the first write."""
        return self._fleet.timelines.revision()

    def since(self, revision: int, *, wait: float = 0, pause: Waiter = never_wait) -> Generator[str, None, None]:
        """Yield the status of every pod that changed since a revision, as pieces of one JSON object.

        `{"revision", "statuses": [{"namespace", "name", "uid", "status"}, …], "deleted": [{"namespace", "name",
        "uid", "status"}, …]}`. The status of a deleted pod is its last one.
        A client that continues from the `revision` of an answer misses no change: revisions are committed in
        order, and a status that becomes due gets a revision of its own.

        Args:
            revision: the last revision that the client has read. 0 returns every live pod and no deleted pod; so
                does a revision that the database has not reached, for example after a restore from a backup.
            wait: the seconds to wait for a change where there is none.
            pause: waits for a change.
        """
        if wait:
            reached = self._wait(revision, seconds=wait, pause=pause)
        else:
            reached = self._fleet.timelines.publish_due().revision
        seen = revision if revision <= reached else 0
        key = {"fleet": self._fleet.name, "since": seen, "revision": reached, "now": self._fleet.clock()}
        with self._fleet.database.read(streaming=True) as connection:
            changed = _changes(connection, _SELECT_CHANGED, key)
            yield f'{{"revision":{reached},"statuses":'
            yield from json_array(changed)
            yield ',"deleted":'
            yield from json_array(_changes(connection, _SELECT_DELETED, key) if seen else ())
            yield "}"

    def _wait(self, revision: int, *, seconds: float, pause: Waiter) -> int:
        """Wait until the fleet's revision differs or the time is up; return the fleet's revision.

        The revision is read when the database signals a commit: at once, unless it was read a moment ago.
        """
        timelines, deadline = self._fleet.timelines, time.monotonic() + seconds
        with self._fleet.database.changes(self._fleet.name) as changes:
            longest = _POLL_SECONDS if changes.fd is None else _SAFETY_SECONDS
            while True:
                changes.clear()
                state, read_at = timelines.publish_due(), time.monotonic()
                if state.revision != revision or read_at >= deadline:
                    return state.revision
                until = min(deadline, read_at + self._quiet_seconds(state))
                while (left := until - time.monotonic()) > 0:
                    if not pause(min(longest, left), changes.fd):
                        return revision
                    if (early := read_at + _SPACING_SECONDS - time.monotonic()) > 0 and not pause(early):
                        return revision
                    changes.clear()
                    read_at = time.monotonic()
                    if timelines.revision() != revision:
                        break

    def _quiet_seconds(self, state: FleetProgress) -> float:
        """Return the seconds during which only a request can change a pod."""
        longest = _OVERDUE_SECONDS if state.is_overdue else _RECOMPUTE_SECONDS
        if state.next_at is None:
            return longest
        return min(longest, (state.next_at - self._fleet.clock()).total_seconds())


def _changes(
    connection: Connection, query: Select[str, str, str, str], key: dict[str, Any]
) -> Iterator[Iterator[str]]:
    rows = connection.execute(query, key, execution_options={"yield_per": _ROWS_PER_CHUNK})
    return (map(_change, chunk) for chunk in rows.partitions())


def _change(row: Sequence[str]) -> str:
    """Return a pod with its status as a JSON object."""
    namespace, name, uid = (orjson.dumps(part).decode() for part in row[:3])
    return f'{{"namespace":{namespace},"name":{name},"uid":{uid},"status":{row[3]}}}'
