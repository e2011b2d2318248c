"""The list of pods."""

from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from app.core.quantity import format_amount
from app.db.statement import Row
from app.kubernetes.label_selector import LabelSelector, parse_label_selector
from app.kubernetes.printer import PodColumns, PodOutline, StatusOutline, print_pod
from app.kubernetes.status import Phase
from app.pods.pod_list import PodFilter, Sort
from app.services import get_services
from app.web.query import Blank, Flag, RowId
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


def _words(value: str) -> tuple[str, ...]:
    return tuple(word for word in value.split(",") if word)


Text = Annotated[str | None, Blank]


class PodsQuery(PageQuery):
    """The filters, the order and the page of the list of pods."""

    q: Text = None
    namespace: Text = None
    name: Text = None
    phase: Annotated[Phase | None, Blank] = None
    status: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    reason: Text = None
    ready: Annotated[Flag | None, Blank] = None
    selector: Annotated[LabelSelector, BeforeValidator(_selector)] = ()
    image: Text = None
    owner: Text = None
    node: Text = None
    sort: Annotated[Sort, BeforeValidator(_sort)] = Sort()
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
        )


class ListedPod(NamedTuple):
    """A row of the list.

    Attributes:
        cpu: used and requested CPU, such as `12m / 100m`; what is not known is left out.
        memory: the same of the memory.
    """

    row: Row
    columns: PodColumns
    cpu: str
    memory: str


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
        is_filtered=query.wanted != PodFilter(),
        found=found,
        statuses=found.statuses.most_common(_MAX_STATUSES),
        pods=[_listed(row, query) for row in found.rows],
        has_nodes=query.node is not None or len({row.node_name for row in found.rows}) > 1,
        headers=HEADERS,
        next_sort=_next_sort,
    )


def _listed(row: Row, query: PodsQuery) -> ListedPod:
    columns = print_pod(
        PodOutline.parse(row.pod),
        StatusOutline.parse(row.status),
        at=query.shown.end,
        deletion_requested_at=row.deletion_requested_at,
    )
    return ListedPod(
        row, columns, _amount((row.cpu_millicores or 0) / 1000, "cpu"), _amount(row.memory_bytes, "memory")
    )


def _amount(value: float | None, resource: str) -> str:
    return format_amount(value, resource) if value else ""


def _next_sort(key: Any, sort: Sort) -> str:
    """Return the order that the header of a column leads to: its own, or the reverse of the present one."""
    if sort.key == key:
        return str(Sort(key, descending=not sort.descending))
    return str(Sort(key, descending=key in _LARGEST_FIRST))
