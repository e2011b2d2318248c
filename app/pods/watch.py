"""Changes of the pods of a node since a revision: one request instead of a poll of every pod."""

import time
from collections.abc import Callable, Generator, Sequence

import orjson
from sqlalchemy import bindparam, select

from app.db.models import Pod, PodStatus
from app.pods.advance import NodeProgress
from app.pods.context import NodeContext
from app.pods.queries import status_at

Waiter = Callable[[float], bool]
"""Waits up to so many seconds; returns whether the client is still connected."""


def never_wait(_: float) -> bool:
    """Return at once: the request is not to wait."""
    return False


_ROWS_PER_CHUNK = 200
_POLL_SECONDS = 0.05
"""Between two reads of the revision."""
_CONNECTION_SECONDS = 5.0
"""How long the revision is read on one connection, so that a replaced database is noticed."""
_OVERDUE_SECONDS = 0.5
"""Between two calls of a runtime that expects further statuses at an unknown time."""

_SINCE = (
    Pod.node_name == bindparam("node_name"),
    Pod.revision > bindparam("since"),
    Pod.revision <= bindparam("revision"),
)
_SELECT_CHANGED = (
    select(Pod.namespace, Pod.name, Pod.uid, PodStatus.status)
    .join(PodStatus)
    .where(*_SINCE, Pod.deleted_at.is_(None), status_at(bindparam("now"), or_written=True))
)
_SELECT_DELETED = (
    select(Pod.namespace, Pod.name, Pod.uid, PodStatus.status)
    .join(PodStatus)
    .where(*_SINCE, Pod.deleted_at.is_not(None), status_at(bindparam("now"), or_written=True))
)


class StatusWatch:
    """Reads the changes of one node's pods. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, node: NodeContext) -> None:
        self._node = node

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
            pause: waits between two reads of the revision.
        """
        reached = self._wait(revision, seconds=wait, pause=pause)
        seen = revision if revision <= reached else 0
        key = {"node_name": self._node.node_name, "since": seen, "revision": reached, "now": self._node.clock()}
        with self._node.database.read(streaming=True) as connection:
            rows = connection.execute(_SELECT_CHANGED, key, execution_options={"yield_per": _ROWS_PER_CHUNK})
            yield f'{{"revision":{reached},"statuses":['
            separator = ""
            for chunk in rows.partitions():
                yield separator + ",".join(map(_change, chunk))
                separator = ","
            yield '],"deleted":['
            if seen:
                separator = ""
                rows = connection.execute(_SELECT_DELETED, key, execution_options={"yield_per": _ROWS_PER_CHUNK})
                for chunk in rows.partitions():
                    yield separator + ",".join(map(_change, chunk))
                    separator = ","
            yield "]}"

    def _wait(self, revision: int, *, seconds: float, pause: Waiter) -> int:
        """Wait until the node's revision differs or the time is up; return the node's revision."""
        deadline = time.monotonic() + seconds
        while True:
            state = self._node.timelines.publish_due()
            if state.revision != revision or time.monotonic() >= deadline:
                return state.revision
            until = min(deadline, time.monotonic() + self._quiet_seconds(state))
            with self._node.timelines.revision_reader() as revision_now:
                while revision_now() == revision and (left := until - time.monotonic()) > 0:
                    if not pause(min(_POLL_SECONDS, left)):
                        return revision

    def _quiet_seconds(self, state: NodeProgress) -> float:
        """Return the seconds during which only a request can change a pod."""
        longest = _OVERDUE_SECONDS if state.is_overdue else _CONNECTION_SECONDS
        if state.next_at is None:
            return longest
        return min(longest, (state.next_at - self._node.clock()).total_seconds())


def _change(row: Sequence[str]) -> str:
    """Return a pod with its status as a JSON object."""
    namespace, name, uid = (orjson.dumps(part).decode() for part in row[:3])
    return f'{{"namespace":{namespace},"name":{name},"uid":{uid},"status":{row[3]}}}'
