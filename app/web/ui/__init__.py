"""The dashboard: a read-only view of the node, its pods and its audit log, now or at any time in the past.

Where a token is set, a person signs in with it: see :mod:`app.web.ui.access`. Without one, every client of the
port can read the dashboard, and the provider listens on loopback addresses only.
"""

from flask import Flask

from app.web.ui import access, audit, formats, logs, overview, page, pod, pods, steps


def init_app(app: Flask) -> None:
    """Register the dashboard."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formats.init_app(app)
    access.init_app(app)
    app.register_blueprint(page.blueprint)


__all__ = [
    "audit",
    "init_app",
    "logs",
    "overview",
    "pod",
    "pods",
    "steps",
]  # modules that add their views to the blueprint
