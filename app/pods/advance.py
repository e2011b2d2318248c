"""The timelines of this node's pods as time passes: they go on, and what falls due becomes a change.

Nothing here ticks. Whoever reads a pod has its timeline go on first, where it is to; whoever asks what has
changed first has the statuses that fell due since counted as changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, select

from app.db.engine import Database
from app.db.models import Node, Pod, PodStatus
from app.db.statement import Row, Statement
from app.kubernetes.pod import PodSpec
from app.kubernetes.status import Transition
from app.pods.transaction import DUE, FOREVER, KNOWN_POD, OF_LIVE_POD, NodeTransaction, last_transition
from app.pods.writer import Clock, accepted_pod
from app.runtimes import Runtime
from app.runtimes.base import Timeline

_PODS_AT_ONCE = 200
_PodAndLast = tuple[Row, Transition]

_OF_NODE = Pod.node_name == bindparam("node_name")
_IS_OPEN = (_OF_NODE, Pod.continues_at <= bindparam("now"))

_SELECT_NODE = Statement(select(Node.revision, Node.settled_at).where(Node.name == bindparam("node_name")))
_SELECT_POD = Statement(KNOWN_POD.where(Pod.id == bindparam("pod_id")))
_SELECT_OPEN = KNOWN_POD.where(*_IS_OPEN, Pod.id > bindparam("after")).order_by(Pod.id).limit(_PODS_AT_ONCE)
_IS_ANY_OPEN = Statement(select(Pod.id).where(*_IS_OPEN).limit(1))
_IS_ANY_DUE = Statement(DUE.limit(1))


def _next(query: Select[Any]) -> Statement:
    column = query.selected_columns[0]
    return Statement(query.where(column > bindparam("now")).order_by(column).limit(1))


_NEXT_DUE = _next(select(PodStatus.effective_at).where(OF_LIVE_POD))
_NEXT_OPEN = _next(select(Pod.continues_at).where(_OF_NODE))


class NodeProgress(NamedTuple):
    """How far a node has come.

    Attributes:
        revision: the node's; 0 where nothing was ever written.
        next_at: when something falls due, or a timeline is to go on; None where neither will.
        is_open: whether a timeline is to go on now, and its runtime had nothing new to say.
    """

    revision: int
    next_at: datetime | None
    is_open: bool


class TimelineAdvancer:
    """The timelines of the pods of one node.

    Every method may raise `DatabaseUnavailable`; one that raises has changed nothing.
    """

    def __init__(self, database: Database, runtime: Runtime, *, clock: Clock) -> None:
        self._database = database
        self._runtime = runtime
        self._node_name = runtime.settings.node_name
        self._clock = clock

    def advance_all(self) -> None:
        """Have every timeline go on that is to do so by now."""
        now, after = self._clock(), 0
        while self._is_any_open(now) and (pods := self._open(now, after=after)):
            self._ask(pods, now)
            after = pods[-1][0].id

    def advance(self, pod_id: int) -> None:
        """Have the timeline of one pod go on."""
        with self._database.read() as connection:
            row = _SELECT_POD.one(connection, node_name=self._node_name, pod_id=pod_id)
            last = last_transition(connection, pod_id, until=FOREVER)
        self._ask([(row, last)], self._clock())

    def publish_due(self) -> NodeProgress:
        """Bring the node up to now: timelines go on, and what fell due counts as a change of its pod."""
        self.advance_all()
        now = self._clock()
        with self._database.read() as connection:
            node = _SELECT_NODE.first(connection, node_name=self._node_name)
            key = {"node_name": self._node_name, "now": now}
            is_due = node and _IS_ANY_DUE.first(connection, settled_at=node.settled_at, **key)
            upcoming = [row[0] for query in (_NEXT_DUE, _NEXT_OPEN) if (row := query.first(connection, **key))]
            is_open = _IS_ANY_OPEN.first(connection, **key) is not None
        revision = node.revision if node else 0
        if is_due:
            revision = self._store([])
        return NodeProgress(revision, min(upcoming, default=None), is_open)

    @contextmanager
    def revision_reader(self) -> Iterator[Callable[[], int]]:
        """Lend a way to read the node's revision again and again, at a fifth of what a look alone costs."""

        def revision() -> int:
            node = _SELECT_NODE.first(connection, node_name=self._node_name)
            return node.revision if node else 0

        with self._database.read() as connection:
            yield revision

    def _is_any_open(self, now: datetime) -> bool:
        with self._database.read() as connection:
            return _IS_ANY_OPEN.first(connection, node_name=self._node_name, now=now) is not None

    def _open(self, now: datetime, *, after: int) -> list[_PodAndLast]:
        with self._database.read() as connection:
            parameters = {"node_name": self._node_name, "now": now, "after": after}
            return [
                (row, last_transition(connection, row.id, until=FOREVER))
                for row in connection.execute(_SELECT_OPEN, parameters).all()
            ]

    def _ask(self, pods: list[_PodAndLast], now: datetime) -> None:
        """Ask the runtime how timelines go on, outside of any transaction, and write down what is new."""
        news = []
        for row, last in pods:
            pod = accepted_pod(self._runtime, row)
            if timeline := self._runtime.advance(pod, current=last, now=now):
                news.append((row, pod.manifest.pod.spec, last, timeline))
        if news:
            self._store(news)

    def _store(self, news: list[tuple[Row, PodSpec, Transition, Timeline]]) -> int:
        """Write down how timelines go on; the transaction itself settles the node. Give its revision."""
        with self._database.write() as connection:
            transaction = NodeTransaction(connection, node_name=self._node_name, now=self._clock())
            for row, spec, last, timeline in news:
                # Another process may have asked at the same time, or a request changed the pod: then it is theirs.
                fresh = _SELECT_POD.one(connection, node_name=self._node_name, pod_id=row.id)
                current = last_transition(connection, row.id, until=FOREVER)
                if (fresh.updated_at, current.effective_at) == (row.updated_at, last.effective_at):
                    transaction.insert_statuses(row.id, spec, timeline.transitions)
                    transaction.update_pod(fresh, continues_at=timeline.continues_at)
        return transaction.revision
