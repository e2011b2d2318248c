"""Is it up? Asked by probes, which have no token."""

from flask import Blueprint

from app.services import get_services
from app.web.responses import Response, rendered

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 as long as the process serves."""
    return rendered({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 200 where the database answers and is at the head revision, else 503."""
    get_services().database.check()
    return rendered({"status": "ok"})
