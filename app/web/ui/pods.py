"""The list of pods."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from flask import request
from pydantic import BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

from app.db.statement import Row
from app.kubernetes.label_selector import LabelSelector, parse_label_selector
from app.kubernetes.printer import PodColumns, PodOutline, StatusOutline, print_pod
from app.kubernetes.status import Phase
from app.pods.attention import PROBLEMS, Health
from app.pods.pod_list import PodFilter, Sort
from app.services import get_services
from app.web.query import Blank, RowId, parse_boolean
from app.web.responses import Response
from app.web.ui.page import blueprint, render
from app.web.ui.shown_time import PageQuery

_PODS_PER_PAGE = 100
_MAX_STATUSES = 12

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


def _sort(value: str) -> Sort:
    try:
        return Sort.parse(value.strip() or "name")
    except ValueError as exc:
        raise PydanticCustomError("sort", "{problem}", {"problem": str(exc)}) from None


def _selector(value: str) -> LabelSelector:
    try:
        return parse_label_selector(value)
    except ValueError as exc:
        raise PydanticCustomError("selector", "{problem}", {"problem": str(exc)}) from None


def _ready(value: str) -> bool | None:
    return parse_boolean(value) if value else None


def _problem(value: str) -> str | None:
    if value and value not in PROBLEMS:
        raise PydanticCustomError("problem", "must be one of {keys}", {"keys": ", ".join(PROBLEMS)})
    return value or None


def _words(value: str | None) -> tuple[str, ...]:
    return tuple(word for word in (value or "").split(",") if word)


Text = Annotated[str | None, Blank]


class PodsQuery(PageQuery):
    """The filters, the order and the page of the list of pods."""

    q: Text = None
    namespace: Text = None
    name: Text = None
    phase: Annotated[Phase | None, Blank] = None
    status: Annotated[tuple[str, ...], BeforeValidator(_words), Blank] = ()
    reason: Text = None
    ready: Annotated[bool | None, PlainValidator(_ready)] = None
    selector: Annotated[LabelSelector, PlainValidator(_selector)] = ()
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
    services = get_services()
    found = services.pod_list.page(
        query.wanted, at=query.moment, sort=query.sort, after=query.after, limit=_PODS_PER_PAGE
    )
    return render(
        "pods.html",
        query=query,
        filters=[(name, request.args[name]) for name in FILTERS if request.args.get(name)],
        is_filtered=query.wanted != PodFilter(),
        found=found,
        statuses=found.statuses.most_common(_MAX_STATUSES),
        pods=_listed(found.rows, query),
        has_nodes=query.node is not None or len({row.node_name for row in found.rows}) > 1,
        headers=HEADERS,
        next_sort=_next_sort,
    )


def _listed(rows: Sequence[Row], query: PodsQuery) -> list[ListedPod]:
    usage = get_services().usage
    uids = [row.uid for row in rows]
    is_known = usage.has_past if query.moment else usage.is_available
    used = {
        stats.pod_ref.uid: stats for stats in (usage.pods(query.moment, uids=uids) if is_known and uids else ())
    }
    found = []
    for row in rows:
        columns = print_pod(
            PodOutline.parse(row.pod),
            StatusOutline.parse(row.status),
            at=query.shown.end,
            deletion_requested_at=row.deletion_requested_at,
        )
        stats = used.get(row.uid)
        cores = stats.cpu.usage_nano_cores / 1e9 if stats else None
        found.append(ListedPod(row, columns, cores, stats.memory.working_set_bytes if stats else None))
    return found


def _next_sort(key: Any, sort: Sort) -> str:
    """Return the order that the header of a column leads to: its own, or the reverse of the present one."""
    if sort.key == key:
        return str(Sort(key, descending=not sort.descending))
    return str(Sort(key, descending=key in _LARGEST_FIRST))
