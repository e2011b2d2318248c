"""The node: capacity, conditions, addresses. Answered as long as the process lives, database or not."""

from flask import Blueprint

from app.services import get_services
from app.web.responses import Response, rendered

blueprint = Blueprint("node", __name__)


@blueprint.get("/capacity")
def capacity() -> Response:
    """Give a map, resource → quantity."""
    return rendered(get_services().runtime.capacity())


@blueprint.get("/nodeConditions")
def node_conditions() -> Response:
    """Give an array of NodeConditions."""
    return rendered(
        get_services().runtime.conditions(now=get_services().clock(), since=get_services().serving_since)
    )


@blueprint.get("/nodeAddresses")
def node_addresses() -> Response:
    """Give an array of `{type, address}`."""
    return rendered(get_services().runtime.addresses())
