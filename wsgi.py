"""The WSGI application: `gunicorn wsgi:app` serves it, and `flask` finds this module by its name."""

from app import create_app
from app.core import logging_config
from app.core.errors import ConfigurationError
from app.core.settings import Settings

try:
    settings = Settings.from_environment()
    logging_config.configure(settings)
    app = create_app(settings)
except ConfigurationError as exc:
    raise SystemExit(str(exc)) from None
