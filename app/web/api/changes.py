"""What has changed: an extension of the contract, which an older peer can be without."""

from flask import Blueprint

from app.services import get_services
from app.web.long_poll import hold_request
from app.web.query import optional_number
from app.web.responses import Response, streamed

LONGEST_WAIT_SECONDS = 60

blueprint = Blueprint("changes", __name__)


@blueprint.get("/podStatuses")
def pod_statuses() -> Response:
    """Give the statuses that changed `since` a revision; held open for up to `wait` seconds until one does."""
    since = optional_number("since", least=0) or 0
    wait = min(optional_number("wait", least=0) or 0, LONGEST_WAIT_SECONDS)
    if not wait:
        return streamed(get_services().watch.since(since))
    with hold_request() as pause:
        return streamed(get_services().watch.since(since, wait=wait, pause=pause))
