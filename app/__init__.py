"""The reference provider: a web provider of Virtual Kubelet that keeps its pods in SQL."""

import os
from datetime import datetime

from flask import Flask
from flask_cors import CORS

from app import cli
from app.cli import shell
from app.core.settings import Settings
from app.pods.service import utc_now
from app.pods.writer import Clock
from app.services import Services
from app.web import api, ui
from vkweb import __version__ as __version__

SERVING_SINCE = "_PROVIDER_SERVING_SINCE"


def create_app(settings: Settings | None = None, *, clock: Clock = utc_now) -> Flask:
    """Make the application. Nothing is connected yet.

    Args:
        settings: those of the environment where None.
        clock: what tells the time, in UTC.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    settings = settings or Settings.from_environment()
    app = Flask(__name__, static_folder=None)
    app.extensions["services"] = Services.make(settings, clock=clock, serving_since=_serving_since(clock))
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
    """Read when the server started, which its workers must tell alike: `gunicorn.conf.py` writes it down."""
    started = os.environ.get(SERVING_SINCE)
    return datetime.fromisoformat(started) if started else clock()
