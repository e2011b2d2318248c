"""The usage of the pods and of their machine: extensions, which other providers may lack."""

from flask import Blueprint

from app.kubernetes.stats import encode_node_stats
from app.services import get_services
from app.web.query import Flag, Query
from app.web.responses import Response, streaming_response

blueprint = Blueprint("pod_stats", __name__)


class UsageQuery(Query):
    """Parameters of `/podStats`."""

    sums: Flag = True


@blueprint.get("/podStats")
def pod_stats() -> Response:
    """Return an array of the PodStats of all pods with a running container."""
    query = UsageQuery.from_request()
    return streaming_response(get_services().usage.encoded(sums=query.sums))


@blueprint.get("/nodeStats")
def node_stats() -> Response:
    """Return the NodeStats of the machine that runs the pods. It does not need the database."""
    return Response(encode_node_stats(get_services().runtime.node_usage()))
