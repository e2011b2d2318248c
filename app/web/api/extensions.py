"""The extensions of this provider, which other providers may lack."""

from flask import Blueprint

from app.services import get_services
from app.web.responses import Response, json_response

EXTENSIONS = {
    "activeDeadline": 1,
    "batch": 1,
    "containerEnvironments": 1,
    "gracefulDelete": 1,
    "logs": 1,
    "nodeStats": 1,
    "nodes": 1,
    "podStats": 1,
    "podStatuses": 1,
    "podVolumes": 1,
    "streams": 1,
}
"""Extension → version. `docs/extensions.md` describes each."""

blueprint = Blueprint("extensions", __name__)


@blueprint.get("/extensions")
def extensions() -> Response:
    """Return a map of extension → version. It does not need the database."""
    services = get_services()
    offered = dict(EXTENSIONS)
    if not services.runtime.keeps_deadlines:
        del offered["activeDeadline"]
    if not services.runtime.waits_for_environments:
        del offered["containerEnvironments"]
    if not services.usage.is_available:
        del offered["podStats"]
    if not services.volumes.is_available:
        del offered["podVolumes"]
    if not services.runtime.reports_node_usage:
        del offered["nodeStats"]
    if not services.runtime.describes_nodes:
        del offered["nodes"]
    if not services.settings.streams:
        del offered["streams"]
    return json_response(offered)
