"""Liveness and readiness, for probes: no token is required."""

from flask import Blueprint

from app.services import get_services
from app.web.responses import Response, json_response

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Return 200 as long as the process serves requests."""
    return json_response({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Return 200 if the database is reachable and at the head revision, and its disk has free space, else 503."""
    get_services().database.check()
    get_services().disk.check()
    return json_response({"status": "ok"})
