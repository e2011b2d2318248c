"""The usage of pods: an extension, which other providers may lack."""

from flask import Blueprint

from app.services import get_services
from app.web.responses import Response, streaming_response

blueprint = Blueprint("pod_stats", __name__)


@blueprint.get("/podStats")
def pod_stats() -> Response:
    """Return an array of the PodStats of all pods with a running container."""
    return streaming_response(get_services().usage.encoded())
