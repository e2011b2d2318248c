"""The reference provider: a web provider for Virtual Kubelet that stores its pods in a SQL database."""

import os
from datetime import datetime

from flask import Flask
from flask_cors import CORS

from app import cli
from app.cli import shell
from app.core.clock import Clock, utc_now
from app.core.settings import Settings
from app.services import Services
from app.web import api, ui
from vkweb import __version__ as __version__

SERVING_SINCE = "_PROVIDER_SERVING_SINCE"


def create_app(settings: Settings | None = None, *, clock: Clock = utc_now) -> Flask:
    """Create the application. No connection is opened.

    Args:
        settings: the settings; those of the environment where None.
        clock: returns the current time in UTC.

    Raises:
        ConfigurationError: a setting is invalid.
    """
    settings = settings or Settings.from_environment()
    app = Flask(__name__, static_folder=None)
    app.extensions["services"] = Services(settings, clock=clock, serving_since=_serving_since(clock))
    if settings.cors_origins:
        CORS(
            app,
            origins=list(settings.cors_origins),
            methods=["GET", "PUT", "OPTIONS"],
            allow_headers=["Content-Type", "Authorization"],
        )
    api.init_app(app)
    ui.init_app(app)
    cli.init_app(app)
    shell.init_app(app)
    return app


def _serving_since(clock: Clock) -> datetime:
    """Return when the server started; `gunicorn.conf.py` sets the variable for all of its workers."""
    started = os.environ.get(SERVING_SINCE)
    return datetime.fromisoformat(started) if started else clock()
