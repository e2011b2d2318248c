"""The list of pods."""

from typing import Annotated, get_args

import orjson

from app.kubernetes.printer import PodOutline, print_pod
from app.kubernetes.status import Phase
from app.pods.queries import PodFilter, Sort
from app.services import get_services
from app.web.query import Blank, RowId
from app.web.responses import Response
from app.web.ui.page import blueprint, render
from app.web.ui.shown_time import PageQuery

_PODS_PER_PAGE = 100


class PodsQuery(PageQuery):
    """The filters, the order and the page of the list of pods."""

    sort: Annotated[Sort | None, Blank] = None
    namespace: Annotated[str | None, Blank] = None
    name: Annotated[str | None, Blank] = None
    phase: Annotated[Phase | None, Blank] = None
    after: RowId = None


@blueprint.get("/pods")
def pods() -> Response:
    """List pods: filtered, sorted, a page at a time."""
    query = PodsQuery.from_request()
    sort = query.sort or "name"
    wanted = PodFilter(namespace=query.namespace, name=query.name, phase=query.phase)
    queries = get_services().queries
    found = queries.pods(wanted, at=query.moment, sort=sort, after=query.after, limit=_PODS_PER_PAGE)
    columns = [
        print_pod(
            PodOutline.parse(row.pod),
            orjson.loads(row.status),
            at=query.shown.end,
            deletion_requested_at=row.deletion_requested_at,
        )
        for row in found.rows
    ]
    return render(
        "pods.html",
        wanted=wanted,
        sort=sort,
        pods=list(zip(found.rows, columns, strict=True)),
        after=found.after,
        phases=get_args(Phase),
    )
