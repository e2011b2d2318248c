"""The provider's HTTP API: each view parses a request, calls one service and renders the result."""

from flask import Flask

from app.web import errors, long_poll, middleware
from app.web.api import (
    extensions,
    health,
    index,
    logs,
    metrics,
    node,
    openapi,
    pod_stats,
    pod_statuses,
    pod_volumes,
    pods,
    streams,
)
from app.web.responses import Response


def init_app(app: Flask) -> None:
    """Register the endpoints, the error handlers and the middleware."""
    app.response_class = Response
    # A base URL that ends in a slash turns `/getPods` into `//getPods`, which has to work. Werkzeug would merge
    # the slashes by a redirect, and a client repeats a redirected POST as a GET.
    app.url_map.merge_slashes = False
    long_poll.init_app(app)
    streams.init_app(app)
    middleware.init_app(app)
    errors.init_app(app)
    for resource in (
        index,
        extensions,
        openapi,
        health,
        metrics,
        node,
        pods,
        pod_stats,
        pod_statuses,
        pod_volumes,
        logs,
        streams,
    ):
        app.register_blueprint(resource.blueprint)
