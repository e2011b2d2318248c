"""The node: capacity, conditions, addresses. Answered as long as the process lives, database or not."""

from flask import Blueprint

from app.api.responses import Response, rendered
from app.provider import provider

blueprint = Blueprint("node", __name__)


@blueprint.get("/capacity")
def capacity() -> Response:
    """Give a map, resource → quantity."""
    return rendered(provider().runtime.capacity())


@blueprint.get("/nodeConditions")
def node_conditions() -> Response:
    """Give an array of NodeConditions."""
    return rendered(provider().runtime.conditions(now=provider().clock(), since=provider().serving_since))


@blueprint.get("/nodeAddresses")
def node_addresses() -> Response:
    """Give an array of `{type, address}`."""
    return rendered(provider().runtime.addresses())
