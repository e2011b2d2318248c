"""The audit log."""

from typing import Annotated, get_args

from app.audit import Verb
from app.pods.queries import EventFilter
from app.web.query import Blank, Flag, RowId
from app.web.responses import Response
from app.web.ui.page import EVENTS_PER_PAGE, blueprint, events_page, render
from app.web.ui.shown_time import PageQuery


class AuditQuery(PageQuery):
    """The filters and the page of the audit log."""

    namespace: Annotated[str | None, Blank] = None
    name: Annotated[str | None, Blank] = None
    verb: Annotated[Verb | None, Blank] = None
    refused: Flag = False
    after: RowId = None


@blueprint.get("/audit")
def audit() -> Response:
    """List write requests, newest first: filtered, a page at a time."""
    query = AuditQuery.from_request()
    wanted = EventFilter(namespace=query.namespace, name=query.name, verb=query.verb, refused=query.refused)
    events, after = events_page(wanted, query.moment, after=query.after, limit=EVENTS_PER_PAGE)
    return render("audit.html", wanted=wanted, events=events, after=after, verbs=get_args(Verb))
