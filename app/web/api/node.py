"""Node capacity, conditions and addresses. None needs the database."""

from flask import Blueprint

from app.services import get_services
from app.web.responses import Response, json_response

blueprint = Blueprint("node", __name__)


@blueprint.get("/capacity")
def capacity() -> Response:
    """Return a map of resource name → quantity."""
    return json_response(get_services().runtime.capacity())


@blueprint.get("/nodeConditions")
def node_conditions() -> Response:
    """Return an array of NodeConditions."""
    return json_response(get_services().node_conditions())


@blueprint.get("/nodeAddresses")
def node_addresses() -> Response:
    """Return an array of `{type, address}`."""
    return json_response(get_services().runtime.addresses())
