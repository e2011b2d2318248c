"""The contract over HTTP: each view parses a request, calls one service and renders what it gives."""

from flask import Flask

from app.api import errors, health, index, logs, node, pods, requests
from app.api.responses import Response

__all__ = ["Response", "init_app"]


def init_app(app: Flask) -> None:
    """Add the endpoints, and what happens around each of them."""
    app.response_class = Response
    app.url_map.merge_slashes = False  # it would answer with a redirect, after which a POST comes as a GET
    requests.init_app(app)
    errors.init_app(app)
    for blueprint in (index.blueprint, health.blueprint, node.blueprint, pods.blueprint, logs.blueprint):
        app.register_blueprint(blueprint)
