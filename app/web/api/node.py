"""Node capacity, conditions, addresses, labels and taints. None needs the database."""

from flask import Blueprint

from app.services import get_services
from app.web.query import Query
from app.web.responses import Response, json_response

blueprint = Blueprint("node", __name__)


class NodeQuery(Query):
    """The node of a fleet; None for the node NODE_NAME. Every name is a node: the broker knows which exist."""

    node: str | None = None


@blueprint.get("/capacity")
def capacity() -> Response:
    """Return a map of resource name → quantity."""
    return json_response(get_services().node.capacity(NodeQuery.from_request().node))


@blueprint.get("/nodeConditions")
def node_conditions() -> Response:
    """Return an array of NodeConditions, the same for each node."""
    return json_response(get_services().node.conditions())


@blueprint.get("/nodeAddresses")
def node_addresses() -> Response:
    """Return an array of `{type, address}`."""
    return json_response(get_services().node.addresses(NodeQuery.from_request().node))


@blueprint.get("/node")
def node() -> Response:
    """Return labels, taints and allocatable resources."""
    return json_response(get_services().node.description(NodeQuery.from_request().node))
