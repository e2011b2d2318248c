"""The contract over HTTP: each view parses a request, calls one service and renders what it gives."""

from flask import Flask

from app.api import errors, health, index, logs, node, pods, requests
from app.api.responses import Response

__all__ = ["Response", "init_app"]


def init_app(app: Flask) -> None:
    """Add the endpoints, and what happens around each of them."""
    app.response_class = Response
    # `//getPods` is what a base URL with a slash at its end makes of `/getPods`. It is served as it is: merging
    # the slashes would answer with a redirect, after which a POST comes as a GET.
    app.url_map.merge_slashes = False
    requests.init_app(app)
    errors.init_app(app)
    for blueprint in (index.blueprint, health.blueprint, node.blueprint, pods.blueprint, logs.blueprint):
        app.register_blueprint(blueprint)
