"""The dashboard: a read-only view of the node, its pods and its audit log, now or at any time in the past.

It is served only where no token is set. A browser sends no bearer token, and without one every client of the port
could read the dashboard; the provider without a token listens on the loopback interface by default.
"""

from flask import Flask

from app.services import Services
from app.web.ui import audit, formats, overview, page, pod, pods, steps


def init_app(app: Flask) -> None:
    """Register the dashboard, unless a token is set."""
    services: Services = app.extensions["services"]
    if services.settings.provider_token:
        return
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formats.init_app(app)
    app.register_blueprint(page.blueprint)


__all__ = [
    "audit",
    "init_app",
    "overview",
    "pod",
    "pods",
    "steps",
]  # modules that add their views to the blueprint
