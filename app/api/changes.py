"""What has changed: an extension of the contract, which an older peer can be without."""

from flask import Blueprint

from app.api.held import holding
from app.api.query import optional_number
from app.api.responses import Response, streamed
from app.provider import provider

LONGEST_WAIT_SECONDS = 60

blueprint = Blueprint("changes", __name__)


@blueprint.get("/podStatuses")
def pod_statuses() -> Response:
    """Give the statuses that changed `since` a revision; held open for up to `wait` seconds until one does."""
    since = optional_number("since", least=0) or 0
    wait = min(optional_number("wait", least=0) or 0, LONGEST_WAIT_SECONDS)
    if not wait:
        return streamed(provider().changes.since(since))
    with holding() as pause:
        return streamed(provider().changes.since(since, wait=wait, pause=pause))
