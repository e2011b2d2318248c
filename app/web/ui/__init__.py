"""The page: the node, its pods and its audit, now and at any time before, to look at.

It is served where no token is set, and then to this machine alone: a browser does not send one, and a page that
could be opened from elsewhere without one would tell everybody what runs here.
"""

from flask import Flask

from app.services import Services
from app.web.ui import formats, views


def init_app(app: Flask) -> None:
    """Add the page, unless a token is set."""
    services: Services = app.extensions["services"]
    if services.settings.provider_token:
        return
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formats.init_app(app)
    app.register_blueprint(views.blueprint)
