"""Changed pod statuses: an extension, which other providers may lack."""

from flask import Blueprint

from app.services import get_services
from app.web.long_poll import hold_request
from app.web.query import Count, Query
from app.web.responses import Response, streaming_response

MAX_WAIT_SECONDS = 60

blueprint = Blueprint("pod_statuses", __name__)


class StatusesQuery(Query):
    """The parameters of `/podStatuses`.

    Attributes:
        since: the revision that the client has read up to; 0 for none.
        wait: seconds to wait for a change; more than 60 count as 60.
    """

    since: Count = 0
    wait: Count = 0


@blueprint.get("/podStatuses")
def pod_statuses() -> Response:
    """Return the statuses that changed after a revision; wait for a change where there is none."""
    query = StatusesQuery.from_request()
    watch = get_services().watch
    if not query.wait:
        return streaming_response(watch.since(query.since))
    with hold_request() as pause:
        return streaming_response(watch.since(query.since, wait=min(query.wait, MAX_WAIT_SECONDS), pause=pause))
