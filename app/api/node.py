"""The node: capacity, conditions, addresses. Answered as long as the process lives, database or not."""

from flask import Blueprint

from app import node
from app.api.responses import Response, rendered
from app.provider import provider

blueprint = Blueprint("node", __name__)


@blueprint.get("/capacity")
def capacity() -> Response:
    """Give a map, resource → quantity."""
    return rendered(node.capacity(provider().settings))


@blueprint.get("/nodeConditions")
def node_conditions() -> Response:
    """Give an array of NodeConditions."""
    return rendered(node.conditions(now=provider().clock(), since=provider().serving_since))


@blueprint.get("/nodeAddresses")
def node_addresses() -> Response:
    """Give an array of `{type, address}`."""
    return rendered(node.addresses(provider().settings))
