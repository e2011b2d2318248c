"""The contract over HTTP: each view parses a request, calls one service and renders what it gives."""

from flask import Flask

from app.web import errors
from app.web import long_poll as held
from app.web import middleware as requests
from app.web.api import changes, health, index, logs, metrics, node, openapi, pods
from app.web.responses import Response

__all__ = ["Response", "init_app"]


def init_app(app: Flask) -> None:
    """Add the endpoints, and what happens around each of them."""
    app.response_class = Response
    # `//getPods` is what a base URL with a slash at its end makes of `/getPods`. It is served as it is: merging
    # the slashes would answer with a redirect, after which a POST comes as a GET.
    app.url_map.merge_slashes = False
    held.init_app(app)
    requests.init_app(app)
    errors.init_app(app)
    for resource in (index, openapi, health, metrics, node, pods, changes, logs):
        app.register_blueprint(resource.blueprint)
