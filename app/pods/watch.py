"""What has changed on this node: one request in place of a poll of every pod."""

import time
from collections.abc import Callable, Generator

import orjson
from sqlalchemy import bindparam, or_, select

from app.db.engine import Database
from app.db.models import Pod, PodStatus
from app.pods.advance import NodeProgress, TimelineAdvancer
from app.pods.writer import Clock

Waiter = Callable[[float], bool]
"""Waits so many seconds, or less; says whether there is still somebody to wait for."""


def never_wait(_: float) -> bool:
    """Do not wait."""
    return False


_ROWS_A_CHUNK = 200
_LOOK_SECONDS = 0.05
"""Between two looks at the revision."""
_ANEW_SECONDS = 5.0
"""For how long a look uses the same connection: another may have to take its place."""
_OPEN_SECONDS = 0.5
"""Between two questions to a runtime that has said that a course goes on, and not when."""

_SINCE = (
    Pod.node_name == bindparam("node_name"),
    Pod.revision > bindparam("since"),
    Pod.revision <= bindparam("revision"),
)
_SELECT_CHANGED = select(
    Pod.namespace,
    Pod.name,
    Pod.uid,
    select(PodStatus.status)
    .where(
        PodStatus.pod_id == Pod.id,
        or_(PodStatus.effective_at <= bindparam("now"), PodStatus.effective_at <= Pod.updated_at),
    )
    .order_by(PodStatus.effective_at.desc())
    .limit(1)
    .correlate(Pod)
    .scalar_subquery(),
).where(*_SINCE, Pod.deleted_at.is_(None))
_SELECT_DELETED = select(Pod.namespace, Pod.name, Pod.uid).where(*_SINCE, Pod.deleted_at.is_not(None))


class StatusWatch:
    """The changes of one node's pods. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, database: Database, timelines: TimelineAdvancer, *, node_name: str, clock: Clock) -> None:
        self._database = database
        self._timelines = timelines
        self._node_name = node_name
        self._clock = clock

    def since(self, revision: int, *, wait: float = 0, pause: Waiter = never_wait) -> Generator[str, None, None]:
        """Give the status of every pod that changed since a revision, as pieces of one JSON object.

        `{"revision", "statuses": [{"namespace", "name", "uid", "status"}, …], "deleted": [{"namespace", "name",
        "uid"}, …]}`.
        Whoever asks next with the `revision` of an answer misses nothing: revisions are committed in their
        order, and a status that falls due is a change with a revision of its own.

        Args:
            revision: what the caller has seen; 0 for nothing: then every live pod, and no deleted one. So too for
                one that this database has not come to, such as after it was restored from a copy.
            wait: seconds to wait, where nothing has changed, for something to change or fall due.
            pause: how to wait.
        """
        reached = self._wait(revision, seconds=wait, pause=pause)
        seen = revision if revision <= reached else 0
        key = {"node_name": self._node_name, "since": seen, "revision": reached, "now": self._clock()}
        with self._database.read(streaming=True) as connection:
            rows = connection.execute(_SELECT_CHANGED, key, execution_options={"yield_per": _ROWS_A_CHUNK})
            yield f'{{"revision":{reached},"statuses":['
            separator = ""
            for chunk in rows.partitions():
                yield separator + ",".join(f'{_named(row)},"status":{row[3]}}}' for row in chunk)
                separator = ","
            yield '],"deleted":['
            if seen:
                separator = ""
                rows = connection.execute(_SELECT_DELETED, key, execution_options={"yield_per": _ROWS_A_CHUNK})
                for chunk in rows.partitions():
                    yield separator + ",".join(_named(row) + "}" for row in chunk)
                    separator = ","
            yield "]}"

    def _wait(self, revision: int, *, seconds: float, pause: Waiter) -> int:
        """Wait until the node is at another revision; give the one that it is at in the end."""
        deadline = time.monotonic() + seconds
        while True:
            state = self._timelines.publish_due()
            if state.revision != revision or time.monotonic() >= deadline:
                return state.revision
            until = min(deadline, time.monotonic() + self._quiet_seconds(state))
            with self._timelines.revision_reader() as revision_now:
                while revision_now() == revision and (left := until - time.monotonic()) > 0:
                    if not pause(min(_LOOK_SECONDS, left)):
                        return revision

    def _quiet_seconds(self, state: NodeProgress) -> float:
        """Say for how long nothing will happen but by a request."""
        if state.is_open:
            return _OPEN_SECONDS
        if state.next_at is None:
            return _ANEW_SECONDS
        return min(_ANEW_SECONDS, (state.next_at - self._clock()).total_seconds())


def _named(row: tuple[str, ...]) -> str:
    """Begin the JSON object of a pod."""
    namespace, name, uid = (orjson.dumps(part).decode() for part in row[:3])
    return f'{{"namespace":{namespace},"name":{name},"uid":{uid}'
