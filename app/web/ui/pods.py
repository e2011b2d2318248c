"""The list of pods."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

from flask import request
from pydantic import BeforeValidator, PlainValidator

from app.db.statement import Row
from app.kubernetes.label_selector import LabelSelector, parse_label_selector
from app.kubernetes.printer import PodColumns, PodOutline, StatusOutline, print_pod
from app.kubernetes.stats import PodStats
from app.kubernetes.status import Phase
from app.pods.attention import PROBLEMS, Health
from app.pods.pod_filter import PodFilter, Sort
from app.pods.pod_list import PodPage
from app.services import get_services
from app.web.query import Blank, RowId, Text, parse_boolean
from app.web.responses import Response
from app.web.ui.page import blueprint, render
from app.web.ui.shown_time import PageQuery

_PODS_PER_PAGE = 100
_MAX_STATUSES = 12
_MAX_BY_USAGE = 1000
"""The most pods that are sorted by usage, which is computed for each of them, in some 0.1 ms each."""

HEADERS = {
    "name": "Pod",
    "status": "Status",
    "ready": "Ready",
    "restarts": "Restarts",
    "age": "Age",
    "cpu": "CPU",
    "memory": "Memory",
    "ip": "IP",
    "node": "Node",
    "owner": "Owner",
}
"""The columns by their keys in the URL. A number begins with the largest one."""
FILTERS = (
    "q", "namespace", "name", "phase", "status", "reason", "ready", "selector", "image", "owner", "node",
    "health", "problem",
)  # fmt: skip
"""The parameters that filter the list."""
_LARGEST_FIRST = ("restarts", "cpu", "memory")
_BY_USAGE: Mapping[str, Callable[[PodStats], int]] = {
    "cpu": attrgetter("cpu.usage_nano_cores"),
    "memory": attrgetter("memory.working_set_bytes"),
}


def _sort(value: str) -> Sort:
    return Sort.parse(value.strip() or "name")


def _ready(value: str) -> bool | None:
    return parse_boolean(value) if value else None


def _problem(value: str) -> str | None:
    if value and value not in PROBLEMS:
        raise ValueError(f"must be one of {', '.join(PROBLEMS)}")
    return value or None


def _words(value: str | None) -> tuple[str, ...]:
    return tuple(word for word in (value or "").split(",") if word)


class PodsQuery(PageQuery):
    """The filters, the order and the page of the list of pods."""

    q: Text = None
    namespace: Text = None
    name: Text = None
    phase: Annotated[Phase | None, Blank] = None
    status: Annotated[tuple[str, ...], BeforeValidator(_words), Blank] = ()
    reason: Text = None
    ready: Annotated[bool | None, PlainValidator(_ready)] = None
    selector: Annotated[LabelSelector, PlainValidator(parse_label_selector)] = ()
    image: Text = None
    owner: Text = None
    node: Text = None
    health: Annotated[Health | None, Blank] = None
    problem: Annotated[str | None, PlainValidator(_problem)] = None
    sort: Annotated[Sort, PlainValidator(_sort)] = Sort()
    after: RowId = None

    @property
    def wanted(self) -> PodFilter:
        """The filters."""
        return PodFilter(
            text=self.q,
            namespace=self.namespace,
            name=self.name,
            phase=self.phase,
            status=self.status,
            reason=self.reason,
            ready=self.ready,
            selector=self.selector,
            image=self.image,
            owner=self.owner,
            node=self.node,
            health=self.health,
            problem=self.problem,
        )


class ListedPod(NamedTuple):
    """A row of the list, with the usage of the pod: cores and bytes, None where it is not known."""

    row: Row
    columns: PodColumns
    cores: float | None
    bytes: int | None


@blueprint.get("/pods")
def pods() -> Response:
    """List pods: filtered, sorted, a page at a time."""
    query = PodsQuery.from_request()
    found, usage = _page(query)
    rows = found.rows
    return render(
        "pods.html",
        query=query,
        filters=[(name, request.args[name]) for name in FILTERS if request.args.get(name)],
        is_filtered=query.wanted != PodFilter(),
        found=found,
        statuses=found.statuses.most_common(_MAX_STATUSES),
        pods=[_listed(row, usage.get(row.uid), query) for row in rows],
        has_nodes=query.node is not None or len({row.node_name for row in rows}) > 1,
        headers=HEADERS,
        sorted_by_request=query.sort.key in _BY_USAGE and not _is_by_usage(query, found),
        most_by_usage=_MAX_BY_USAGE,
        next_sort=_next_sort,
    )


def _page(query: PodsQuery) -> tuple[PodPage, dict[str, PodStats]]:
    """Return a page of the list, and the usage of its pods by their UIDs.

    CPU and memory are sorted by usage, as far as there are at most `_MAX_BY_USAGE` pods; else by requests.
    """
    page = partial(get_services().pod_list.page, query.wanted, at=query.shown.at, sort=query.sort)
    found = page(after=query.after, limit=_PODS_PER_PAGE)
    if not _is_by_usage(query, found):
        return found, _usage(found.rows, query)
    if query.after or found.after:
        found = page(limit=_MAX_BY_USAGE)
    usage = _usage(found.rows, query)
    order = _BY_USAGE[query.sort.key]
    rows = sorted(
        found.rows,
        key=lambda row: order(usage[row.uid]) if row.uid in usage else -1,
        reverse=query.sort.descending,
    )
    begin = next((place for place, row in enumerate(rows, 1) if row.id == query.after), 0)
    end = begin + _PODS_PER_PAGE
    after = rows[end - 1].id if len(rows) > end else None
    return found._replace(rows=rows[begin:end], after=after), usage


def _usage(rows: Sequence[Row], query: PodsQuery) -> dict[str, PodStats]:
    """Return the usage of pods at the shown time by their UIDs, as far as it is known."""
    if not rows or not _has_usage(query):
        return {}
    found = get_services().usage.pods(query.shown.at, uids=[row.uid for row in rows])
    return {stats.pod_ref.uid: stats for stats in found}


def _has_usage(query: PodsQuery) -> bool:
    usage = get_services().usage
    return usage.has_past if query.shown.at else usage.is_available


def _is_by_usage(query: PodsQuery, found: PodPage) -> bool:
    """Return whether the list is sorted by usage."""
    return query.sort.key in _BY_USAGE and found.total <= _MAX_BY_USAGE and _has_usage(query)


def _listed(row: Row, used: PodStats | None, query: PodsQuery) -> ListedPod:
    columns = print_pod(
        PodOutline.parse(row.pod),
        StatusOutline.parse(row.status),
        at=query.shown.end,
        deletion_requested_at=row.deletion_requested_at,
    )
    cores = used.cpu.usage_nano_cores / 1e9 if used else None
    return ListedPod(row, columns, cores, used.memory.working_set_bytes if used else None)


def _next_sort(key: Any, sort: Sort) -> str:
    """Return the order that the header of a column leads to: its own, or the reverse of the present one."""
    if sort.key == key:
        return str(Sort(key, descending=not sort.descending))
    return str(Sort(key, descending=key in _LARGEST_FIRST))
