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
    """Return 200 if the database can be reached and is at the head revision, else 503."""
    get_services().database.check()
    return json_response({"status": "ok"})
