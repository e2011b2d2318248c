"""Filters and orders of pods: the conditions on columns, which lists of the present and of a past time share."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_

from app.db.addresses import IPv4Number
from app.db.models import Pod
from app.db.text_search import Contains
from app.kubernetes.label_selector import LabelSelector
from app.pods.attention import Health, health, problem
from app.pods.label_filter import has_labels
from app.pods.list_parts import Source
from app.pods.queries import ENDED

SortKey = Literal["name", "status", "ready", "restarts", "age", "ip", "node", "cpu", "memory", "owner"]
SORT_KEYS: tuple[SortKey, ...] = get_args(SortKey)


class Sort(NamedTuple):
    """An order of pods. The age of a young pod is less than that of an old one, as in the column AGE."""

    key: SortKey = "name"
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> "Sort":
        """Parse `KEY`, or `-KEY` for the reverse order.

        Raises:
            ValueError: the text is neither.
        """
        for key in SORT_KEYS:
            if text.removeprefix("-") == key:
                return cls(key, descending=text.startswith("-"))
        raise ValueError(f"must be one of {', '.join(SORT_KEYS)}; -name is the reverse order of name")

    @property
    def is_reversed(self) -> bool:
        """Whether the columns of the order are descending."""
        return self.descending != (self.key == "age")

    def ordered(self, columns: Iterable[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
        """Return the columns of the order with their direction."""
        return [column.desc() if self.is_reversed else column.asc() for column in columns]

    def columns(self, source: Source, status: ColumnElement[str]) -> Sequence[ColumnElement[Any]]:
        """Return the columns of the order, none of which is null and of which the last is the ID."""
        names = (Pod.namespace, Pod.name)
        columns: dict[SortKey, tuple[Any, ...]] = {
            "name": names,
            "status": (status, *names),
            "ready": (func.coalesce(source.ready_containers - source.containers, 0), *names),
            "restarts": (func.coalesce(source.restarts, 0), *names),
            "age": (Pod.created_at,),
            "ip": (IPv4Number(Pod.pod_ip), func.coalesce(Pod.pod_ip, "")),
            "node": (Pod.node_name, *names),
            "cpu": (func.coalesce(source.cpu_millicores, 0), *names),
            "memory": (func.coalesce(source.memory_bytes, 0), *names),
            "owner": (func.coalesce(Pod.owner, ""), *names),
        }
        return (*columns[self.key], Pod.id)

    def __str__(self) -> str:
        return f"-{self.key}" if self.descending else self.key


class PodFilter(NamedTuple):
    """Conditions on pods, all of which must match; None and () match every pod.

    Attributes:
        text: words, each of which is in the name, the namespace, the status, an image, the owner, the address, the
            node or the UID.
        name: a part of the name.
        status: the column STATUS of `kubectl get pods`, any of several.
        reason: the reason of the status, or of the last container that failed.
        ready: whether all containers are ready; a pod that has ended is neither.
        selector: the labels.
        image: a part of the image of a container.
        owner: a part of `KIND/NAME` of the controller.
        problem: the key of a problem in `app.pods.attention`.
    """

    text: str | None = None
    namespace: str | None = None
    name: str | None = None
    phase: str | None = None
    status: Sequence[str] = ()
    reason: str | None = None
    ready: bool | None = None
    selector: LabelSelector = ()
    image: str | None = None
    owner: str | None = None
    node: str | None = None
    health: Health | None = None
    problem: str | None = None

    def conditions(
        self, source: Source, status: ColumnElement[str], *, at: datetime
    ) -> Sequence[ColumnElement[bool]]:
        """Return the conditions on pods, without that on the column STATUS."""
        found: list[ColumnElement[bool]] = []
        texts = (Pod.search_text, status, source.termination_reason)
        found += [or_(*(Contains(text, word) for text in texts)) for word in (self.text or "").split()]
        if self.namespace:
            found.append(Pod.namespace == self.namespace)
        if self.name:
            found.append(Contains(Pod.name, self.name))
        if self.phase:
            found.append(source.phase == self.phase)
        if self.reason:
            found.append(or_(source.reason == self.reason, source.termination_reason == self.reason))
        if self.ready is not None:
            found.append(source.phase.not_in(ENDED))
            lacks = source.ready_containers < source.containers
            found.append(source.ready_containers >= source.containers if self.ready else lacks)
        if self.selector:
            found.append(has_labels(self.selector))
        if self.image:
            found.append(Contains(Pod.images, self.image))
        if self.owner:
            found.append(Contains(Pod.owner, self.owner))
        if self.node:
            found.append(Pod.node_name == self.node)
        if self.health:
            found.append(health(source, at) == self.health)
        if self.problem:
            found.append(problem(source, at) == self.problem)
        return found


BY_NAME = Sort()
EVERY_POD = PodFilter()


def printed(source: Source, at: datetime | None) -> ColumnElement[str]:
    """Return the column STATUS of `kubectl get pods`, as `app.kubernetes.printer` computes it."""
    is_deleted = Pod.deletion_requested_at.is_not(None) if at is None else Pod.deletion_requested_at <= at
    shown = func.coalesce(source.reason, source.phase)
    return case(
        (and_(is_deleted, source.reason == "NodeLost"), literal("Unknown")),
        (and_(is_deleted, source.phase.not_in(ENDED)), literal("Terminating")),
        else_=shown,
    )


def narrow(
    query: Select[Any], wanted: PodFilter, sort: Sort, *, source: Source, at: datetime | None, now: datetime
) -> Select[Any]:
    """Return a query over pods with the conditions of a filter, and in an order.

    Args:
        query: a query over `Pod`, joined with the source if that is `PodStatus`.
        at: None for the present.
        now: the time for which `health` and `problem` are computed.
    """
    status = printed(source, at)
    matching = list(wanted.conditions(source, status, at=now))
    if wanted.status:
        matching.append(status.in_(wanted.status))
    return query.where(*matching).order_by(*sort.ordered(sort.columns(source, status)))
